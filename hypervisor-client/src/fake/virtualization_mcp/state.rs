//! What the fake has, and what its calls do.

use serde_json::{Value, json};

use super::answer::{Call, Failure, Told};

/// A machine of the fake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FakeBox {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// `running`, `poweroff`, `paused`, `saved`, `aborted`.
    pub state: String,
    /// Its memory in MiB.
    pub memory_mb: u64,
    /// Its CPUs.
    pub cpus: u64,
    /// `virtualbox`, `hyperv`, `proxmox`.
    pub provider: String,
    snapshots: Vec<Value>,
}

impl FakeBox {
    /// A machine that is off, with two CPUs and 2 GiB.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid::Uuid::new_v4().to_string(),
            state: "poweroff".to_owned(),
            memory_mb: 2048,
            cpus: 2,
            provider: "virtualbox".to_owned(),
            snapshots: Vec::new(),
        }
    }

    /// It runs.
    #[must_use]
    pub fn running(mut self) -> Self {
        "running".clone_into(&mut self.state);
        self
    }

    /// Another provider's.
    #[must_use]
    pub fn of(mut self, provider: &str) -> Self {
        provider.clone_into(&mut self.provider);
        self
    }

    pub(super) fn row(&self) -> Value {
        json!({
            "name": self.name, "uuid": self.uuid, "state": self.state, "os_type": "Ubuntu (64-bit)",
            "memory_mb": self.memory_mb, "cpus": self.cpus, "provider": self.provider,
        })
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) served: bool,
    pub(super) vms: Vec<FakeBox>,
    pub(super) key: Option<String>,
    pub(super) client: Option<(String, String, u64)>,
    pub(super) tokens: Vec<String>,
    pub(super) calls_left: u64,
    given: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            served: false,
            vms: Vec::new(),
            key: None,
            client: None,
            tokens: Vec::new(),
            calls_left: 1_000_000,
            given: 0,
        }
    }
}

impl World {
    /// Lets a call in. The server as it is lets everybody in.
    pub(super) fn admit(&mut self, call: &Call) -> Result<(), Failure> {
        if self.served {
            return Ok(());
        }
        if self.calls_left == 0 {
            return Err(Failure::detail(429, "Too many requests").retry_after(7));
        }
        self.calls_left -= 1;
        let bearer = call.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        let known = match (&self.key, &self.client) {
            (Some(key), _) => call.key.as_ref() == Some(key),
            (None, Some(_)) => bearer.is_some_and(|token| self.tokens.iter().any(|known| known == token)),
            _ => true,
        };
        if known { Ok(()) } else { Err(Failure::detail(401, "Authentication required")) }
    }

    fn vm(&mut self, name: &str, verb: &str) -> Result<&mut FakeBox, Failure> {
        let message = format!("VM '{name}' does not exist");
        let served = json!({
            "status": "error", "vm_name": name, "state": "error", "headless": true, "error": message,
            "message": format!("Failed to {verb} VM '{name}': {message}"),
            "troubleshooting": ["Check if the VM exists and is powered off"],
        });
        let found = self.vms.iter_mut().find(|vm| vm.name == name);
        found.ok_or_else(|| {
            let failure = Failure::new(
                404,
                "RESOURCE_NOT_FOUND",
                "The requested resource was not found",
                (200, served),
            );
            failure.details(json!({ "resource": "virtual_machine", "id": name }))
        })
    }

    /// What every version of the server lacks that was looked at.
    fn lacks(&self, what: &str) -> Result<(), Failure> {
        if self.served { Err(Failure::detail(500, what)) } else { Ok(()) }
    }
}

