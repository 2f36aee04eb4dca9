//! A guest as the lists and its own status show it.

use std::collections::BTreeSet;
use std::time::Duration;

use hypervisor_core::model::{ByteSize, Extra, GuestKind, VmId, VmInfo, VmState};
use serde_json::{Map, Value};

use super::marks;
use super::scalar::row;

row! {
    /// A row of `/nodes/{node}/qemu`, of `/cluster/resources`, or the answer of `status/current`.
    GuestStatus {
        /// Its number.
        vmid: u64 = "vmid",
        /// `qemu`, `lxc` or, in older lists of containers, nothing.
        kind: String = "type",
        /// Its node; missing where the path has it.
        node: String = "node",
        /// Its name.
        name: String = "name" | "hostname",
        /// `running`, `stopped`, `unknown`.
        status: String = "status",
        /// What QEMU says: `paused`, `prelaunch`, `io-error`, …
        qmpstatus: String = "qmpstatus",
        /// Why it is locked.
        lock: String = "lock",
        /// Its CPUs.
        cpus: f64 = "cpus" | "maxcpu",
        /// How busy they are, 0.0 to 1.0.
        cpu: f64 = "cpu",
        /// Its memory in bytes.
        maxmem: u64 = "maxmem",
        /// How much of it is in use.
        mem: u64 = "mem",
        /// What it takes on the host.
        memhost: u64 = "memhost",
        /// Bytes in use of its root disk; containers only.
        disk: u64 = "disk",
        /// The size of its root disk in bytes.
        maxdisk: u64 = "maxdisk",
        /// Seconds since it was started.
        uptime: u64 = "uptime",
        /// Bytes received since it was started.
        netin: u64 = "netin",
        /// Bytes sent.
        netout: u64 = "netout",
        /// Bytes read from disks.
        diskread: u64 = "diskread",
        /// Bytes written to disks.
        diskwrite: u64 = "diskwrite",
        /// Whether it is a template.
        template: bool = "template",
        /// Its tags, separated by `;`, `,` or blanks.
        tags: String = "tags",
        /// Its resource group.
        pool: String = "pool",
        /// The high-availability state in lists.
        hastate: String = "hastate",
        /// The high-availability state in `status/current`.
        ha: Value = "ha",
        /// Traffic by interface of the host.
        nics: Value = "nics",
        /// Whether the agent is switched on.
        agent: bool = "agent",
        /// The process on the host.
        pid: u64 = "pid",
        /// The id in `/cluster/resources`: `qemu/100`.
        id: String = "id",
    }
}

impl GuestStatus {
    /// What the guest is doing.
    #[must_use]
    pub fn state(&self) -> VmState {
        state_of(self.status.as_deref().unwrap_or_default(), self.qmpstatus.as_deref(), self.lock.as_deref())
    }

    /// Whether it is a container. `default` counts where the row does not say.
    #[must_use]
    pub fn guest_kind(&self, default: GuestKind) -> GuestKind {
        match self.kind.as_deref() {
            Some("lxc" | "openvz") => GuestKind::Container,
            Some("qemu") => GuestKind::Vm,
            _ => default,
        }
    }

    /// As the model has it. `None` for a row without a number, which is no guest.
    #[must_use]
    pub fn into_info(self, kind: GuestKind, node: Option<&str>) -> Option<VmInfo> {
        let vmid = self.vmid?;
        let id = VmId::from(vmid.to_string());
        let (tags, client_token) = marks::read_tags(vmid, self.tags.as_deref().unwrap_or_default());
        // Right after its creation a guest has no name in the lists yet.
        let name = self.name.clone().unwrap_or_else(|| vmid.to_string());
        let mut info = VmInfo::new(id, name, self.state()).kind(self.guest_kind(kind)).tags(tags);
        info.host = node.or(self.node.as_deref()).map(Into::into);
        info.cpus = self.cpus.and_then(whole);
        info.memory = self.maxmem.filter(|bytes| *bytes > 0).map(ByteSize::bytes);
        info.group = self.pool.as_deref().filter(|pool| !pool.is_empty()).map(Into::into);
        info.template = self.template.unwrap_or(false);
        info.lock = self.lock.clone().filter(|lock| !lock.is_empty());
        info.uptime = self.uptime.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        info.client_token = client_token;
        info.extra = self.extra();
        Some(info)
    }

    fn extra(self) -> Extra {
        let mut extra = Extra::default();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                extra.insert(crate::BACKEND, key, value);
            }
        };
        put("qmpstatus", self.qmpstatus.map(Value::from));
        put("hastate", self.hastate.map(Value::from));
        put("ha", self.ha);
        put("agent", self.agent.map(Value::from));
        put("pid", self.pid.map(Value::from));
        put("maxdisk", self.maxdisk.map(Value::from));
        for (key, value) in self.rest {
            put(&key, Some(value));
        }
        extra
    }
}

