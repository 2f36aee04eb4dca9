//! What there is, and how each generation tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, watch};

use super::Seen;
use super::answer::NOW;
use super::guest::{FakeVm, merge};
use crate::dialect::virtumancer::Generation;

/// A client that is this many frames behind is cut off.
const QUEUE: usize = 256;

/// A host behind the fake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FakeHost {
    pub(super) id: String,
    pub(super) uri: String,
    pub(super) name: Option<String>,
    pub(super) connected: bool,
    pub(super) state: &'static str,
    pub(super) no_reconnect: bool,
    /// So often the gateway is asked what it has found there before it has found anything.
    pub(super) looks: usize,
    pub(super) vms: Vec<FakeVm>,
}

impl FakeHost {
    /// A host that the gateway is connected to, with a pool and a network called `default`.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            uri: "qemu:///system".to_owned(),
            name: None,
            connected: true,
            state: "CONNECTED",
            no_reconnect: false,
            looks: 0,
            vms: Vec::new(),
        }
    }

    /// How it is reached. A screen can only be passed on where it names a user and a host.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = uri.into();
        self
    }

    /// The gateway's first look at it takes long: the first so many requests for what it has found there see nothing, and nothing can be
    /// imported until then.
    #[must_use]
    pub fn found_after(mut self, requests: usize) -> Self {
        self.looks = requests;
        self
    }

    /// The gateway is not connected to it.
    #[must_use]
    pub fn disconnected(mut self) -> Self {
        (self.connected, self.state) = (false, "DISCONNECTED");
        self
    }

    /// The gateway looks at its guests.
    pub(super) fn look(&mut self) {
        self.vms.iter_mut().for_each(|vm| vm.seen = vm.state);
    }

    /// Whether the gateway could connect to such a URI.
    pub(super) fn connect(&mut self) {
        let reachable = self.uri.starts_with("qemu") && !self.uri.contains("127.0.0.1:1/");
        self.connected = reachable;
        self.state = if reachable { "CONNECTED" } else { "ERROR" };
    }
}

/// A subscription: a host, and a guest of it unless the host itself is meant.
pub(super) type Whose = (String, Option<String>);

/// What there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) generation: Generation,
    pub(super) hosts: Vec<FakeHost>,
    pub(super) requests: Vec<Seen>,
    pub(super) frames: Vec<String>,
    pub(super) pongs: usize,
    pub(super) sockets: usize,
    pub(super) opened: usize,
    pub(super) refuse: bool,
    /// Subscription -> the clients that have it.
    pub(super) subscriptions: BTreeMap<Whose, BTreeSet<usize>>,
}

impl World {
    pub(super) fn new(generation: Generation, hosts: Vec<FakeHost>) -> Self {
        Self {
            generation,
            hosts,
            requests: Vec::new(),
            frames: Vec::new(),
            pongs: 0,
            sockets: 0,
            opened: 0,
            refuse: false,
            subscriptions: BTreeMap::new(),
        }
    }

    pub(super) fn host(&mut self, id: &str) -> Option<&mut FakeHost> {
        self.hosts.iter_mut().find(|host| host.id == id)
    }

    pub(super) fn connected(&self, id: &str) -> bool {
        self.hosts.iter().any(|host| host.id == id && host.connected)
    }

    pub(super) fn vm(&mut self, host: &str, name: &str) -> Option<&mut FakeVm> {
        self.host(host)?.vms.iter_mut().find(|vm| vm.name == name)
    }

    pub(super) fn set_state(&mut self, host: &str, name: &str, state: u8) -> bool {
        let found = self.vm(host, name);
        found.map(|vm| vm.state = state).is_some()
    }

    /// The gateway looks at a guest.
    pub(super) fn see(&mut self, host: &str, name: &str) {
        if let Some(vm) = self.vm(host, name) {
            vm.seen = vm.state;
        }
    }

