//! Which request an operation is, on each generation of the server.

use std::fmt;

use hypervisor_core::http::{Method, Request, segment};
use hypervisor_core::model::{Capability, PowerAction};
use hypervisor_core::{Error, Operation, Result};

/// Which of its shapes the server has. The document describes one that no known server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Generation {
    /// As the document has it: `/api`, power verbs through `…/action`, states as numbers.
    Documented,
    /// The servers of September 2025: `/api/v1`, a route for each power verb, guests without a uuid, errors as text.
    Early,
    /// The servers since October 2025: creates, discovery and import, storage, networks, loads of hosts.
    Current,
}

impl Generation {
    /// A stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Early => "early",
            Self::Current => "current",
        }
    }

    /// What every path of the REST API begins with; `/ws` is outside of it.
    #[must_use]
    pub const fn base(self) -> &'static str {
        match self {
            Self::Documented => "/api",
            Self::Early | Self::Current => "/api/v1",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A method, a path below [`Generation::base`] with its parts to fill in, and a body that is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Option<&'static str>,
}

const fn route(method: &'static str, path: &'static str) -> Option<Route> {
    Some(Route { method, path, body: None })
}

const fn action(body: &'static str) -> Option<Route> {
    Some(Route { method: "POST", path: "/hosts/{host}/vms/{vm}/action", body: Some(body) })
}

/// Operation; what it is in the document, on early servers, on current ones.
type Row = (Operation, [Option<Route>; 3]);

const fn everywhere(operation: Operation, method: &'static str, path: &'static str) -> Row {
    (operation, [route(method, path), route(method, path), route(method, path)])
}

const fn verb(operation: Operation, documented: &'static str, path: &'static str) -> Row {
    (operation, [action(documented), route("POST", path), route("POST", path)])
}

const fn served(operation: Operation, method: &'static str, path: &'static str) -> Row {
    (operation, [None, route(method, path), route(method, path)])
}

const fn current(operation: Operation, method: &'static str, path: &'static str) -> Row {
    (operation, [None, None, route(method, path)])
}

