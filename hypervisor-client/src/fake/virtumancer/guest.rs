//! A guest, and how each generation tells it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::NOW;
use crate::dialect::virtumancer::Generation;

/// A guest behind the fake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FakeVm {
    pub(super) host: String,
    pub(super) name: String,
    /// The gateway's own uuid.
    pub(super) uuid: String,
    /// libvirt's.
    pub(super) domain_uuid: String,
    pub(super) description: String,
    pub(super) cpus: u32,
    pub(super) memory: u64,
    pub(super) disk_gib: u64,
    /// `virDomainState`.
    pub(super) state: u8,
    /// What a current server has last seen of it.
    pub(super) seen: u8,
    pub(super) vnc: bool,
    pub(super) nic: bool,
    pub(super) managed: bool,
}

impl FakeVm {
    /// A stopped guest with 2 CPUs, 256 MiB, a disk and a NIC.
    pub fn new(host: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            name: name.into(),
            uuid: Uuid::new_v4().to_string(),
            domain_uuid: Uuid::new_v4().to_string(),
            description: String::new(),
            cpus: 2,
            memory: 256 << 20,
            disk_gib: 1,
            state: 5,
            seen: 5,
            vnc: true,
            nic: true,
            managed: true,
        }
    }

    /// It runs.
    #[must_use]
    pub fn running(mut self) -> Self {
        (self.state, self.seen) = (1, 1);
        self
    }

    /// libvirt's number for what it does.
    #[must_use]
    pub fn state(mut self, state: u8) -> Self {
        (self.state, self.seen) = (state, state);
        self
    }

    /// Its CPUs and its memory in bytes.
    #[must_use]
    pub fn size(mut self, cpus: u32, memory: u64) -> Self {
        (self.cpus, self.memory) = (cpus, memory);
        self
    }

    /// What somebody wrote about it.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Neither disk nor NIC.
    #[must_use]
    pub fn bare(mut self) -> Self {
        (self.disk_gib, self.nic) = (0, false);
        self
    }

    /// libvirt has it, but the gateway does not manage it: a current server lists it among the discovered ones only.
    #[must_use]
    pub fn unmanaged(mut self) -> Self {
        self.managed = false;
        self
    }

    pub(super) fn running_now(&self) -> bool {
        matches!(self.state, 1..=4)
    }

    pub(super) fn lose_disk(&mut self) {
        self.disk_gib = 0;
    }

    pub(super) fn path(&self) -> String {
        format!("/images/{}.qcow2", self.name)
    }

    /// A second guest of the same domain, as the server makes one of a guest that is imported though it is managed.
    pub(super) fn double(&self) -> Self {
        let uuid = Uuid::new_v4().to_string();
        let mark: String = uuid.chars().take(8).collect();
        Self { name: format!("{}-{mark}", self.name), uuid, ..self.clone() }
    }

    fn word(state: u8) -> &'static str {
        match state {
            1 | 2 | 4 => "ACTIVE",
            3 => "PAUSED",
            5 | 6 => "STOPPED",
            7 => "SUSPENDED",
            _ => "UNKNOWN",
        }
    }

    pub(super) fn mac(&self) -> String {
        let digits: String = self.domain_uuid.chars().filter(char::is_ascii_hexdigit).take(6).collect();
        let (a, rest) = digits.split_at(2);
        let (b, c) = rest.split_at(2);
        format!("52:54:00:{a}:{b}:{c}")
    }

    pub(super) fn listed(&self, generation: Generation, number: usize, connected: bool) -> Value {
        if generation != Generation::Current {
            let mut vm = json!({
                "db_id": number, "name": self.name, "description": self.description, "vcpu_count": self.cpus,
                "memory_bytes": self.memory, "state": self.state, "graphics": {"vnc": self.vnc, "spice": false},
            });
            if generation == Generation::Early {
                merge(
                    &mut vm,
                    json!({
                        "is_template": false, "cpu_model": "", "cpu_topology_json": "", "max_mem": 0, "memory": 0,
                        "cpu_time": 0, "uptime": 0,
                    }),
                );
            }
            return vm;
        }
        json!({
            "name": self.name, "uuid": self.uuid, "domain_uuid": self.domain_uuid, "description": self.description,
            "vcpu_count": self.cpus, "memory_bytes": self.memory, "is_template": false, "cpu_model": "qemu64",
            "cpu_topology_json": "", "os_type": "hvm", "task_state": "", "sync_status": "SYNCED", "drift_details": "",
            "needs_rebuild": false, "createdAt": NOW, "updatedAt": NOW, "state": Self::word(self.seen),
            "libvirtState": if connected { Self::word(self.seen) } else { "UNKNOWN" },
            "graphics": {"vnc": self.vnc && matches!(self.seen, 1..=4), "spice": false}, "max_mem": 0, "memory": 0, "cpu_time": 0,
            "uptime": 0, "disk_size_gb": self.disk_gib, "network_interface": "default",
        })
    }

    pub(super) fn discovered(&self) -> Value {
        json!({
            "id": 0, "uuid": self.domain_uuid, "name": self.name, "state": 0, "max_mem": 0, "memory": 0, "vcpu": 0,
            "cpu_time": 0, "uptime": 0, "persistent": false, "autostart": false,
            "graphics": {"vnc": false, "spice": false},
        })
    }

    pub(super) fn row(&self) -> Value {
        json!({
            "id": self.uuid, "created_at": NOW, "updated_at": NOW, "deleted_at": null, "hostId": self.host,
            "name": self.name, "domainUuid": self.domain_uuid, "source": "managed", "title": self.name,
            "description": self.description, "state": "STOPPED", "libvirtState": "STOPPED", "taskState": "",
            "vcpuCount": self.cpus, "cpuModel": "host-passthrough", "cpuTopologyJson": "", "memoryBytes": self.memory,
            "currentMemory": self.memory, "osType": "linux", "isTemplate": false, "metadata": "",
            "syncStatus": "SYNCED", "driftDetails": "", "needsRebuild": false,
        })
    }

    pub(super) fn hardware(&self, generation: Generation) -> Value {
        let mut all = self.devices(generation);
        for (there, key) in [(self.disk_gib > 0, "disks"), (self.nic, "networks")] {
            if !there {
                merge(&mut all, json!({key: []}));
            }
        }
        all
    }

    fn devices(&self, generation: Generation) -> Value {
        match generation {
            Generation::Documented => json!({
                "disks": [{"type": "file", "device": "disk", "driver": {"driver_name": "qemu", "type": "qcow2"},
                    "path": self.path(), "target": {"dev": "vda", "bus": "virtio"}}],
                "networks": [{"type": "bridge", "mac": {"address": self.mac()}, "source": {"bridge": "virbr0"},
                    "model": {"model_type": "virtio"}}],
            }),
            Generation::Early => json!({
                "disks": [{"type": "", "device": "vda", "driver": {"driver_name": "", "type": "qcow2"},
                    "Source": {"File": "", "Dev": ""}, "path": self.path(), "target": {"dev": "vda", "bus": "virtio"}}],
                "networks": [{"type": "", "mac": {"address": self.mac()}, "source": {"bridge": "virbr0"},
                    "model": {"model_type": "virtio"}, "target": {"dev": ""}}],
            }),
            Generation::Current => json!({
                "disks": [{"type": "", "device": "vda", "driver": {"driver_name": "", "type": "qcow2"},
                    "source": {"file": self.path(), "dev": ""}, "path": self.path(),
                    "target": {"dev": "vda", "bus": "virtio"}, "name": self.name, "readonly": false, "shareable": false,
                    "capacity": {"value": 0, "unit": ""}}],
                "networks": [{"type": "", "mac": {"address": self.mac()},
                    "source": {"bridge": "", "network": "", "portgroup": ""}, "model": {"type": "virtio"},
                    "target": {"dev": "vnet0"}}],
                "videos": [],
            }),
        }
    }

    /// Its load; zeroes where it does not run.
    pub(super) fn load(&self, generation: Generation, socket: bool) -> Value {
        let on = self.running_now();
        if generation != Generation::Current {
            let traffic =
                |device: &str, read: u32| json!([{"device": device, "read_bytes": read, "write_bytes": 0}]);
            return json!({
                "state": self.state, "memory": if on { self.memory >> 10 } else { 0 }, "max_mem": self.memory >> 10,
                "vcpu": self.cpus, "cpu_time": if on { 23_350_000_000_u64 } else { 0 },
                "disk_stats": if on { traffic("vda", 1536) } else { json!([]) },
                "net_stats": if on { traffic("vnet0", 142) } else { json!([]) },
            });
        }
        let number = |value: f64| if on { value } else { 0.0 };
        let mut load = json!({
            "cpu_percent": number(0.5), "memory_mb": if on { self.memory >> 20 } else { 0 }, "disk_read_mb": number(0.0015),
            "disk_write_mb": 0, "disk_read_kib_per_sec": 0, "disk_write_kib_per_sec": 0, "disk_read_iops": 0,
            "disk_write_iops": 0, "network_rx_mb": number(0.0001), "network_tx_mb": 0, "network_rx_mbps": 0,
            "network_tx_mbps": 0, "uptime": 0,
        });
        if socket {
            merge(
                &mut load,
                json!({
                    "cpu_percent_core": 1.5, "cpu_percent_raw": 1.5, "cpu_percent_guest": 0.75, "cpu_percent_host": 0.75,
                }),
            );
        }
        load
    }
}

pub(super) fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
