//! What has changed between two looks.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{EventKind, HostId, Page, VmId, VmInfo};

/// The guests as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<VmId, VmInfo>);

impl Table {
    pub(super) fn new(seen: Page<VmInfo>) -> Self {
        let mut table = Self::default();
        table.update(seen);
        table
    }

    /// Takes a new look over, and says what is different. A guest that is missing while hosts could not be asked is not taken for deleted,
    /// unless it was last seen on one that could.
    pub(super) fn update(&mut self, seen: Page<VmInfo>) -> Vec<EventKind> {
        let silent: BTreeSet<&HostId> =
            seen.unreachable.iter().map(|unreachable| &unreachable.host).collect();
        let mut missing = std::mem::take(&mut self.0);
        let mut events = Vec::new();
        for vm in seen.items {
            match missing.remove(&vm.id) {
                None => events.push(EventKind::VmCreated(vm.id.clone())),
                // An id that is used again names another guest.
                Some(old) if old.uid != vm.uid && old.uid.is_some() && vm.uid.is_some() => {
                    events.push(EventKind::VmDeleted(vm.id.clone()));
                    events.push(EventKind::VmCreated(vm.id.clone()));
                }
                Some(old) => compare(&old, &vm, &mut events),
            }
            self.0.insert(vm.id.clone(), vm);
        }
        for (id, old) in missing {
            let unknown = !silent.is_empty() && old.host.as_ref().is_none_or(|host| silent.contains(host));
            if unknown {
                self.0.insert(id, old);
            } else {
                events.push(EventKind::VmDeleted(id));
            }
        }
        events
    }
}

fn compare(old: &VmInfo, new: &VmInfo, events: &mut Vec<EventKind>) {
    let vm = || new.id.clone();
    if let Some(host) = new.host.as_ref().filter(|host| old.host.as_ref().is_some_and(|old| old != *host)) {
        events.push(EventKind::VmMigrated { vm: vm(), host: host.clone() });
    }
    if old.state != new.state {
        events.push(EventKind::VmStateChanged { vm: vm(), state: new.state.clone() });
    }
    if configured(old) != configured(new) {
        events.push(EventKind::VmUpdated(vm()));
    }
}

/// What a change of the configuration changes.
fn configured(vm: &VmInfo) -> impl PartialEq + '_ {
    let what = (&vm.name, &vm.cpus, &vm.memory, &vm.tags, &vm.description);
    (what, &vm.group, vm.template, vm.autostart)
}
