//! The guests, in the order in which lists show them, and how much memory they take on each host.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::state::{Vm, by_number};
use crate::model::{ByteSize, HostId, Page, PageRequest, VmId};

/// So many changes are noted before they are counted.
const NOTED: usize = 256;

/// The guests by their ids, `9` before `10`: a page of a long list is found where it begins, and costs no more than itself; and a start
/// looks at no other guest for the memory that is left. Whoever gets a guest to change may change what it takes, so that it is counted
/// again when that is next asked.
#[derive(Debug, Default)]
pub(super) struct Vms {
    all: BTreeMap<Place, Vm>,
    books: RefCell<Books>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(usize, VmId);

impl Place {
    fn of(id: &VmId) -> Self {
        Self(id.as_str().len(), id.clone())
    }
}

#[derive(Debug, Default)]
struct Books {
    changed: Vec<VmId>,
    counted: HashMap<VmId, (HostId, ByteSize)>,
    used: HashMap<HostId, u128>,
}

impl Vms {
    pub(super) fn contains_key(&self, id: &VmId) -> bool {
        self.all.contains_key(&Place::of(id))
    }

    pub(super) fn get(&self, id: &VmId) -> Option<&Vm> {
        self.all.get(&Place::of(id))
    }

    pub(super) fn get_mut(&mut self, id: &VmId) -> Option<&mut Vm> {
        self.books.get_mut().note(id, &self.all);
        self.all.get_mut(&Place::of(id))
    }

    pub(super) fn insert(&mut self, id: VmId, vm: Vm) -> Option<Vm> {
        self.books.get_mut().note(&id, &self.all);
        self.all.insert(Place(id.as_str().len(), id), vm)
    }

    pub(super) fn remove(&mut self, id: &VmId) -> Option<Vm> {
        self.books.get_mut().note(id, &self.all);
        self.all.remove(&Place::of(id))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &VmId> {
        self.all.keys().map(|Place(_, id)| id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Vm> {
        self.all.values()
    }

    /// All of them, for changes that leave alone what they take of their hosts.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Vm> {
        self.all.values_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The page of those that can be seen, without its number of all where that is not the number of all guests.
    pub(super) fn page(&self, request: &PageRequest, most: u32, seen: impl Fn(&Vm) -> bool) -> Page<&Vm> {
        // What `by_number` puts before the id.
        let last = request.cursor.as_deref().map(|cursor| VmId::from(cursor.get(3..).unwrap_or_default()));
        let from = last.as_ref().map_or(Bound::Unbounded, |last| Bound::Excluded(Place::of(last)));
        let limit = request.limit.map_or(most, |limit| limit.min(most)).max(1);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rest = self.all.range((from, Bound::Unbounded)).map(|(_, vm)| vm).filter(|vm| seen(vm));
        let mut items = Vec::with_capacity(limit.min(self.all.len()));
        items.extend(rest.by_ref().take(limit));
        let more = items.len() == limit && rest.next().is_some();
        let next = if more { items.last().map(|vm| by_number(vm.id.as_str())) } else { None };
        Page::new(items, next)
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
    fn note(&mut self, id: &VmId, all: &BTreeMap<Place, Vm>) {
        if self.changed.len() >= NOTED {
            self.count(all);
        }
        if self.changed.last() != Some(id) {
            self.changed.push(id.clone());
        }
    }

    fn count(&mut self, all: &BTreeMap<Place, Vm>) {
        for id in self.changed.drain(..) {
            let now = all.get(&Place::of(&id)).filter(|vm| vm.state.is_active());
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
