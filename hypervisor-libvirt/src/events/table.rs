//! What libvirt's events mean, given what was known of a guest before.

use std::collections::{HashMap, HashSet};

use hypervisor_core::model::{EventKind, HostId, VmId, VmState};
use virt::connect::Connect;
use virt_sys as sys;

use crate::compute::list::uuids;
use crate::error::Outcome;
use crate::ffi;
use crate::xml::guest;

/// What is known of a guest.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    /// Whether its definition outlives it.
    persistent: bool,
    state: VmState,
}

/// All guests. libvirt tells neither that an ephemeral guest was made nor that it is gone, and tells some things twice:
/// the table makes one story of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    guests: HashMap<String, Known>,
    host: String,
}

/// What an event means.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// This has happened.
    Told(Vec<EventKind>),
    /// The guest's memory was saved; whether for its next start, only libvirt can tell.
    Saved,
}

impl Table {
    /// Reads the guests, in three calls.
    pub(super) fn read(conn: &Connect, host: &str) -> Outcome<Self> {
        let records = ffi::all_records(conn, sys::VIR_DOMAIN_STATS_STATE)?;
        let persistent: HashSet<_> = uuids(conn, sys::VIR_CONNECT_LIST_DOMAINS_PERSISTENT)?;
        let saved = uuids(conn, sys::VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)?;
        let guests = records.iter().filter_map(|record| {
            let (uuid, (state, reason)) = (record.uuid()?, record.state());
            let state = guest::state(state, reason, saved.contains(&uuid));
            Some((uuid.to_string(), Known { persistent: persistent.contains(&uuid), state }))
        });
        Ok(Self { guests: guests.collect(), host: host.to_owned() })
    }

    /// What a lifecycle event means.
    pub(super) fn lifecycle(&mut self, uuid: &str, event: u32, detail: u32) -> Meaning {
        let id = VmId::from(uuid);
        Meaning::Told(match event {
            sys::VIR_DOMAIN_EVENT_DEFINED => self.defined(uuid),
            // A guest that gets another name is undefined and defined again.
            sys::VIR_DOMAIN_EVENT_UNDEFINED if detail == sys::VIR_DOMAIN_EVENT_UNDEFINED_RENAMED => {
                Vec::new()
            }
            sys::VIR_DOMAIN_EVENT_UNDEFINED => self.undefined(uuid),
            // It waits for the rest of its memory.
            sys::VIR_DOMAIN_EVENT_STARTED if detail == sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED => {
                self.active(uuid, VmState::Paused)
            }
            sys::VIR_DOMAIN_EVENT_STARTED => self.active(uuid, VmState::Running),
            sys::VIR_DOMAIN_EVENT_SUSPENDED | sys::VIR_DOMAIN_EVENT_PMSUSPENDED => {
                self.active(uuid, VmState::Paused)
            }
            sys::VIR_DOMAIN_EVENT_RESUMED => {
                let mut told = self.active(uuid, VmState::Running);
                // Told where it arrives. Where it came from, it stops.
                if detail == sys::VIR_DOMAIN_EVENT_RESUMED_MIGRATED {
                    told.push(EventKind::VmMigrated { vm: id, host: HostId::from(self.host.as_str()) });
                }
                told
            }
            sys::VIR_DOMAIN_EVENT_SHUTDOWN => self.active(uuid, VmState::Stopping),
            sys::VIR_DOMAIN_EVENT_CRASHED => self.active(uuid, VmState::Crashed),
            sys::VIR_DOMAIN_EVENT_STOPPED => match detail {
                sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => self.stopped(uuid, VmState::Crashed),
                sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => return Meaning::Saved,
                _ => self.stopped(uuid, VmState::Stopped),
            },
            _ => vec![EventKind::VmUpdated(id)],
        })
    }

    fn defined(&mut self, uuid: &str) -> Vec<EventKind> {
        let id = VmId::from(uuid);
        match self.guests.get_mut(uuid) {
            Some(known) => {
                known.persistent = true;
                vec![EventKind::VmUpdated(id)]
            }
            None => {
                let known = Known { persistent: true, state: VmState::Stopped };
                self.guests.insert(uuid.to_owned(), known);
                vec![EventKind::VmCreated(id)]
            }
        }
    }

    fn undefined(&mut self, uuid: &str) -> Vec<EventKind> {
        let id = VmId::from(uuid);
        match self.guests.get_mut(uuid) {
            // It runs on, and is gone when it stops.
            Some(known) if known.state.is_active() => {
                known.persistent = false;
                vec![EventKind::VmUpdated(id)]
            }
            _ => {
                self.guests.remove(uuid);
                vec![EventKind::VmDeleted(id)]
            }
        }
    }

    /// It occupies the host's memory now.
    fn active(&mut self, uuid: &str, state: VmState) -> Vec<EventKind> {
        let vm = VmId::from(uuid);
        match self.guests.get_mut(uuid) {
            // A start resumes the CPUs, which libvirt tells as well.
            Some(known) if known.state == state => Vec::new(),
            Some(known) => {
                known.state = state.clone();
                vec![EventKind::VmStateChanged { vm, state }]
            }
            None => {
                self.guests.insert(uuid.to_owned(), Known { persistent: false, state: state.clone() });
                vec![EventKind::VmCreated(vm.clone()), EventKind::VmStateChanged { vm, state }]
            }
        }
    }

