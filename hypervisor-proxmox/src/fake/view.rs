//! What a test can look at and change behind the API's back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::FakePve;
use super::cluster::Cluster;
use super::guest::{Guest, Power};
use super::{config, power};

/// A guest as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestView {
    /// Its number.
    pub vmid: u32,
    /// Whether it is a container.
    pub container: bool,
    /// The host that it is on.
    pub host: String,
    /// Its settings.
    pub config: BTreeMap<String, String>,
    /// Settings that wait for a start; `None` is to be removed.
    pub pending: BTreeMap<String, Option<String>>,
    /// Whether it runs, or is paused.
    pub running: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Its lock: `backup`, `snapshot`, …
    pub lock: Option<String>,
    /// The names of its snapshots.
    pub snapshots: Vec<String>,
    /// The pool that it is in.
    pub pool: Option<String>,
    /// What is in its files, as far as the agent was asked.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A task as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskView {
    /// Its id.
    pub upid: String,
    /// Its type: `qmstart`, …
    pub kind: String,
    /// What it works on.
    pub subject: String,
    /// How it ended, if it has.
    pub exit: Option<String>,
    /// Its log.
    pub log: Vec<String>,
}

fn view(cluster: &Cluster, guest: &Guest) -> GuestView {
    GuestView {
        vmid: guest.vmid,
        container: guest.kind == super::guest::Kind::Lxc,
        host: guest.host.clone(),
        config: guest.config.clone(),
        pending: guest.pending.clone(),
        running: guest.is_running(),
        paused: guest.power == Power::Paused,
        lock: guest.get("lock").map(str::to_owned),
        snapshots: guest.snapshots.keys().cloned().collect(),
        pool: cluster.pool_of(guest.vmid).map(str::to_owned),
        files: guest.agent.files.clone(),
    }
}

impl FakePve {
    /// A guest as it is now.
    #[must_use]
    pub fn guest(&self, vmid: u32) -> Option<GuestView> {
        self.shared.with(|cluster| cluster.guests.get(&vmid).map(|guest| view(cluster, guest)))
    }

    /// All guests as they are now.
    #[must_use]
    pub fn guests(&self) -> Vec<GuestView> {
        self.shared.with(|cluster| cluster.guests.values().map(|guest| view(cluster, guest)).collect())
    }

