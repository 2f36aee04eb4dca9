//! Which operation may begin, and what has become of each: pure bookkeeping, without a backend.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{BatchItem, BatchOp, BatchOutcome, BatchRequest, BulkKey, OnError, VmId};

pub(super) struct Plan<'a> {
    request: &'a BatchRequest,
    slots: Vec<Slot>,
    /// Those that wait for no other item any more.
    ready: BTreeSet<usize>,
    running: usize,
    /// How many are running for each key.
    per_key: Vec<usize>,
    /// The item whose failure has stopped the batch.
    stopped_by: Option<usize>,
    /// Whoever asked for the batch wants no more of it.
    cancelled: bool,
    /// The items that are done, in the order in which they came to an end.
    done: Vec<usize>,
}

struct Slot {
    /// The key's number.
    key: Option<usize>,
    bulk: Option<BulkKey>,
    /// How many items it still waits for.
    waits: usize,
    /// The items that wait for it.
    dependents: Vec<usize>,
    outcome: Option<BatchOutcome>,
}

/// What shares a limit: the item's own key, or the guest that it is about.
fn key(item: &BatchItem) -> Option<String> {
    item.key.clone().or_else(|| item.op.vm().map(|vm| format!("{} {vm}", VmId::NOUN)))
}

impl<'a> Plan<'a> {
    pub(super) fn new(request: &'a BatchRequest, bulk_key: impl Fn(&BatchOp) -> Option<BulkKey>) -> Self {
        let mut keys = BTreeMap::new();
        let mut number = |key: String| {
            let next = keys.len();
            *keys.entry(key).or_insert(next)
        };
        let mut slot = |item: &BatchItem| Slot {
            key: key(item).map(&mut number),
            bulk: bulk_key(&item.op).filter(|bulk| bulk.limit > 1),
            waits: 0,
            dependents: Vec::new(),
            outcome: None,
        };
        let mut slots: Vec<Slot> = request.items.iter().map(&mut slot).collect();
        for (index, item) in request.items.iter().enumerate() {
            // The same item named twice is waited for once.
            let after: BTreeSet<usize> = item.after.iter().copied().collect();
            for before in &after {
                if let Some(slot) = slots.get_mut(*before) {
                    slot.dependents.push(index);
                }
            }
            if let Some(slot) = slots.get_mut(index) {
                slot.waits = after.len();
            }
        }
        let ready =
            slots.iter().enumerate().filter(|(_, slot)| slot.waits == 0).map(|(index, _)| index).collect();
        Self {
            request,
            slots,
            ready,
            running: 0,
            per_key: vec![0; keys.len()],
            stopped_by: None,
            cancelled: false,
            done: Vec::new(),
        }
    }

    /// Nothing more is begun.
    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
        self.ready.clear();
    }

    fn has_room(&self, slot: &Slot) -> bool {
        let used = slot.key.and_then(|key| self.per_key.get(key)).copied().unwrap_or(0);
        self.running < self.request.concurrency && used < self.request.per_key
    }

    /// How many are running for the key of this one.
    fn used(&mut self, index: usize) -> Option<&mut usize> {
        let key = self.slots.get(index)?.key?;
        self.per_key.get_mut(key)
    }

    /// The operations that may begin now as one call: one, or several that the backend takes together.
    pub(super) fn next_group(&mut self) -> Option<Vec<usize>> {
        let first = self.first_with_room()?;
        let bulk = self.slots.get(first).and_then(|slot| slot.bulk.clone());
        self.begin(first);
        let mut group = vec![first];
        if let Some(bulk) = bulk {
            let mut from = first;
            while group.len() < bulk.limit && self.running < self.request.concurrency {
                let Some(index) = self.ready.range(from..).next().copied() else { break };
                from = index + 1;
                let fits = |slot: &Slot| {
                    slot.bulk.as_ref().is_some_and(|other| other.key == bulk.key) && self.has_room(slot)
                };
                if self.slots.get(index).is_some_and(fits) {
                    self.begin(index);
                    group.push(index);
                }
            }
        }
        Some(group)
    }

    fn first_with_room(&self) -> Option<usize> {
        if self.running >= self.request.concurrency {
            return None;
        }
        self.ready
            .iter()
            .copied()
            .find(|index| self.slots.get(*index).is_some_and(|slot| self.has_room(slot)))
    }

    fn begin(&mut self, index: usize) {
        self.ready.remove(&index);
        self.running += 1;
        if let Some(used) = self.used(index) {
            *used += 1;
        }
    }

    /// An operation that was begun has come to an end.
    pub(super) fn end(&mut self, index: usize, outcome: BatchOutcome) {
        self.running = self.running.saturating_sub(1);
        if let Some(used) = self.used(index) {
            *used = used.saturating_sub(1);
        }
        let done = outcome.is_done();
        if done {
            self.done.push(index);
        }
        self.set(index, outcome);
        if done {
            self.release(index);
        } else if self.request.on_error == OnError::Continue {
            self.skip_dependents(index);
        } else if self.stopped_by.is_none() {
            self.stopped_by = Some(index);
            self.ready.clear();
        }
    }

    fn release(&mut self, index: usize) {
        for dependent in self.dependents(index) {
            let Some(slot) = self.slots.get_mut(dependent) else { continue };
            slot.waits = slot.waits.saturating_sub(1);
            if slot.waits == 0 && slot.outcome.is_none() && self.stopped_by.is_none() && !self.cancelled {
                self.ready.insert(dependent);
            }
        }
    }

    fn skip_dependents(&mut self, failed: usize) {
        let mut failed = vec![failed];
        while let Some(before) = failed.pop() {
            for dependent in self.dependents(before) {
                if self.slots.get(dependent).is_some_and(|slot| slot.outcome.is_none()) {
                    let why = format!("item {before}, which it waits for, is not done");
                    self.set(dependent, BatchOutcome::Skipped(why));
                    failed.push(dependent);
                }
            }
        }
    }

    fn dependents(&self, index: usize) -> Vec<usize> {
        self.slots.get(index).map(|slot| slot.dependents.clone()).unwrap_or_default()
    }

    fn set(&mut self, index: usize, outcome: BatchOutcome) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.outcome = Some(outcome);
        }
    }

    /// The outcomes in the order asked, and the items that are done in the order in which they ended.
    pub(super) fn finish(self) -> (Vec<BatchOutcome>, Vec<usize>) {
        let why = match self.stopped_by {
            Some(index) => format!("item {index} is not done, and the batch stops then"),
            None if self.cancelled => "the batch was cancelled before its turn came".to_owned(),
            None => "its turn never came".to_owned(),
        };
        let outcome = |slot: Slot| slot.outcome.unwrap_or_else(|| BatchOutcome::Skipped(why.clone()));
        (self.slots.into_iter().map(outcome).collect(), self.done)
    }
}