/// Whether high availability starts and stops a guest, by what `status/current` says of it.
pub(crate) fn is_managed(guest: &VmInfo) -> bool {
    let managed = guest.extra.get(crate::BACKEND).pointer("/ha/managed").and_then(super::scalar::text_of);
    managed.and_then(|text| super::scalar::Scalar::from_text(&text)).unwrap_or(false)
}

/// What a guest is doing, by the status of the lists, QEMU's own word and the lock.
pub(crate) fn state_of(status: &str, qmpstatus: Option<&str>, lock: Option<&str>) -> VmState {
    match (status, qmpstatus) {
        // A hibernated guest is off with its memory on disk, which only the lock tells.
        ("stopped", _) if lock == Some("suspended") => VmState::Hibernated,
        ("stopped", _) => VmState::Stopped,
        ("paused", _) | ("running", Some("paused" | "suspended" | "prelaunch" | "debug" | "save-vm")) => {
            VmState::Paused
        }
        ("running", Some("internal-error" | "io-error" | "guest-panicked")) => VmState::Crashed,
        ("running", Some("inmigrate" | "postmigrate" | "finish-migrate" | "colo")) => VmState::Migrating,
        ("running", Some("shutdown")) => VmState::Stopping,
        ("running", _) => VmState::Running,
        ("" | "unknown", _) => VmState::Unknown("unknown".to_owned()),
        (other, _) => VmState::parse(other),
    }
}

/// The tags of a list that is separated by `;`, `,` or blanks.
#[must_use]
pub fn tags(list: &str) -> BTreeSet<String> {
    list.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// A number of CPUs; a container's limit may have a fraction and is rounded up.
pub(crate) fn whole(cpus: f64) -> Option<u32> {
    // Nearly all guests have few CPUs; text, for the others, avoids a lossy cast.
    let few = (1..=255_u8).find(|few| f64::from(*few) >= cpus).filter(|_| cpus > 0.0);
    match few {
        Some(few) => Some(few.into()),
        None => {
            (cpus > 0.0 && cpus.is_finite()).then(|| format!("{:.0}", cpus.ceil()).parse().ok()).flatten()
        }
    }
}

/// What a row has that its type does not, as [`Extra`].
#[must_use]
pub(crate) fn extra_of(rest: Map<String, Value>) -> Extra {
    let mut extra = Extra::default();
    for (key, value) in rest {
        extra.insert(crate::BACKEND, &key, value);
    }
    extra
}

/// The guests of `/nodes/{node}/qemu` or `/nodes/{node}/lxc`.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn guests(body: &[u8], kind: GuestKind, node: &str) -> hypervisor_core::Result<Vec<VmInfo>> {
    let rows: Vec<GuestStatus> = super::envelope::data(body)?;
    Ok(rows.into_iter().filter_map(|row| row.into_info(kind, Some(node))).collect())
}

/// The guest of `status/current`.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn guest(body: &[u8], kind: GuestKind, node: &str) -> hypervisor_core::Result<VmInfo> {
    let row: GuestStatus = super::envelope::data(body)?;
    let info = row.into_info(kind, Some(node));
    info.ok_or_else(|| {
        let why = "the answer has no vmid";
        hypervisor_core::Error::new(hypervisor_core::ErrorKind::Protocol, why).with_backend(crate::BACKEND)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, qmp: Option<&str>, lock: Option<&str>) -> VmState {
        let row = GuestStatus {
            status: Some(status.into()),
            qmpstatus: qmp.map(Into::into),
            lock: lock.map(Into::into),
            ..GuestStatus::default()
        };
        row.state()
    }

    #[test]
    fn qemus_own_word_refines_the_state_but_a_lock_does_not() {
        assert_eq!(state("running", Some("running"), None), VmState::Running);
        assert_eq!(state("running", Some("running"), Some("backup")), VmState::Running);
        assert_eq!(state("running", Some("paused"), None), VmState::Paused);
        assert_eq!(state("running", Some("internal-error"), None), VmState::Crashed);
        assert_eq!(state("stopped", Some("stopped"), Some("suspended")), VmState::Hibernated);
        assert_eq!(state("stopped", Some("stopped"), Some("backup")), VmState::Stopped);
        assert_eq!(state("unknown", None, None), VmState::Unknown("unknown".into()));
        assert_eq!(state("new-state", None, None), VmState::Unknown("new-state".into()));
    }

    #[test]
    fn a_fraction_of_a_cpu_is_one() {
        assert_eq!((whole(0.4), whole(2.0), whole(0.0), whole(f64::NAN)), (Some(1), Some(2), None, None));
    }
}