    /// All tasks so far, oldest first.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskView> {
        self.shared.with(|cluster| {
            let mut tasks: Vec<_> = cluster.tasks.all.values().collect();
            tasks.sort_by_key(|task| task.number);
            let view = |task: &super::tasks::Task| TaskView {
                upid: task.upid.to_string(),
                kind: task.upid.kind().to_owned(),
                subject: task.upid.subject().unwrap_or_default(),
                exit: task.exit.as_ref().map(|(exit, _)| exit.clone()),
                log: task.log.clone(),
            };
            tasks.into_iter().map(view).collect()
        })
    }

    /// The ids of the volumes that a host sees on a storage.
    #[must_use]
    pub fn volumes(&self, host: &str, storage: &str) -> Vec<String> {
        self.shared.with(|cluster| {
            let volumes = cluster.storages.get(storage).and_then(|storage| storage.on(host));
            volumes.map(|volumes| volumes.keys().cloned().collect()).unwrap_or_default()
        })
    }

    /// What was uploaded as this volume, unless it was larger than 64 MiB.
    #[must_use]
    pub fn volume_bytes(&self, host: &str, volid: &str) -> Option<Vec<u8>> {
        self.shared.with(|cluster| Some(cluster.volume(host, volid)?.bytes.as_ref()?.to_vec()))
    }

    /// Moves the fake's clock forward: tasks come to their ends, tickets grow old. Faster than waiting, and works without
    /// tokio's paused time.
    pub fn advance(&self, by: Duration) {
        self.shared.with(|cluster| {
            cluster.clock.advance(by);
            cluster.settle();
        });
    }

    /// Changes settings of a guest as somebody else would: at once, and whether or not it is locked. `None` removes a key.
    pub fn edit(&self, vmid: u32, key: &str, value: Option<&str>) {
        self.shared.with(|cluster| {
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                match value {
                    Some(value) => guest.set(key, value),
                    None => {
                        guest.config.remove(key);
                    }
                }
            }
        });
    }

    /// Locks a guest with one of Proxmox's words (`backup`, `migrate`, `snapshot`, …), or unlocks it.
    pub fn set_lock(&self, vmid: u32, lock: Option<&str>) {
        self.edit(vmid, "lock", lock);
    }

    /// Puts a guest on another host as a migration by somebody else would, with its volumes.
    pub fn move_guest(&self, vmid: u32, host: &str) {
        self.shared.with(|cluster| {
            let Some(guest) = cluster.guests.get_mut(&vmid) else { return };
            let old = std::mem::replace(&mut guest.host, host.to_owned());
            let volumes = super::guests::volumes_of(guest);
            for volid in volumes {
                if let Some(volume) = cluster.remove_volume(&old, &volid) {
                    cluster.put_volume(host, &volid, volume);
                }
            }
        });
    }

    /// Removes a guest as somebody else would, running or not.
    pub fn remove_guest(&self, vmid: u32) {
        self.shared.with(|cluster| super::guests::discard(cluster, vmid));
    }

    /// Starts or stops a guest as somebody else would.
    pub fn set_running(&self, vmid: u32, running: bool) {
        self.shared.with(|cluster| {
            if running {
                let _ = power::switch_on(cluster, vmid);
            } else {
                power::switch_off(cluster, vmid);
            }
            config::apply_pending(cluster, vmid);
        });
    }

    /// Whether the guest does what the power button asks for.
    pub fn set_obeys(&self, vmid: u32, obeys: bool) {
        self.shared.with(|cluster| {
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.obeys = obeys;
            }
        });
    }

    /// Whether an agent runs in the guest.
    pub fn set_agent(&self, vmid: u32, installed: bool) {
        self.shared.with(|cluster| {
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.agent.installed = installed;
            }
        });
    }

    /// Whether the cluster has a majority. Without one, what would be written is refused.
    pub fn set_quorum(&self, quorate: bool) {
        self.shared.with(|cluster| cluster.quorate = quorate);
    }

    /// Makes all login tickets worthless.
    pub fn expire_tickets(&self) {
        self.shared.with(|cluster| cluster.access.forget_tickets());
    }

    /// Kills a task's process: it ends with `unexpected status`.
    pub fn kill_task(&self, upid: &str) {
        self.shared.with(|cluster| cluster.vanish(upid));
    }

    /// Stops a task as somebody else would: it ends with `received interrupt`.
    pub fn interrupt(&self, upid: &str) {
        self.shared.with(|cluster| cluster.interrupt(upid));
    }

    /// Protects a volume from deletion, or no longer.
    pub fn set_protected(&self, host: &str, volid: &str, protected: bool) {
        self.shared.with(|cluster| {
            if let Some(volume) = cluster.volume_mut(host, volid) {
                volume.protected = protected;
            }
        });
    }

    /// Puts a file on a storage as somebody else would. What it is for follows from its id: `local:iso/…`,
    /// `local:backup/…`; a backup of this kind has nothing in it.
    pub fn put_file(&self, host: &str, volid: &str, content: impl Into<bytes::Bytes>) {
        let volume = super::builder::file(volid, content.into());
        self.shared.with(|cluster| {
            let ctime = cluster.clock.unix();
            cluster.put_volume(host, volid, super::storage::Volume { ctime, ..volume });
        });
    }

    /// Forgets a task, as a server does with old ones.
    pub fn forget_task(&self, upid: &str) {
        self.shared.with(|cluster| {
            cluster.interrupt(upid);
            cluster.tasks.all.remove(upid);
        });
    }

    /// Switches a user off or on.
    pub fn set_user_enabled(&self, user: &str, enabled: bool) {
        self.shared.with(|cluster| {
            if let Some(user) = cluster.access.users.get_mut(user) {
                user.disabled = !enabled;
            }
        });
    }

    /// The privileges without which a call so far would have been refused: what a program needs in its role, once it has done on the fake all that
    /// it does.
    #[must_use]
    pub fn privileges_used(&self) -> BTreeSet<&'static str> {
        self.shared.with(|cluster| cluster.access.used())
    }

    /// Gives a user or a token a role on a path and what is below it.
    pub fn grant(&self, subject: &str, path: &str, role: &str) {
        self.shared.with(|cluster| {
            cluster.access.acl.push(super::access::Acl {
                path: path.to_owned(),
                role: role.to_owned(),
                subject: subject.to_owned(),
                propagate: true,
            });
        });
    }
}