    pub(super) fn add_vm(&mut self, vm: FakeVm) {
        if let Some(host) = self.host(&vm.host.clone()) {
            host.vms.push(vm);
        }
    }

    pub(super) fn remove_vms(&mut self, host: &str, which: impl Fn(&str) -> bool) {
        if let Some(host) = self.host(host) {
            host.vms.retain(|vm| !which(&vm.name));
        }
    }

    pub(super) fn set_connected(&mut self, host: &str, connected: bool) {
        if let Some(host) = self.host(host) {
            host.connected = connected;
            // What it has seen it forgets with the connection, and the next does not bring it back.
            if !connected {
                host.vms.iter_mut().for_each(|vm| vm.seen = 0);
            }
            host.state = if connected { "CONNECTED" } else { "DISCONNECTED" };
        }
    }

    /// A host in the list, or as a create answers with it.
    pub(super) fn host_json(&self, host: &FakeHost, listed: bool) -> Value {
        let mut row = json!({"id": host.id, "uri": host.uri});
        match self.generation {
            Generation::Documented => merge(&mut row, json!({"created_at": NOW})),
            Generation::Early => {}
            Generation::Current => {
                let state = if listed { host.state } else { "DISCONNECTED" };
                merge(
                    &mut row,
                    json!({
                        "created_at": NOW, "updated_at": NOW, "deleted_at": null, "state": state, "task_state": "",
                        "auto_reconnect_disabled": host.no_reconnect,
                    }),
                );
                if let Some(name) = &host.name {
                    merge(&mut row, json!({"name": name}));
                }
                if listed {
                    merge(&mut row, json!({"connected": host.connected}));
                }
            }
        }
        row
    }

    pub(super) fn hosts_json(&self) -> Value {
        self.hosts.iter().map(|host| self.host_json(host, true)).collect()
    }

    pub(super) fn facts(&self) -> Value {
        let mut facts =
            json!({"hostname": "vm", "cpu": 2, "memory": 8_952_950_784_u64, "cores": 2, "threads": 1});
        if self.generation == Generation::Current {
            merge(&mut facts, json!({"memory_used": 4_000_000_000_u64, "uptime": 0}));
        }
        facts
    }

    /// A host's guests. An unknown host has `null` of them, or none.
    pub(super) fn vms_json(&self, id: &str) -> Value {
        let current = self.generation == Generation::Current;
        match self.hosts.iter().find(|host| host.id == id) {
            None if current => json!([]),
            None => Value::Null,
            Some(host) => {
                let listed = host.vms.iter().enumerate().filter(|(_, vm)| vm.managed || !current);
                listed.map(|(at, vm)| vm.listed(self.generation, at + 1, host.connected)).collect()
            }
        }
    }

    /// Being asked, the gateway looks at the host, and answers with what it knew before.
    pub(super) fn discovered_json(&mut self, only: Option<&str>) -> Value {
        let answer = self.discovered_now(only);
        for host in self.hosts.iter_mut().filter(|host| only == Some(host.id.as_str()) && host.connected) {
            host.look();
            host.looks = host.looks.saturating_sub(1);
        }
        answer
    }

    fn discovered_now(&self, only: Option<&str>) -> Value {
        let hosts = self.hosts.iter().filter(|host| host.connected && host.looks == 0);
        let hosts = hosts.filter(|host| only.is_none_or(|only| host.id == only));
        let vms = hosts.flat_map(|host| host.vms.iter().filter(|vm| !vm.managed).map(move |vm| (host, vm)));
        vms.map(|(host, vm)| {
            let mut found = vm.discovered();
            if only.is_none() {
                let name = host.name.as_ref().unwrap_or(&host.id);
                merge(&mut found, json!({"host_id": host.id, "host_name": name}));
            }
            found
        })
        .collect()
    }

    pub(super) fn hardware_json(&mut self, host: &str, name: &str) -> Option<Value> {
        let generation = self.generation;
        if self.connected(host) {
            self.see(host, name);
        }
        self.vm(host, name).map(|vm| vm.hardware(generation))
    }

