//! Which request does what.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, State, WebSocketUpgrade};
use axum::http::Request;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::Seen;
use super::answer::{done, failed, json, no_page, not_allowed, refused, text};
use super::devices;
use super::socket;
use super::table::{CURRENT, DOCUMENTED, EARLY, fits};
use super::world::{FakeHost, Server};
use crate::dialect::virtumancer::Generation;

fn decoded(part: &str) -> String {
    let pair = format!("v={}", part.replace('+', "%2B"));
    let value = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
    value.unwrap_or_default()
}

pub(super) async fn answer(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let method = head.method.as_str().to_owned();
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let seen = Seen {
        method: method.clone(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
        authorization: authorization.map(str::to_owned),
    };
    server.lock().requests.push(seen);
    let generation = server.lock().generation;
    let base = format!("{}/", generation.base());
    let Some(path) = head.uri.path().strip_prefix(&base) else { return no_page() };
    let parts: Vec<&str> = path.split('/').collect();
    let table = match generation {
        Generation::Documented => [DOCUMENTED, &[]],
        Generation::Early => [EARLY, &[]],
        Generation::Current => [EARLY, CURRENT],
    };
    let there: Vec<&(&'static str, &str)> =
        table.into_iter().flatten().filter(|(_, pattern)| fits(pattern, &parts)).collect();
    if there.is_empty() {
        return no_page();
    }
    if there.iter().all(|(known, _)| *known != method) {
        let methods: Vec<&'static str> = there.iter().map(|(known, _)| *known).collect();
        return not_allowed(&methods);
    }
    let parts: Vec<String> = parts.into_iter().map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if let ["hosts", host, "vms", vm, kind @ ("console" | "spice")] = parts.as_slice() {
        return match WebSocketUpgrade::from_request_parts(&mut head, &server).await {
            Ok(upgrade) => socket::console(upgrade, &server, host, vm, kind),
            Err(_) => text(400, "the client is not using the websocket protocol"),
        };
    }
    let call = Call { server: &server, generation, body: &body };
    call.dispatch(&method, &parts, head.uri.query().unwrap_or_default())
}

struct Call<'a> {
    server: &'a Server,
    generation: Generation,
    body: &'a [u8],
}

impl Call<'_> {
    fn dispatch(&self, method: &str, parts: &[&str], query: &str) -> Response {
        let world = || self.server.lock();
        match (method, parts) {
            ("GET", ["health"]) => json(200, &json!({"ok": true})),
            ("GET", ["hosts"]) => json(200, &world().hosts_json()),
            ("POST", ["hosts"]) => self.add_host(),
            ("DELETE", ["hosts", host]) => {
                world().hosts.retain(|known| known.id != *host);
                self.server.tell_hosts();
                done()
            }
            ("PATCH", ["hosts", host]) => self.change_host(host),
            ("POST", ["hosts", host, "connect"]) => self.connect(host, true),
            ("POST", ["hosts", host, "disconnect"]) => self.connect(host, false),
            ("GET", ["hosts", host, "info"]) => self.info(host),
            ("GET", ["hosts", host, "stats"]) => {
                self.of_host(host, |call| call.server.lock().host_load(host))
            }
            ("GET", ["hosts", host, "capabilities"]) => self.of_host(
                host,
                |_| json!({"host_info": {"architecture": "x86_64"}, "virt_info": {"hypervisor": "QEMU"}}),
            ),
            ("POST", ["hosts", host, "capabilities", "refresh"]) => {
                self.of_host(host, |_| json!({"success": true, "message": "refreshed"}))
            }
            ("GET", ["hosts", host, "vms"]) => json(200, &world().vms_json(host)),
            ("POST", ["hosts", host, "vms"]) => self.create(host),
            ("GET", ["discovered-vms"]) => json(200, &world().discovered_json(None)),
            ("POST", ["discovered-vms", "refresh"]) => {
                json(200, &json!({"message": "begun", "success": true}))
            }
            ("GET", ["hosts", host, "discovered-vms"]) => json(200, &world().discovered_json(Some(host))),
            ("DELETE", ["hosts", host, "discovered-vms"]) => self.forget(host),
            ("POST", ["hosts", host, "vms", "import-all"]) => self.import(host, None),
            ("POST", ["hosts", host, "vms", "import-selected"]) => self.import_selected(host),
            ("POST", ["hosts", host, "vms", vm, "import"]) => self.import(host, Some(vm)),
            ("GET", ["hosts", host, "vms", vm, "hardware"]) => self.hardware(host, vm),
            ("GET", ["hosts", host, "vms", vm, "hardware", "extended"]) => match world().vm(host, vm) {
                Some(_) => json(
                    200,
                    &json!({"controller_attachments": [], "disk_attachments": [], "port_attachments": []}),
                ),
                None => text(404, "VM not found"),
            },
            ("GET", ["hosts", host, "vms", vm, "stats"]) => self.load(host, vm),
            ("POST", ["hosts", host, "vms", vm, "action"]) => {
                let body: Option<Value> = serde_json::from_slice(self.body).ok();
                match body.as_ref().and_then(|body| body.get("action")?.as_str()) {
                    Some(verb) => self.power(host, vm, verb),
                    None => text(400, "Invalid request body"),
                }
            }
            ("POST", ["hosts", host, "vms", vm, "sync-from-libvirt"]) => self.known(host, vm),
            // It is only marked, and nobody looks whether there is such a guest.
            ("POST", ["hosts", _, "vms", _, "rebuild-from-db"]) => done(),
            ("POST", ["hosts", host, "vms", vm, verb]) => self.power(host, vm, verb),
            ("PUT", ["hosts", host, "vms", vm, "state"]) => self.intend(host, vm),
            ("GET", ["storage", "pools"]) => json(200, &world().pools_json(None)),
            ("GET", ["hosts", host, "storage", "pools"]) => json(200, &world().pools_json(Some(host))),
            ("GET", ["storage", "volumes"]) => json(200, &world().volumes_json(None)),
            ("GET", ["hosts", host, "storage", "volumes"]) => json(200, &world().volumes_json(Some(host))),
            ("GET", ["storage", "disk-attachments"]) => json(200, &world().attachments_json()),
            ("DELETE", ["storage", "volumes", id]) => self.delete_volume(id),
            ("GET", ["networks"]) => json(200, &world().networks_json(None)),
            ("GET", ["hosts", host, "networks"]) => json(200, &world().networks_json(Some(host))),
            ("GET", ["dashboard", "stats"]) => json(200, &world().dashboard()),
            ("GET", ["dashboard", "activity"]) => {
                let limit = query.strip_prefix("limit=").and_then(|limit| limit.parse().ok());
                json(200, &world().activity(limit.unwrap_or(10)))
            }
            ("GET", ["dashboard", "overview"]) => {
                let stats = world().dashboard();
                let activity = world().activity(10);
                json(200, &json!({"stats": stats, "activity": activity}))
            }
            ("GET", ["settings", "metrics"] | ["settings", "metrics", "runtime"]) => json(
                200,
                &json!({"cpuDisplayDefault": "host", "cpuSmoothAlpha": 0.3, "diskSmoothAlpha": 0.3, "netSmoothAlpha": 0.6}),
            ),
            ("GET", ["video", "models"]) => json(200, &devices::video_models()),
            ("GET", ["hosts", _, "ports"] | ["hosts", _, "video", "devices"]) => json(200, &json!([])),
            ("GET", ["ports"]) => json(200, &devices::ports(&world())),
            ("GET", ["port-attachments"]) => json(200, &devices::port_attachments(&world(), None)),
            ("GET", ["hosts", host, "vms", vm, "port-attachments"]) => {
                json(200, &devices::port_attachments(&world(), Some((host, vm))))
            }
            ("GET", ["hosts", host, "vms", vm, "video-attachments"]) => {
                json(200, &devices::video_attachments(&world(), host, vm))
            }
            ("PUT", ["settings", "metrics"]) => self.set_metrics(),
            _ => no_page(),
        }
    }

    fn current(&self) -> bool {
        self.generation == Generation::Current
    }

    fn object(&self) -> Option<Map<String, Value>> {
        serde_json::from_slice(self.body).ok()
    }

    fn bad_body(&self) -> Response {
        if self.current() {
            let why = json!("Failed to parse JSON request");
            return refused(400, "VALIDATION_ERROR", "Invalid request body", why);
        }
        text(400, "Invalid request body")
    }

    fn add_host(&self) -> Response {
        let Some(body) = self.object() else { return self.bad_body() };
        let word = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, uri) = (word("id"), word("uri"));
        let id = if id.is_empty() { uuid::Uuid::new_v4().to_string() } else { id };
        if uri.is_empty() {
            return refused(
                400,
                "VALIDATION_ERROR",
                "Missing required fields",
                json!("Host URI is required"),
            );
        }
        let mut host = FakeHost::new(id.clone()).uri(uri.clone());
        host.connect();
        if self.server.lock().host(&id).is_some() {
            let why = "UNIQUE constraint failed: hosts.id";
            return match self.current() {
                true => failed(&format!("failed to create host: {why}"), "create_host"),
                false => text(500, &format!("failed to save host to database: {why}")),
            };
        }
        if !self.current() && !host.connected {
            let scheme = uri.split(':').next().unwrap_or_default();
            let why = match scheme.starts_with("qemu") {
                true => "connection refused".to_owned(),
                false => format!("unsupported scheme: {scheme}"),
            };
            return text(
                500,
                &format!("failed to connect to host: failed to dial libvirt for host '{id}': {why}"),
            );
        }
        let connected = host.connected;
        let answer = {
            let mut world = self.server.lock();
            let answer = world.host_json(&host, false);
            world.hosts.push(host);
            answer
        };
        if self.current() {
            self.server.tell_hosts();
            self.server.tell_connection(&id, connected);
        } else {
            self.server.tell_hosts();
        }
        let status = if self.generation == Generation::Documented { 200 } else { 201 };
        json(status, &answer)
    }

    fn change_host(&self, id: &str) -> Response {
        let Some(body) = self.object() else { return text(400, "Invalid request body") };
        let mut world = self.server.lock();
        let Some(host) = world.host(id) else { return text(404, "host not found: record not found") };
        if let Some(name) = body.get("name").and_then(Value::as_str) {
            host.name = Some(name.to_owned());
        }
        if let Some(disabled) = body.get("auto_reconnect_disabled").and_then(Value::as_bool) {
            host.no_reconnect = disabled;
        }
        let host = host.clone();
        json(200, &world.host_json(&host, false))
    }

    fn connect(&self, id: &str, connect: bool) -> Response {
        {
            let mut world = self.server.lock();
            let Some(host) = world.host(id) else {
                return failed(
                    &format!("could not find host {id} in database: record not found"),
                    "connect_host",
                );
            };
            if connect {
                host.connect();
            } else {
                (host.connected, host.state, host.no_reconnect) = (false, "DISCONNECTED", true);
                host.vms.iter_mut().for_each(|vm| vm.seen = 0);
            }
        }
        self.server.tell_connection(id, connect);
        done()
    }

    fn info(&self, id: &str) -> Response {
        let world = self.server.lock();
        match (self.current(), world.connected(id)) {
            (true, true) => json(200, &json!({"connected": true, "info": world.facts()})),
            (true, false) => json(200, &json!({"connected": false, "info": null})),
            (false, true) => json(200, &world.facts()),
            (false, false) => text(500, &format!("not connected to host '{id}'")),
        }
    }

    fn of_host(&self, id: &str, body: impl Fn(&Self) -> Value) -> Response {
        let (known, connected) = {
            let mut world = self.server.lock();
            (world.host(id).is_some(), world.connected(id))
        };
        if !known {
            return refused(
                404,
                "HOST_NOT_FOUND",
                "Host not found",
                json!({"error": format!("host not found: {id}")}),
            );
        }
        if !connected {
            let why = json!({"error": format!("host {id} is not connected")});
            return refused(503, "HOST_DISCONNECTED", "Host is disconnected", why);
        }
        json(200, &body(self))
    }

    fn create(&self, host: &str) -> Response {
        let Some(body) = self.object() else { return self.bad_body() };
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            return refused(400, "VALIDATION_ERROR", "Missing required fields", json!("VM name is required"));
        }
        let made = {
            let mut world = self.server.lock();
            if !world.connected(host) {
                return failed(&format!("host {host} is not connected"), "create_vm");
            }
            if world.vm(host, &name).is_some() {
                return failed(&format!("VM with name {name} already exists on host {host}"), "create_vm");
            }
            world.create(host, &body)
        };
        self.server.tell_vms(host);
        match made {
            Some(row) => json(201, &row),
            None => self.bad_body(),
        }
    }

    fn import(&self, host: &str, only: Option<&str>) -> Response {
        {
            let mut world = self.server.lock();
            if let Some(name) = only {
                if !world.connected(host) {
                    return failed(&format!("not connected to host '{host}'"), "import_vm");
                }
                let Some(vm) = world.vm(host, name) else { return failed(&missing(host, name), "import_vm") };
                if vm.managed {
                    let double = vm.double();
                    world.add_vm(double);
                } else {
                    vm.managed = true;
                }
            } else if let Some(host) = world.host(host).filter(|host| host.connected && host.looks == 0) {
                // Nothing is said of a host that it is not connected to, or has not looked at.
                host.vms.iter_mut().for_each(|vm| vm.managed = true);
            }
        }
        self.server.tell_vms(host);
        let mut body = json!({"host_id": host, "message": "imported", "success": true});
        if let (Some(name), Some(body)) = (only, body.as_object_mut()) {
            body.insert("vm_name".to_owned(), name.into());
        }
        json(202, &body)
    }

    /// The guests that a body names by their UUIDs.
    fn chosen(&self) -> Result<Vec<String>, &'static str> {
        let Some(body) = self.object() else { return Err("Invalid request body") };
        let uuids = body.get("domain_uuids").and_then(Value::as_array).cloned().unwrap_or_default();
        let uuids: Vec<String> = uuids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if uuids.is_empty() { Err("No domain UUIDs provided") } else { Ok(uuids) }
    }

    fn import_selected(&self, host: &str) -> Response {
        let uuids = match self.chosen() {
            Ok(uuids) => uuids,
            Err(refusal) => return text(400, refusal),
        };
        if let Some(host) = self.server.lock().host(host).filter(|host| host.connected) {
            let wanted = host.vms.iter_mut().filter(|vm| uuids.contains(&vm.domain_uuid));
            wanted.for_each(|vm| vm.managed = true);
        }
        self.server.tell_vms(host);
        let count = uuids.len();
        json(202, &json!({"host_id": host, "message": "imported", "success": true, "imported_count": count}))
    }

    fn forget(&self, host: &str) -> Response {
        let uuids = match self.chosen() {
            Ok(uuids) => uuids,
            Err(refusal) => return text(400, refusal),
        };
        if let Some(host) = self.server.lock().host(host) {
            host.vms.retain(|vm| vm.managed || !uuids.contains(&vm.domain_uuid));
        }
        let count = uuids.len();
        json(202, &json!({"host_id": host, "message": "deleted", "success": true, "deleted_count": count}))
    }

    fn hardware(&self, host: &str, vm: &str) -> Response {
        if self.current() && !self.server.lock().connected(host) {
            return failed(&unconnected(self.generation, host), &format!("get_vm_hardware_{vm}"));
        }
        match self.server.lock().hardware_json(host, vm) {
            Some(hardware) => json(200, &hardware),
            None => {
                let why = format!("could not find VM {vm} in database: record not found");
                match self.current() {
                    true => failed(&why, &format!("get_vm_hardware_{vm}")),
                    false => text(404, &why),
                }
            }
        }
    }

    fn load(&self, host: &str, vm: &str) -> Response {
        let mut world = self.server.lock();
        if !world.connected(host) {
            return text(500, &unconnected(self.generation, host));
        }
        match world.vm(host, vm) {
            Some(vm) => json(200, &vm.load(self.generation, false)),
            None if self.current() => text(500, &format!("failed to get VM stats: {}", missing(host, vm))),
            None => text(500, &missing(host, vm)),
        }
    }

    fn known(&self, host: &str, vm: &str) -> Response {
        match self.server.lock().vm(host, vm) {
            Some(_) => done(),
            None => text(500, &missing(host, vm)),
        }
    }

    fn intend(&self, host: &str, vm: &str) -> Response {
        let body = self.object().unwrap_or_default();
        let state = body.get("state").and_then(Value::as_str).unwrap_or_default();
        match state {
            "ACTIVE" | "STOPPED" | "PAUSED" | "SUSPENDED" => match self.server.lock().vm(host, vm) {
                Some(_) => done(),
                None => text(500, &format!("VM {vm} not found on host {host}")),
            },
            other => text(500, &format!("invalid state: {other}")),
        }
    }

    fn delete_volume(&self, id: &str) -> Response {
        let mut world = self.server.lock();
        let listed = world.volumes_json(None);
        let found = listed
            .as_array()
            .and_then(|all| all.iter().find(|row| row.get("id").and_then(Value::as_str) == Some(id)))
            .cloned();
        match found.and_then(|row| row.get("name")?.as_str().map(str::to_owned)) {
            Some(name) => {
                world.hosts.iter_mut().for_each(|host| {
                    host.vms.iter_mut().filter(|vm| vm.name == name).for_each(super::guest::FakeVm::lose_disk)
                });
                done()
            }
            None => failed("volume not found: record not found", "delete_storage_volume"),
        }
    }

    fn set_metrics(&self) -> Response {
        let body = self.object().unwrap_or_default();
        match body.get("cpuSmoothAlpha").and_then(Value::as_f64) {
            Some(alpha) if !(0.0..=1.0).contains(&alpha) => {
                let why = json!("Expected number between 0 and 1");
                refused(400, "VALIDATION_ERROR", "Invalid cpuSmoothAlpha", why)
            }
            _ => done(),
        }
    }

    /// A power verb, by the name of its route or of the document's action.
    fn power(&self, host: &str, vm: &str, verb: &str) -> Response {
        // What fails in libvirt is JSON for start and shutdown on current servers, and text for the others.
        let fail = |why: String| match (self.current(), verb) {
            (true, "start" | "shutdown") => failed(&why, &format!("{verb}_vm_{vm}")),
            _ => text(500, &why),
        };
        {
            let mut world = self.server.lock();
            if !world.connected(host) {
                return fail(unconnected(self.generation, host));
            }
            let Some(found) = world.vm(host, vm) else { return fail(missing(host, vm)) };
            let active = matches!(found.state, 1..=4);
            let wrong = |why: &str| {
                let why = format!("Requested operation is not valid: domain is {why}");
                match (self.current(), verb) {
                    (true, "start" | "shutdown") => format!("libvirt {verb} failed for {vm}: {why}"),
                    _ => why,
                }
            };
            match (verb, active) {
                ("start", true) => return fail(wrong("already running")),
                ("start", false) => found.state = 1,
                (_, false) => return fail(wrong("not running")),
                ("forceoff" | "destroy", true) => found.state = 5,
                // No operating system in it that would hear.
                ("shutdown" | "reboot", true) => {}
                ("forcereset" | "reset", true) => found.state = 1,
                _ => return text(400, &format!("unknown action: {verb}")),
            }
            world.see(host, vm);
        }
        self.server.tell_vms(host);
        done()
    }
}

fn missing(host: &str, vm: &str) -> String {
    format!(
        "could not find VM '{vm}' on host '{host}': Domain not found: no domain with matching name '{vm}'"
    )
}

fn unconnected(generation: Generation, host: &str) -> String {
    match generation {
        Generation::Current => format!("host {host} is not connected"),
        _ => format!("not connected to host '{host}'"),
    }
}
