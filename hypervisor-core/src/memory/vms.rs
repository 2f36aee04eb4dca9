//! The guests, and how much memory they take on each host: a start must not look at all the others.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

use super::state::Vm;
use crate::model::{ByteSize, HostId, VmId};

/// So many changes are noted before they are counted.
const NOTED: usize = 256;

/// Reads as the map that it is. Whoever gets a guest to change may change what it takes, so that it is counted again when that is next asked.
#[derive(Debug, Default)]
pub(super) struct Vms {
    all: BTreeMap<VmId, Vm>,
    books: RefCell<Books>,
}

#[derive(Debug, Default)]
struct Books {
    changed: Vec<VmId>,
    counted: HashMap<VmId, (HostId, ByteSize)>,
    used: HashMap<HostId, u128>,
}

impl Deref for Vms {
    type Target = BTreeMap<VmId, Vm>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Vms {
    pub(super) fn insert(&mut self, id: VmId, vm: Vm) {
        self.books.get_mut().note(&id, &self.all);
        self.all.insert(id, vm);
    }

    pub(super) fn remove(&mut self, id: &VmId) -> Option<Vm> {
        self.books.get_mut().note(id, &self.all);
        self.all.remove(id)
    }

    pub(super) fn get_mut(&mut self, id: &VmId) -> Option<&mut Vm> {
        self.books.get_mut().note(id, &self.all);
        self.all.get_mut(id)
    }

    /// All of them, for changes that leave alone what they take of their hosts.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Vm> {
        self.all.values_mut()
    }

    /// How much memory the active guests of a host take.
    pub(super) fn memory_used(&self, host: &HostId) -> ByteSize {
        let mut books = self.books.borrow_mut();
        books.count(&self.all);
        let used = books.used.get(host).copied().unwrap_or_default();
        debug_assert_eq!(used, self.looked_up(host), "the books of {host}");
        ByteSize::bytes(u64::try_from(used).unwrap_or(u64::MAX))
    }

    fn looked_up(&self, host: &HostId) -> u128 {
        let active = self.all.values().filter(|vm| vm.host == *host && vm.state.is_active());
        active.map(|vm| u128::from(vm.in_force().memory.as_bytes())).sum()
    }
}

impl Books {
    fn note(&mut self, id: &VmId, all: &BTreeMap<VmId, Vm>) {
        if self.changed.len() >= NOTED {
            self.count(all);
        }
        if self.changed.last() != Some(id) {
            self.changed.push(id.clone());
        }
    }

    fn count(&mut self, all: &BTreeMap<VmId, Vm>) {
        for id in self.changed.drain(..) {
            let now = all.get(&id).filter(|vm| vm.state.is_active());
            let now = now.map(|vm| (vm.host.clone(), vm.in_force().memory));
            if self.counted.get(&id) == now.as_ref() {
                continue;
            }
            if let Some((host, memory)) = self.counted.remove(&id)
                && let Some(used) = self.used.get_mut(&host)
            {
                *used = used.saturating_sub(memory.as_bytes().into());
            }
            if let Some((host, memory)) = now {
                *self.used.entry(host.clone()).or_default() += u128::from(memory.as_bytes());
                self.counted.insert(id, (host, memory));
            }
        }
    }
}