    /// Makes a guest as a create asks for it.
    pub(super) fn create(&mut self, host: &str, body: &Map<String, Value>) -> Option<Value> {
        let mut vm = FakeVm::new(host, body.get("name")?.as_str()?);
        let number = |key: &str| body.get(key).and_then(Value::as_u64);
        vm.cpus = number("vcpu_count").and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
        vm.memory = number("memory_bytes").unwrap_or(512 << 20);
        vm.disk_gib = number("disk_size_gb").unwrap_or(0);
        vm.description = body.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        let row = vm.row();
        self.add_vm(vm);
        Some(row)
    }

    fn each_host(&self, only: Option<&str>, row: impl Fn(&FakeHost) -> Vec<Value>) -> Value {
        let hosts = self.hosts.iter().filter(|host| only.map_or(host.connected, |only| host.id == only));
        hosts.flat_map(row).collect()
    }

    pub(super) fn pools_json(&self, only: Option<&str>) -> Value {
        self.each_host(only, |host| {
            vec![json!({
                "id": format!("pool-{}", host.id), "created_at": NOW, "updated_at": NOW, "deleted_at": null,
                "host_id": host.id, "name": "default", "uuid": "f244ed58-eae3-4320-a8bf-4367dee088d0", "type": "dir",
                "path": "/images", "state": "inactive", "capacity_bytes": 270_553_174_016_u64,
                "allocation_bytes": 19_294_646_272_u64,
            })]
        })
    }

    pub(super) fn volumes_json(&self, only: Option<&str>) -> Value {
        self.each_host(only, |host| {
            let disks = host.vms.iter().filter(|vm| vm.managed && vm.disk_gib > 0);
            disks
                .map(|vm| {
                    json!({
                        "id": format!("volume-{}", vm.uuid), "created_at": NOW, "updated_at": NOW, "deleted_at": null,
                        "storage_pool_id": format!("pool-{}", host.id), "name": vm.name, "path": vm.path(),
                        "type": "DISK", "format": "qcow2", "capacity_bytes": 0, "allocation_bytes": 0,
                        "state": "AVAILABLE", "task_state": "", "pool_name": "default",
                    })
                })
                .collect()
        })
    }

    pub(super) fn attachments_json(&self) -> Value {
        self.each_host(None, |host| {
            let disks = host.vms.iter().filter(|vm| vm.managed && vm.disk_gib > 0);
            disks
                .map(|vm| {
                    json!({
                        "id": format!("attachment-{}", vm.uuid), "created_at": NOW, "updated_at": NOW,
                        "deleted_at": null, "vm_uuid": vm.uuid, "disk_id": format!("disk-{}", vm.uuid),
                        "disk": {
                            "id": format!("disk-{}", vm.uuid), "created_at": NOW, "updated_at": NOW,
                            "deleted_at": null, "name": vm.name, "volume_id": format!("volume-{}", vm.uuid),
                            "path": vm.path(), "format": "qcow2", "capacity_bytes": vm.disk_gib << 30, "serial": "",
                            "driver_json": "", "backing_json": "", "volume_type": "", "allocation_bytes": 0,
                            "physical_bytes": 0, "target_path": "", "source_format": "", "encryption": "",
                            "iotune": "", "state": "AVAILABLE", "task_state": "",
                        },
                        "device_name": "vda", "bus_type": "virtio", "read_only": false, "shareable": false,
                        "address_json": "", "metadata": "", "vm_name": vm.name, "device_type": "disk",
                        "capacity_gb": vm.disk_gib, "target_dev": "vda", "format": "qcow2",
                    })
                })
                .collect()
        })
    }

    pub(super) fn networks_json(&self, only: Option<&str>) -> Value {
        self.each_host(only, |host| {
            vec![json!({
                "id": format!("network-{}", host.id), "created_at": NOW, "updated_at": NOW, "deleted_at": null,
                "host_id": host.id, "name": "default", "uuid": "", "bridge_name": "", "mode": "nat",
            })]
        })
    }

