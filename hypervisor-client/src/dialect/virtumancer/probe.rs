//! Which generation answers, found out by routes that only some of them have.

use hypervisor_core::http::Request;
use hypervisor_core::model::{Capabilities, Feature};
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use serde_json::Value;

use super::api::Api;
use super::routes::{self, Generation};

/// Asks at most three routes. An empty list of hosts tells nothing of the generation, so that it is a route that only current servers
/// have which decides.
pub(crate) async fn generation(api: &Api) -> Result<Generation> {
    let healthy = ask(api, "/api/v1/health").await?.is_some_and(|health| health.get("ok").is_some());
    if healthy || ask(api, "/api/v1/hosts").await?.is_some_and(|hosts| is_list(&hosts)) {
        let settings = ask(api, "/api/v1/settings/metrics/runtime").await?;
        let current = settings.is_some_and(|settings| settings.is_object());
        return Ok(if current { Generation::Current } else { Generation::Early });
    }
    if ask(api, "/api/hosts").await?.is_some_and(|hosts| is_list(&hosts)) {
        return Ok(Generation::Documented);
    }
    let message = format!(
        "no Virtumancer answers at {}: neither /api/v1/health nor /api/hosts is there",
        api.http.base()
    );
    Err(Error::new(ErrorKind::Config, message).with_backend(super::BACKEND))
}

/// The server calls an empty list `null` as well.
fn is_list(body: &Value) -> bool {
    body.is_array() || body.is_null()
}

/// The JSON at a path; nothing where the server has no such path. Where the web interface is installed, it answers those with a page.
async fn ask(api: &Api, path: &str) -> Result<Option<Value>> {
    let response = api.send(Request::get(path)).await?;
    if matches!(response.status(), 401 | 403 | 429 | 502..=504) {
        return Err(response.error().with_backend(super::BACKEND));
    }
    if !response.is_success() || !response.is_json() {
        return Ok(None);
    }
    Ok(response.json().ok())
}

/// What a generation can do.
pub(crate) fn capabilities(generation: Generation) -> Capabilities {
    use Operation as O;
    let native = routes::TABLE.iter().map(|(operation, _)| *operation);
    let native = native.filter(|operation| routes::find(generation, *operation).is_some());
    let missing = routes::TABLE.iter().map(|(operation, _)| *operation);
    let missing = missing.filter(|operation| routes::find(generation, *operation).is_none());
    let mut all = Capabilities::new()
        .native(native)
        .unsupported(missing, routes::lacking(generation))
        .native([O::Watch])
        .native([Feature::NativeEvents])
        .emulated([O::GetCluster], "the list of its hosts, whatever they have to do with one another")
        .emulated([O::GetVm], "its host's list of guests")
        .emulated([O::ListVmMetrics], "one request for each running guest")
        .emulated([O::SubmitBatch], "one request for each item")
        .unsupported(
            [O::DeleteVm],
            "the server has no route that deletes a guest: delete it with libvirt itself",
        )
        .unsupported([O::UpdateVm], "the server has no route that changes a guest")
        .unsupported([O::PauseVm, O::ResumeVm, O::HibernateVm], "the server has no such power verb")
        .unsupported(
            [O::GetTask, O::ListTasks, O::GetTaskLog, O::CancelTask],
            "the server has no tasks: a call is done when it returns",
        )
        .unsupported(
            [Feature::ShutdownTimeout],
            "the server has no time limit for a shutdown: wait for the state, then power off",
        )
        .unsupported([Feature::AgentShutdown], "the server chooses itself how it asks a guest to shut down");
    all = match generation {
        Generation::Documented => {
            all.emulated([O::ListHosts, O::ListVms], "one request more for each host").emulated(
                [O::GetVmMetrics],
                "a subscription on the WebSocket, and waiting for its next frame: some 2 s",
            )
        }
        Generation::Early => all.emulated([O::ListHosts, O::ListVms], "two requests for each host"),
        Generation::Current => all
            .emulated([O::ListHosts, O::ListVms], "one request for each host")
            .emulated(
                [O::GetVm],
                "a look at its devices, for which the server looks at the guest, and its host's list of guests",
            )
            .emulated([O::GetPool, O::GetVolume, O::GetNetwork], "the list that it is in")
            .emulated([O::GetHostMetrics], "two requests"),
    };
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_current_servers_create_and_no_server_deletes() {
        assert!(capabilities(Generation::Current).has(Operation::CreateVm));
        for generation in [Generation::Documented, Generation::Early] {
            assert!(!capabilities(generation).has(Operation::CreateVm));
            assert!(capabilities(generation).has(Operation::GetVmMetrics));
        }
        for generation in [Generation::Documented, Generation::Early, Generation::Current] {
            assert!(!capabilities(generation).has(Operation::DeleteVm));
            assert!(capabilities(generation).has(Operation::Watch));
        }
    }
}