pub(super) fn token(world: &mut World, call: &Call) -> Result<Told, Failure> {
    let Some((id, secret, life)) = world.client.clone() else {
        return Err(Failure::detail(404, "Not Found"));
    };
    let text = |key: &str| call.form.get(key).map(String::as_str).unwrap_or_default();
    let refresh = format!("refresh-{}", world.given);
    let good = match text("grant_type") {
        "client_credentials" => text("client_id") == id && text("client_secret") == secret,
        "password" => text("username") == id && text("password") == secret,
        "refresh_token" => text("refresh_token") == refresh,
        _ => false,
    };
    if !good {
        return Err(Failure::detail(401, "Invalid client"));
    }
    world.given += 1;
    let token = format!("token-{}", world.given);
    world.tokens = vec![token.clone()];
    let refresh = format!("refresh-{}", world.given);
    Ok(Told::Bare(json!({
        "access_token": token, "token_type": "bearer", "expires_in": life, "refresh_token": refresh,
    })))
}

pub(super) fn create(world: &mut World, call: &Call) -> Result<Told, Failure> {
    let name = call.required("name")?;
    let number = |key: &str, usual: u64| call.body.get(key).and_then(Value::as_u64).unwrap_or(usual);
    let wrong = if world.vms.iter().any(|vm| vm.name == name) {
        Some((409, "CONFLICT", format!("VM '{name}' already exists")))
    } else if !(1..=256).contains(&number("cpus", 2)) {
        Some((400, "INVALID_REQUEST", "Invalid CPU count".to_owned()))
    } else {
        None
    };
    if let Some((status, code, message)) = wrong {
        let served = json!({
            "status": "error", "vm_id": "", "name": name, "ip_address": null, "warnings": [], "error": message,
            "message": format!("Failed to create VM '{name}': {message}"),
            "troubleshooting": ["Check if the VM name is unique"],
        });
        return Err(Failure::new(status, code, message, (200, served)));
    }
    let mut vm = FakeBox::new(&name);
    vm.memory_mb = number("memory_mb", vm.memory_mb);
    vm.cpus = number("cpus", vm.cpus);
    if let Some(provider) = call.field("provider") {
        provider.clone_into(&mut vm.provider);
    }
    let uuid = vm.uuid.clone();
    world.vms.push(vm);
    Ok(Told::Object(json!({ "vm_id": uuid, "name": name, "ip_address": null, "warnings": [] })))
}

pub(super) fn delete(world: &mut World, name: &str) -> Result<Told, Failure> {
    let before = world.vms.len();
    world.vms.retain(|vm| vm.name != name);
    let gone = |status: &str, message: String| {
        json!({
            "status": status, "vm_name": name, "disks_removed": [], "disks_retained": [], "message": message,
            "troubleshooting": ["Verify the VM name is correct"],
        })
    };
    if world.vms.len() == before {
        let served = gone("not_found", format!("VM '{name}' not found. No action taken."));
        return Err(Failure::new(
            404,
            "RESOURCE_NOT_FOUND",
            "The requested resource was not found",
            (200, served),
        ));
    }
    Ok(Told::Object(gone("success", format!("VM '{name}' deleted"))))
}

pub(super) fn start(world: &mut World, name: &str) -> Result<Told, Failure> {
    let vm = world.vm(name, "start")?;
    let message = if vm.state == "running" {
        format!("✓ VM '{name}' is already running")
    } else {
        format!("✓ VM '{name}' started successfully in headless mode")
    };
    "running".clone_into(&mut vm.state);
    Ok(Told::Object(json!({
        "vm_name": name, "state": "running", "headless": true, "message": message,
        "troubleshooting": ["If the VM doesn't respond, check the VirtualBox GUI"],
    })))
}

pub(super) fn stop(world: &mut World, name: &str) -> Result<Told, Failure> {
    let vm = world.vm(name, "stop")?;
    let before = std::mem::replace(&mut vm.state, "poweroff".to_owned());
    Ok(Told::Object(json!({
        "vm_name": name, "force": false, "previous_state": before,
        "message": format!("✓ VM '{name}' was gracefully shut down"),
        "troubleshooting": ["The VM may take a moment to fully shut down"],
    })))
}

