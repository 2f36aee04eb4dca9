//! Which handler a request goes to, and what all of them have in common.

use serde_json::Value;

use super::answer::Answer;
use super::state::State;
use super::{batch, clones, console, domains, files, jobs, networks, schedules, stats, volumes};

/// A request.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) token: Option<String>,
    pub(super) key: Option<String>,
}

impl Call {
    /// A parameter of the query; nothing where it is missing.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(each, _)| each == name).map_or("", |(_, value)| value)
    }

    /// The parameter that a call cannot do without.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Answer> {
        match self.parameter(name) {
            "" => Err(Answer::text(400, &format!("missing {name} parameter"))),
            value => Ok(value),
        }
    }

    /// The body as Go decodes it into a struct.
    pub(super) fn json(&self) -> Result<Fields, Answer> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            _ => Err(Answer::text(400, "invalid request body")),
        }
    }
}

/// The fields of a body. One of the wrong type is a body that cannot be decoded.
pub(super) struct Fields(serde_json::Map<String, Value>);

impl Fields {
    fn wrong<T>() -> Result<T, Answer> {
        Err(Answer::text(400, "invalid request body"))
    }

    pub(super) fn text(&self, name: &str) -> Result<String, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Self::wrong(),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Self::wrong(),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<i64, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(Value::Number(number)) => number.as_i64().map_or_else(Self::wrong, Ok),
            Some(_) => Self::wrong(),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map_or_else(Self::wrong, |text| Ok(text.to_owned())))
                .collect(),
            Some(_) => Self::wrong(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// What a handler gives: early ends are answers too.
pub(super) type Handled = Result<Answer, Answer>;

/// Whether the daemon breaks down over a request: the calls of vSphere, where it has no vCenter.
pub(super) fn is_fatal(path: &str, body: &[u8]) -> bool {
    match path {
        "/vms/list" => true,
        "/vms/info" | "/vms/shutdown" | "/vms/poweroff" | "/vms/remove-cdrom" => {
            let body: Option<Value> = serde_json::from_slice(body).ok();
            body.and_then(|body| Some(body.get("vm_path")?.as_str()?.is_empty())).is_some_and(|empty| !empty)
        }
        _ => false,
    }
}

/// The answer to a request.
pub(super) fn answer(state: &mut State, call: &Call) -> Answer {
    if is_fatal(&call.path, &call.body) {
        return Answer::Nothing;
    }
    if let Some(key) = &state.api_key
        && !matches!(call.path.as_str(), "/health" | "/api/login")
    {
        let known = call.token.as_ref().is_some_and(|token| state.sessions.contains(token) || token == key);
        if !known && call.key.as_ref() != Some(key) {
            return Answer::text(401, "unauthorized");
        }
    }
    let handled = match handler(&call.path) {
        None => return Answer::text(404, "404 page not found"),
        Some((methods, _)) if !methods.contains(&call.method.as_str()) => {
            return Answer::text(405, "method not allowed");
        }
        Some((_, handler)) => handler(state, call),
    };
    handled.unwrap_or_else(|early| early)
}

type Handler = fn(&mut State, &Call) -> Handled;

fn handler(path: &str) -> Option<(&'static [&'static str], Handler)> {
    const GET: &[&str] = &["GET"];
    const POST: &[&str] = &["POST"];
    const BOTH: &[&str] = &["GET", "POST"];
    let (methods, handler): (&'static [&'static str], Handler) = match path {
        "/health" => (GET, jobs::health),
        "/status" => (GET, jobs::status),
        "/capabilities" => (GET, jobs::capabilities),
        "/api/login" => (POST, jobs::login),
        "/api/logout" => (POST, jobs::logout),
        "/jobs/submit" => (POST, jobs::submit),
        "/jobs/query" => (BOTH, jobs::query),
        "/jobs/cancel" => (POST, jobs::cancel),
        "/vms/info" | "/vms/shutdown" | "/vms/poweroff" | "/vms/remove-cdrom" => (POST, jobs::no_path),
        "/libvirt/domains" => (GET, domains::list),
        "/libvirt/domain" => (GET, domains::get),
        "/libvirt/domain/start" => (POST, domains::start),
        "/libvirt/domain/shutdown" => (POST, domains::shutdown),
        "/libvirt/domain/destroy" => (POST, domains::destroy),
        "/libvirt/domain/reboot" => (POST, domains::reboot),
        "/libvirt/domain/pause" => (POST, domains::pause),
        "/libvirt/domain/resume" => (POST, domains::resume),
        "/libvirt/domain/send-key" => (POST, console::send_key),
        "/libvirt/snapshots" => (GET, domains::snapshots),
        "/libvirt/snapshot/create" => (POST, domains::create_snapshot),
        "/libvirt/snapshot/revert" => (POST, domains::revert_snapshot),
        "/libvirt/snapshot/delete" => (POST, domains::delete_snapshot),
        "/libvirt/pools" => (GET, volumes::pools),
        "/libvirt/volumes" => (GET, volumes::list),
        "/libvirt/console" => (GET, console::vnc),
        "/libvirt/networks" => (GET, networks::list),
        "/libvirt/network" => (GET, networks::get),
        "/libvirt/network/create" => (POST, networks::create),
        "/libvirt/network/delete" => (POST, networks::delete),
        "/libvirt/network/start" => (POST, networks::start),
        "/libvirt/network/stop" => (POST, networks::stop),
        "/libvirt/interface/attach" => (POST, networks::attach),
        "/libvirt/interface/detach" => (POST, networks::detach),
        "/libvirt/volume/info" => (GET, volumes::info),
        "/libvirt/volume/create" => (POST, volumes::create),
        "/libvirt/volume/clone" => (POST, volumes::clone),
        "/libvirt/volume/resize" => (POST, volumes::resize),
        "/libvirt/volume/delete" => (POST, volumes::delete),
        "/libvirt/volume/upload" => (POST, volumes::upload),
        "/libvirt/volume/wipe" => (POST, volumes::wipe),
        "/libvirt/stats" => (GET, stats::one),
        "/libvirt/stats/all" => (GET, stats::all),
        "/libvirt/stats/cpu" => (GET, stats::cpu),
        "/libvirt/stats/memory" => (GET, stats::memory),
        "/libvirt/stats/disk" => (GET, stats::disk),
        "/libvirt/stats/network" => (GET, stats::network),
        "/libvirt/batch/start" => (POST, batch::start),
        "/libvirt/batch/stop" => (POST, batch::stop),
        "/libvirt/batch/reboot" => (POST, batch::reboot),
        "/libvirt/batch/snapshot" => (POST, batch::snapshot),
        "/libvirt/batch/delete" => (POST, batch::delete),
        "/libvirt/batch/pause" => (POST, batch::pause),
        "/libvirt/batch/resume" => (POST, batch::resume),
        "/libvirt/clone" => (POST, clones::clone),
        "/libvirt/clone/multiple" => (POST, clones::multiple),
        "/libvirt/template/create" => (POST, clones::create_template),
        "/libvirt/template/deploy" => (POST, clones::deploy),
        "/libvirt/template/list" => (GET, clones::list),
        "/libvirt/template/export" => (POST, clones::export),
        "/libvirt/isos/list" => (GET, files::isos),
        "/libvirt/isos/upload" => (POST, files::upload_iso),
        "/libvirt/isos/delete" => (POST, files::delete_iso),
        "/libvirt/domain/attach-iso" => (POST, files::attach_iso),
        "/libvirt/domain/detach-iso" => (POST, files::detach_iso),
        "/libvirt/backup/list" => (GET, files::backups),
        "/libvirt/backup/create" => (POST, files::create_backup),
        "/libvirt/backup/restore" => (POST, files::restore_backup),
        "/libvirt/backup/verify" => (POST, files::verify_backup),
        "/libvirt/backup/delete" => (POST, files::delete_backup),
        "/console/info" => (GET, console::info),
        "/console/vnc" => (BOTH, console::vnc_page),
        "/console/serial" => (BOTH, console::serial_page),
        "/console/serial-device" => (GET, console::serial_device),
        "/console/screenshot" => (GET, console::screenshot),
        "/schedules" => (BOTH, schedules::all),
        "/webhooks" => (BOTH, schedules::webhooks),
        "/api/workflow/status" => (GET, schedules::workflow_status),
        "/api/workflow/jobs" | "/api/workflow/jobs/active" => (GET, schedules::workflow_jobs),
        "/api/workflow/manifest/submit" => (POST, schedules::submit_manifest),
        "/api/workflow/manifest/validate" => (POST, schedules::validate_manifest),
        _ if path.starts_with("/jobs/") => (GET, jobs::one),
        _ if path.starts_with("/schedules/") => (&["GET", "POST", "PUT", "DELETE"], schedules::one),
        _ if path.starts_with("/webhooks/") => (&["DELETE"], schedules::webhooks),
        _ => return None,
    };
    Some((methods, handler))
}