/// The table. Operations that take more than one request have their main one here.
pub(crate) const TABLE: &[Row] = &[
    everywhere(Operation::ListHosts, "GET", "/hosts"),
    everywhere(Operation::GetCluster, "GET", "/hosts"),
    everywhere(Operation::GetHost, "GET", "/hosts/{host}/info"),
    everywhere(Operation::ListVms, "GET", "/hosts/{host}/vms"),
    everywhere(Operation::GetVm, "GET", "/hosts/{host}/vms"),
    everywhere(Operation::GetVmConfig, "GET", "/hosts/{host}/vms/{vm}/hardware"),
    verb(Operation::StartVm, r#"{"action":"start"}"#, "/hosts/{host}/vms/{vm}/start"),
    verb(Operation::ShutdownVm, r#"{"action":"shutdown"}"#, "/hosts/{host}/vms/{vm}/shutdown"),
    verb(Operation::RebootVm, r#"{"action":"reboot"}"#, "/hosts/{host}/vms/{vm}/reboot"),
    verb(Operation::PowerOffVm, r#"{"action":"destroy"}"#, "/hosts/{host}/vms/{vm}/forceoff"),
    verb(Operation::ResetVm, r#"{"action":"reset"}"#, "/hosts/{host}/vms/{vm}/forcereset"),
    served(Operation::GetConsole, "GET", "/hosts/{host}/vms/{vm}/{console}"),
    served(Operation::GetVmMetrics, "GET", "/hosts/{host}/vms/{vm}/stats"),
    current(Operation::CreateVm, "POST", "/hosts/{host}/vms"),
    current(Operation::GetHostMetrics, "GET", "/hosts/{host}/stats"),
    current(Operation::ListPools, "GET", "/storage/pools"),
    current(Operation::GetPool, "GET", "/hosts/{host}/storage/pools"),
    current(Operation::ListVolumes, "GET", "/hosts/{host}/storage/volumes"),
    current(Operation::GetVolume, "GET", "/hosts/{host}/storage/volumes"),
    current(Operation::DeleteVolume, "DELETE", "/storage/volumes/{volume}"),
    current(Operation::ListNetworks, "GET", "/networks"),
    current(Operation::GetNetwork, "GET", "/hosts/{host}/networks"),
];

/// The route of an operation, where this generation has one.
pub(crate) fn find(generation: Generation, operation: Operation) -> Option<Route> {
    let [documented, early, current] = TABLE.iter().find(|(listed, _)| *listed == operation)?.1;
    match generation {
        Generation::Documented => documented,
        Generation::Early => early,
        Generation::Current => current,
    }
}

/// The request of an operation, with the parts of its path filled in.
pub(crate) fn request(
    generation: Generation,
    operation: Operation,
    parts: &[(&str, &str)],
) -> Result<Request> {
    let Some(route) = find(generation, operation) else {
        return Err(Error::unsupported(operation, lacking(generation)));
    };
    let method = match route.method {
        "GET" => Method::GET,
        "DELETE" => Method::DELETE,
        _ => Method::POST,
    };
    let mut request = Request::new(method, path(generation, route.path, parts)?);
    if let Some(body) = route.body {
        request = request.bytes("application/json", body.as_bytes());
    }
    Ok(request)
}

/// A path with its parts filled in, each percent-encoded.
pub(crate) fn path(generation: Generation, template: &str, parts: &[(&str, &str)]) -> Result<String> {
    let mut path = generation.base().to_owned();
    for part in template.split('/').skip(1) {
        path.push('/');
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        match name.and_then(|name| parts.iter().find(|(given, _)| *given == name)) {
            Some((_, value)) => push_segment(&mut path, value)?,
            None => path.push_str(part),
        }
    }
    Ok(path)
}

/// Encodes exactly as Go does. Where a path is written in another way, though it means the same, Go keeps the written form beside the decoded one,
/// and the server's router takes its names from the former, without decoding them.
fn push_segment(path: &mut String, text: &str) -> Result<()> {
    segment(text)?;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(())
}

/// Why an operation that a newer server has is missing here.
pub(crate) fn lacking(generation: Generation) -> &'static str {
    match generation {
        Generation::Documented => "the document has no such call",
        Generation::Early => "this server is older than the call; Virtumancer of October 2025 has it",
        Generation::Current => "the server has no such route",
    }
}

/// The refusal of what this generation has not, for what is beyond the operations.
pub(crate) fn unsupported(generation: Generation, what: &str) -> Error {
    Error::new(hypervisor_core::ErrorKind::Unsupported, format!("{what}: {}", lacking(generation)))
}

/// Whether the power verb has a route at all.
pub(crate) fn has_verb(generation: Generation, verb: &PowerAction) -> Result<()> {
    let operation = verb.operation();
    match find(generation, operation) {
        Some(_) => Ok(()),
        None => {
            Err(Error::unsupported(Capability::Operation(operation), "the server has no such power verb"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::Shutdown;

    #[test]
    fn power_verbs_are_one_route_in_the_document_and_one_each_on_servers() {
        let parts = [("host", "kvm/srv"), ("vm", "web 01")];
        for (verb, documented, path) in [
            (PowerAction::Start, "start", "start"),
            (PowerAction::Shutdown(Shutdown::new()), "shutdown", "shutdown"),
            (PowerAction::Reboot, "reboot", "reboot"),
            (PowerAction::PowerOff, "destroy", "forceoff"),
            (PowerAction::Reset, "reset", "forcereset"),
        ] {
            let operation = verb.operation();
            let found = request(Generation::Documented, operation, &parts).unwrap();
            assert_eq!(
                (found.method(), found.path()),
                (&Method::POST, "/api/hosts/kvm%2Fsrv/vms/web%2001/action")
            );
            let body = find(Generation::Documented, operation).unwrap().body.unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body, serde_json::json!({ "action": documented }));
            for generation in [Generation::Early, Generation::Current] {
                let found = request(generation, operation, &parts).unwrap();
                assert_eq!(found.path(), format!("/api/v1/hosts/kvm%2Fsrv/vms/web%2001/{path}"));
                assert!(find(generation, operation).unwrap().body.is_none());
            }
        }
        assert!(has_verb(Generation::Current, &PowerAction::Pause).unwrap_err().is_unsupported());
    }

    #[test]
    fn no_operation_is_listed_twice_and_no_path_changes_its_shape() {
        for (index, (operation, _)) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().skip(index + 1).all(|(other, _)| other != operation), "{operation}");
        }
        assert!(request(Generation::Current, Operation::GetHost, &[("host", "..")]).is_err());
        let odd = request(Generation::Current, Operation::GetHost, &[("host", "a b&c+d!(e)*%ü/?")]).unwrap();
        assert_eq!(odd.path(), "/api/v1/hosts/a%20b&c+d%21%28e%29%2A%25%C3%BC%2F%3F/info");
        assert!(
            request(Generation::Early, Operation::CreateVm, &[("host", "h")]).unwrap_err().is_unsupported()
        );
    }
}
