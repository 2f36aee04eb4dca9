//! What there was when it was last read, so that what has changed can be told.

use std::collections::{BTreeMap, BTreeSet};

use hypervisor_core::Result;
use hypervisor_core::model::{EventKind, HostId, VmId, VmInfo};

use crate::dialect::virtumancer::api::{Api, Seen};
use crate::dialect::virtumancer::wire::HostRecord;

/// Hosts and their guests.
#[derive(Debug, Default, Clone)]
pub(super) struct Inventory(BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    host: HostRecord,
    reachable: bool,
    vms: BTreeMap<VmId, VmInfo>,
}

/// What has to be read again.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Stale {
    /// The list of hosts, and with it all guests.
    pub(super) hosts: bool,
    /// The guests of these hosts.
    pub(super) vms: BTreeSet<String>,
}

impl Stale {
    pub(super) fn all() -> Self {
        Self { hosts: true, vms: BTreeSet::new() }
    }

    pub(super) fn is_nothing(&self) -> bool {
        !self.hosts && self.vms.is_empty()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.hosts |= other.hosts;
        self.vms.extend(other.vms);
    }
}

/// What was read.
#[derive(Debug)]
pub(super) struct News {
    /// Whether it is all that there is.
    whole: bool,
    seen: Vec<Seen>,
    asked: BTreeSet<String>,
}

impl Inventory {
    pub(super) async fn load(api: &Api) -> Result<Self> {
        let mut inventory = Self::default();
        inventory.take(News { whole: true, seen: api.survey(None).await?, asked: BTreeSet::new() });
        Ok(inventory)
    }

    /// What has to be asked for that: known hosts need no look at the list of hosts.
    pub(super) fn plan(&self, stale: &Stale) -> Option<Vec<HostRecord>> {
        if stale.hosts {
            return None;
        }
        stale.vms.iter().map(|host| self.0.get(host).map(|entry| entry.host.clone())).collect()
    }

    /// Reads what is planned.
    pub(super) async fn read(api: Api, plan: Option<Vec<HostRecord>>) -> Result<News> {
        match plan {
            None => Ok(News { whole: true, seen: api.survey(None).await?, asked: BTreeSet::new() }),
            Some(hosts) => {
                let asked = hosts.iter().map(|host| host.id.clone()).collect();
                Ok(News { whole: false, seen: api.look_at(hosts).await?, asked })
            }
        }
    }

    /// Takes over what was read, and says what has changed.
    pub(super) fn take(&mut self, news: News) -> Vec<EventKind> {
        let mut changes = Vec::new();
        let there: BTreeSet<&str> = news.seen.iter().map(|seen| seen.host.id.as_str()).collect();
        let gone: Vec<String> = self
            .0
            .keys()
            .filter(|host| (news.whole || news.asked.contains(*host)) && !there.contains(host.as_str()))
            .cloned()
            .collect();
        for host in gone {
            if let Some(entry) = self.0.remove(&host) {
                changes.extend(entry.vms.into_keys().map(EventKind::VmDeleted));
                changes.push(EventKind::HostChanged(HostId::from(host)));
            }
        }
        for seen in news.seen {
            self.take_host(seen, &mut changes);
        }
        changes
    }

    fn take_host(&mut self, seen: Seen, changes: &mut Vec<EventKind>) {
        let id = HostId::from(seen.host.id.as_str());
        let listed = seen.vms.iter().map(|vm| vm.to_info(&seen.host.id, Some(seen.reachable)));
        let listed: BTreeMap<VmId, VmInfo> = listed.map(|vm| (vm.id.clone(), vm)).collect();
        let Some(entry) = self.0.get_mut(&seen.host.id) else {
            changes.push(EventKind::HostChanged(id));
            changes.extend(listed.keys().cloned().map(EventKind::VmCreated));
            let entry = Entry { reachable: seen.reachable, vms: listed, host: seen.host };
            self.0.insert(entry.host.id.clone(), entry);
            return;
        };
        if entry.reachable != seen.reachable || differs(&entry.host, &seen.host) {
            changes.push(EventKind::HostChanged(id));
        }
        (entry.reachable, entry.host) = (seen.reachable, seen.host);
        // A list that could not be read is no list without guests.
        if seen.listed {
            compare(&entry.vms, &listed, changes);
            entry.vms = listed;
        }
    }
}

