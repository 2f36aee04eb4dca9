//! The guests, in the order in which lists show them.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::state::{Vm, by_number};
use crate::model::{Page, PageRequest, VmId};

/// The guests by their ids, `9` before `10`: a page of a long list is found where it begins, and costs no more than itself.
#[derive(Debug, Default)]
pub(super) struct Vms(BTreeMap<Place, Vm>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(usize, VmId);

impl Place {
    fn of(id: &VmId) -> Self {
        Self(id.as_str().len(), id.clone())
    }
}

impl Vms {
    pub(super) fn contains_key(&self, id: &VmId) -> bool {
        self.0.contains_key(&Place::of(id))
    }

    pub(super) fn get(&self, id: &VmId) -> Option<&Vm> {
        self.0.get(&Place::of(id))
    }

    pub(super) fn get_mut(&mut self, id: &VmId) -> Option<&mut Vm> {
        self.0.get_mut(&Place::of(id))
    }

    pub(super) fn insert(&mut self, id: VmId, vm: Vm) -> Option<Vm> {
        self.0.insert(Place(id.as_str().len(), id), vm)
    }

    pub(super) fn remove(&mut self, id: &VmId) -> Option<Vm> {
        self.0.remove(&Place::of(id))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &VmId> {
        self.0.keys().map(|Place(_, id)| id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Vm> {
        self.0.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Vm> {
        self.0.values_mut()
    }

    /// The page of those that can be seen, without its number of all where that is not the number of all guests.
    pub(super) fn page(&self, request: &PageRequest, most: u32, seen: impl Fn(&Vm) -> bool) -> Page<&Vm> {
        // What `by_number` puts before the id.
        let last = request.cursor.as_deref().map(|cursor| VmId::from(cursor.get(3..).unwrap_or_default()));
        let from = last.as_ref().map_or(Bound::Unbounded, |last| Bound::Excluded(Place::of(last)));
        let limit = request.limit.map_or(most, |limit| limit.min(most)).max(1);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rest = self.0.range((from, Bound::Unbounded)).map(|(_, vm)| vm).filter(|vm| seen(vm));
        let mut items = Vec::with_capacity(limit.min(self.0.len()));
        items.extend(rest.by_ref().take(limit));
        let more = items.len() == limit && rest.next().is_some();
        let next = if more { items.last().map(|vm| by_number(vm.id.as_str())) } else { None };
        Page::new(items, next)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