    /// It no longer does. One without a definition is gone with it.
    pub(super) fn stopped(&mut self, uuid: &str, state: VmState) -> Vec<EventKind> {
        let vm = VmId::from(uuid);
        let Some(known) = self.guests.get_mut(uuid) else { return Vec::new() };
        let same = known.state == state;
        let mut told = Vec::new();
        if !known.persistent {
            self.guests.remove(uuid);
            told.push(EventKind::VmDeleted(vm.clone()));
        } else {
            known.state = state.clone();
        }
        if !same {
            told.insert(0, EventKind::VmStateChanged { vm, state });
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table { guests: HashMap::new(), host: "h".into() }
    }

    fn told(table: &mut Table, event: u32, detail: u32) -> Vec<EventKind> {
        match table.lifecycle("u", event, detail) {
            Meaning::Told(told) => told,
            Meaning::Saved => panic!("saved"),
        }
    }

    fn changed(state: VmState) -> EventKind {
        EventKind::VmStateChanged { vm: "u".into(), state }
    }

    #[test]
    fn a_life_is_told_once() {
        let mut table = table();
        let mut all = Vec::new();
        for (event, detail) in [
            (sys::VIR_DOMAIN_EVENT_DEFINED, sys::VIR_DOMAIN_EVENT_DEFINED_ADDED),
            (sys::VIR_DOMAIN_EVENT_RESUMED, sys::VIR_DOMAIN_EVENT_RESUMED_UNPAUSED),
            (sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_STARTED_BOOTED),
            (sys::VIR_DOMAIN_EVENT_SUSPENDED, sys::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED),
            (sys::VIR_DOMAIN_EVENT_RESUMED, sys::VIR_DOMAIN_EVENT_RESUMED_UNPAUSED),
            (sys::VIR_DOMAIN_EVENT_UNDEFINED, sys::VIR_DOMAIN_EVENT_UNDEFINED_RENAMED),
            (sys::VIR_DOMAIN_EVENT_DEFINED, sys::VIR_DOMAIN_EVENT_DEFINED_RENAMED),
            (sys::VIR_DOMAIN_EVENT_SHUTDOWN, sys::VIR_DOMAIN_EVENT_SHUTDOWN_GUEST),
            (sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN),
            (sys::VIR_DOMAIN_EVENT_UNDEFINED, sys::VIR_DOMAIN_EVENT_UNDEFINED_REMOVED),
        ] {
            all.extend(told(&mut table, event, detail));
        }
        let wanted = [
            EventKind::VmCreated("u".into()),
            changed(VmState::Running),
            changed(VmState::Paused),
            changed(VmState::Running),
            EventKind::VmUpdated("u".into()),
            changed(VmState::Stopping),
            changed(VmState::Stopped),
            EventKind::VmDeleted("u".into()),
        ];
        assert_eq!(all, wanted);
    }

    #[test]
    fn an_ephemeral_guest_comes_and_goes() {
        let mut table = table();
        let came = told(&mut table, sys::VIR_DOMAIN_EVENT_STARTED, 0);
        assert_eq!(came, [EventKind::VmCreated("u".into()), changed(VmState::Running)]);
        let went = told(&mut table, sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
        assert_eq!(went, [changed(VmState::Stopped), EventKind::VmDeleted("u".into())]);
        assert!(told(&mut table, sys::VIR_DOMAIN_EVENT_STOPPED, 0).is_empty());
    }

    #[test]
    fn a_guest_that_is_undefined_while_it_runs_goes_with_its_end() {
        let mut table = table();
        told(&mut table, sys::VIR_DOMAIN_EVENT_DEFINED, 0);
        told(&mut table, sys::VIR_DOMAIN_EVENT_STARTED, 0);
        assert_eq!(told(&mut table, sys::VIR_DOMAIN_EVENT_UNDEFINED, 0), [EventKind::VmUpdated("u".into())]);
        let went = told(&mut table, sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED);
        assert_eq!(went, [changed(VmState::Crashed), EventKind::VmDeleted("u".into())]);
    }

    #[test]
    fn an_arrival_and_a_save_are_told_apart() {
        let mut table = table();
        let came = told(&mut table, sys::VIR_DOMAIN_EVENT_STARTED, sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED);
        assert_eq!(came, [EventKind::VmCreated("u".into()), changed(VmState::Paused)]);
        let here = told(&mut table, sys::VIR_DOMAIN_EVENT_RESUMED, sys::VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
        let arrival = EventKind::VmMigrated { vm: "u".into(), host: "h".into() };
        assert_eq!(here, [changed(VmState::Running), arrival]);
        let saved = table.lifecycle("u", sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_SAVED);
        assert_eq!(saved, Meaning::Saved);
    }
}