    pub(super) fn host_load(&self, id: &str) -> Value {
        let host = self.hosts.iter().find(|host| host.id == id);
        let count = host.map_or(0, |host| host.vms.len());
        let active = host.map_or(0, |host| host.vms.iter().filter(|vm| vm.state == 1).count());
        json!({
            "cpu_percent": 12.5, "disk_free": 1, "disk_total": 2, "host_info": self.facts(),
            "memory_available": 4_952_950_784_u64, "memory_total": 8_952_950_784_u64, "resources": {}, "total_vms": count,
            "uptime": 0, "vm_count": count,
            "vm_counts": {"ACTIVE": active, "ERROR": 0, "PAUSED": 0, "STOPPED": count - active, "UNKNOWN": 0},
        })
    }

    pub(super) fn dashboard(&self) -> Value {
        let vms: usize = self.hosts.iter().map(|host| host.vms.len()).sum();
        let running: usize =
            self.hosts.iter().map(|host| host.vms.iter().filter(|vm| vm.running_now()).count()).sum();
        json!({
            "infrastructure": {"totalHosts": self.hosts.len(),
                "connectedHosts": self.hosts.iter().filter(|host| host.connected).count(),
                "totalVMs": vms, "runningVMs": running, "stoppedVMs": vms - running},
            "resources": {"totalMemoryGB": 8.3, "usedMemoryGB": 0.6, "memoryUtilization": 7.5, "totalCPUs": 2,
                "allocatedCPUs": 5, "cpuUtilization": 250},
            "health": {"systemStatus": "healthy", "lastSync": NOW, "errors": 0, "warnings": 0},
        })
    }

    pub(super) fn activity(&self, limit: usize) -> Value {
        let hosts = self.hosts.iter().filter(|host| host.connected);
        let activities: Vec<Value> = hosts
            .map(|host| {
                json!({
                    "id": format!("host-{}-connected", host.id), "type": "host_connect", "message": "connected",
                    "hostId": host.id, "vmUuid": "", "vmName": "", "timestamp": NOW, "severity": "info",
                    "details": "online",
                })
            })
            .take(limit)
            .collect();
        let total = activities.len();
        json!({"activities": activities, "pagination": {"limit": limit, "page": 1, "total": total}})
    }
}

/// The world, and the way to the clients of the WebSocket.
#[derive(Debug)]
pub(super) struct Server {
    world: Mutex<World>,
    pub(super) frames: broadcast::Sender<String>,
    /// Counts the cuts: a WebSocket ends when it has changed.
    pub(super) cuts: watch::Sender<u64>,
    pub(super) ping_every: Duration,
}

impl Server {
    pub(super) fn new(world: World, ping_every: Duration) -> Self {
        Self {
            world: Mutex::new(world),
            frames: broadcast::Sender::new(QUEUE),
            cuts: watch::Sender::new(0),
            ping_every,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(super) fn tell_text(&self, frame: String) {
        // Nobody listens.
        drop(self.frames.send(frame));
    }

    pub(super) fn tell(&self, frame: &Value) {
        self.tell_text(frame.to_string());
    }

    fn current(&self) -> bool {
        self.lock().generation == Generation::Current
    }

    pub(super) fn tell_hosts(&self) {
        self.tell(&json!({"type": "hosts-changed"}));
    }

    /// A current server says everything three times.
    pub(super) fn tell_vms(&self, host: &str) {
        for _ in 0..if self.current() { 3 } else { 1 } {
            self.tell(&json!({"type": "vms-changed", "payload": {"hostId": host}}));
        }
    }

    pub(super) fn tell_connection(&self, host: &str, connected: bool) {
        if self.current() {
            let payload = json!({"hostId": host, "connected": connected});
            self.tell(&json!({"type": "host-connection-changed", "payload": payload}));
        }
        self.tell_hosts();
    }
}