pub(super) fn pause(world: &mut World, name: &str, from: &str, to: &str) -> Result<Told, Failure> {
    let verb = if to == "paused" { "pause_vm" } else { "resume_vm" };
    world.lacks(&format!("'VBoxManager' object has no attribute '{verb}'"))?;
    let vm = world.vm(name, "pause")?;
    if vm.state != from {
        let message = format!("VM '{name}' is {}, not {from}", vm.state);
        return Err(Failure::new(
            409,
            "CONFLICT",
            message.clone(),
            (200, json!({ "status": "error", "error": message })),
        ));
    }
    to.clone_into(&mut vm.state);
    Ok(Told::Object(json!({ "vm_name": name, "state": to })))
}

const LIST: &str = "'VMOperations' object has no attribute 'list_snapshots'";

pub(super) fn snapshots(world: &mut World, name: &str) -> Result<Told, Failure> {
    if world.served {
        let served = json!({ "status": "error", "snapshots": [], "error": LIST });
        return Err(Failure::new(500, "INTERNAL_SERVER_ERROR", LIST, (200, served)));
    }
    let snapshots = world.vm(name, "read")?.snapshots.clone();
    Ok(Told::List("snapshots", snapshots))
}

fn called(snapshot: &Value, name: &str) -> bool {
    snapshot.get("name").and_then(Value::as_str) == Some(name)
}

pub(super) fn snapshot(world: &mut World, name: &str, call: &Call) -> Result<Told, Failure> {
    world.lacks("'VMOperations' object has no attribute 'create_snapshot'")?;
    let taken = call.required("snapshot_name")?;
    let vm = world.vm(name, "snapshot")?;
    if vm.snapshots.iter().any(|each| called(each, &taken)) {
        return Err(Failure::new(
            409,
            "CONFLICT",
            format!("Snapshot '{taken}' already exists"),
            (200, Value::Null),
        ));
    }
    let parent = vm.snapshots.last().and_then(|each| each.get("name")).cloned();
    for each in vm.snapshots.iter_mut().filter_map(Value::as_object_mut) {
        each.insert("current".to_owned(), json!(false));
    }
    vm.snapshots.push(json!({
        "name": taken, "description": call.field("description"), "parent": parent, "current": true,
    }));
    Ok(Told::Object(json!({ "vm_name": name, "snapshot_name": taken })))
}

fn existing(vm: &FakeBox, snapshot: &str) -> Result<(), Failure> {
    if vm.snapshots.iter().any(|each| called(each, snapshot)) {
        return Ok(());
    }
    Err(Failure::detail(404, format!("Snapshot '{snapshot}' not found")))
}

pub(super) fn restore(world: &mut World, name: &str, call: &Call) -> Result<Told, Failure> {
    world.lacks("'VMOperations' object has no attribute 'restore_snapshot'")?;
    let wanted = call.required("snapshot_name")?;
    let vm = world.vm(name, "restore")?;
    existing(vm, &wanted)?;
    "poweroff".clone_into(&mut vm.state);
    Ok(Told::Object(json!({ "vm_name": name, "snapshot_name": wanted })))
}

pub(super) fn delete_snapshot(world: &mut World, name: &str, call: &Call) -> Result<Told, Failure> {
    world.lacks("'VMOperations' object has no attribute 'delete_snapshot'")?;
    let wanted = call.required("snapshot_name")?;
    let vm = world.vm(name, "delete-snapshot")?;
    existing(vm, &wanted)?;
    vm.snapshots.retain(|each| !called(each, &wanted));
    Ok(Told::Object(json!({ "vm_name": name, "snapshot_name": wanted })))
}

pub(super) fn screenshot(world: &mut World, name: &str) -> Result<Told, Failure> {
    world.vm(name, "read")?;
    // The signature of a PNG; what is behind it nobody looks at.
    Ok(Told::Picture(b"\x89PNG\r\n\x1a\n"))
}

pub(super) fn template() -> Value {
    json!({
        "name": "ubuntu-dev",
        "config": {
            "os_type": "Ubuntu_64", "memory_mb": 4096, "disk_gb": 25, "cpus": 2, "network": "NAT",
            "description": "Ubuntu development environment",
        },
        "builtin": true, "description": "Ubuntu development environment", "os_type": "Ubuntu_64", "memory_mb": 4096,
        "disk_gb": 25,
    })
}