fn differs(before: &HostRecord, now: &HostRecord) -> bool {
    (&before.uri, &before.name, before.is_connected()) != (&now.uri, &now.name, now.is_connected())
}

fn compare(before: &BTreeMap<VmId, VmInfo>, now: &BTreeMap<VmId, VmInfo>, changes: &mut Vec<EventKind>) {
    for id in before.keys().filter(|id| !now.contains_key(*id)) {
        changes.push(EventKind::VmDeleted(id.clone()));
    }
    for (id, vm) in now {
        let Some(old) = before.get(id) else {
            changes.push(EventKind::VmCreated(id.clone()));
            continue;
        };
        if old.uid != vm.uid {
            // Another guest of the same name.
            changes.push(EventKind::VmDeleted(id.clone()));
            changes.push(EventKind::VmCreated(id.clone()));
            continue;
        }
        if old.state != vm.state {
            changes.push(EventKind::VmStateChanged { vm: id.clone(), state: vm.state.clone() });
        }
        let facts = |vm: &VmInfo| (vm.cpus, vm.memory, vm.description.clone(), vm.template);
        if facts(old) != facts(vm) {
            changes.push(EventKind::VmUpdated(id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::VmState;

    fn seen(host: &str, connected: bool, vms: &str) -> Seen {
        Seen {
            host: serde_json::from_value(serde_json::json!({"id": host, "uri": "u", "connected": connected}))
                .unwrap(),
            vms: serde_json::from_str(vms).unwrap(),
            listed: true,
            trouble: None,
            reachable: connected,
        }
    }

    fn whole(seen: Vec<Seen>) -> News {
        News { whole: true, seen, asked: BTreeSet::new() }
    }

    #[test]
    fn what_has_changed_is_told_and_nothing_else() {
        let mut inventory = Inventory::default();
        inventory.take(whole(vec![seen(
            "h",
            true,
            r#"[{"name":"a","state":5},{"name":"b","state":1,"vcpu_count":1}]"#,
        )]));
        let same = inventory.take(whole(vec![seen(
            "h",
            true,
            r#"[{"name":"b","state":1,"vcpu_count":1},{"name":"a","state":5}]"#,
        )]));
        assert_eq!(same, []);
        let changed = inventory.take(whole(vec![seen(
            "h",
            true,
            r#"[{"name":"a","state":1},{"name":"b","state":1,"vcpu_count":2},{"name":"c","state":5}]"#,
        )]));
        let running = EventKind::VmStateChanged { vm: "h/a".into(), state: VmState::Running };
        assert_eq!(
            changed,
            [running, EventKind::VmUpdated("h/b".into()), EventKind::VmCreated("h/c".into())]
        );
    }

    #[test]
    fn a_host_that_goes_takes_its_guests_along() {
        let mut inventory = Inventory::default();
        let first = inventory.take(whole(vec![seen("h", true, r#"[{"name":"a","state":1}]"#)]));
        assert_eq!(first, [EventKind::HostChanged("h".into()), EventKind::VmCreated("h/a".into())]);
        let lost = inventory.take(whole(vec![seen("h", false, r#"[{"name":"a","state":1}]"#)]));
        let unreachable = EventKind::VmStateChanged { vm: "h/a".into(), state: VmState::Unreachable };
        assert_eq!(lost, [EventKind::HostChanged("h".into()), unreachable]);
        let gone = inventory.take(whole(Vec::new()));
        assert_eq!(gone, [EventKind::VmDeleted("h/a".into()), EventKind::HostChanged("h".into())]);
    }

    #[test]
    fn a_list_that_could_not_be_read_deletes_nobody() {
        let mut inventory = Inventory::default();
        inventory.take(whole(vec![seen("h", true, r#"[{"name":"a","state":1}]"#)]));
        let failed = Seen { listed: false, ..seen("h", true, "[]") };
        let asked = BTreeSet::from(["h".to_owned()]);
        assert_eq!(inventory.take(News { whole: false, seen: vec![failed], asked }), []);
        let stale = Stale { hosts: false, vms: ["h".to_owned()].into() };
        assert_eq!(inventory.plan(&stale).map(|hosts| hosts.len()), Some(1));
        let strange = Stale { hosts: false, vms: ["other".to_owned()].into() };
        assert!(
            inventory.plan(&strange).is_none(),
            "a host that nobody has heard of: read the list of hosts"
        );
    }
}
