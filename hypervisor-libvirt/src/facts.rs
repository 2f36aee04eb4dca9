//! What the definitions of guests say, remembered between two lists.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hypervisor_core::model::VmInfo;
use uuid::Uuid;

/// How long what a definition says is taken for true while nothing tells us of changes.
const AGE: Duration = Duration::from_secs(5);
/// The same while events come. Not for ever: libvirt tells of new definitions, but not of each call that changes one
/// number in it.
const WATCHED_AGE: Duration = Duration::from_secs(30);

/// What only a filter of libvirt's list tells: the ids of the guests that it lets through.
#[derive(Debug, Default)]
pub(crate) struct Filtered {
    /// Those whose memory was saved when they were powered off.
    pub(crate) saved: HashSet<Uuid>,
    /// Those that start with the host.
    pub(crate) autostart: HashSet<Uuid>,
}

/// The memory: guests as lists show them, but for what changes without their definition. Who reads a definition takes the [`epoch`](Self::epoch) first, so that what was outdated meanwhile is not
/// kept.
#[derive(Debug, Default)]
pub(crate) struct FactsCache {
    known: Mutex<HashMap<Uuid, (Instant, Arc<VmInfo>)>>,
    filtered: Mutex<Option<(Instant, u64, Arc<Filtered>)>>,
    epoch: AtomicU64,
    watched: AtomicBool,
    names: Mutex<Option<(u64, Arc<Names>)>>,
}

/// Which guest has which name. libvirt writes a UUID out as text, for its log, whenever it is asked for one, which takes as long
/// as all else that a list does with a guest; a name costs nothing.
pub(crate) type Names = HashMap<String, Uuid>;

impl FactsCache {
    /// How often something was forgotten.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether events come that make us forget.
    pub(crate) fn set_watched(&self, watched: bool) {
        if self.watched.swap(watched, Ordering::AcqRel) != watched {
            self.forget_all();
        }
    }

    /// What is known of each guest, unless it is too old to be trusted; what is known of others is forgotten.
    pub(crate) fn get_all(&self, uuids: impl Iterator<Item = Uuid>) -> Vec<Option<Arc<VmInfo>>> {
        let age = if self.watched.load(Ordering::Acquire) { WATCHED_AGE } else { AGE };
        let mut known = self.lock();
        let now = Instant::now();
        let fresh = |read: &Instant| now.saturating_duration_since(*read) < age;
        let found: Vec<_> = uuids
            .map(|uuid| known.get(&uuid).filter(|(read, _)| fresh(read)).map(|(_, vm)| Arc::clone(vm)))
            .collect();
        // A guest that is gone is never asked for again; the age alone would let these pile up.
        if known.len() > found.len() {
            known.retain(|_, (read, _)| fresh(read));
        }
        found
    }

    /// The names as they were since the last change; none while nobody tells us of changes.
    pub(crate) fn names(&self) -> Option<Arc<Names>> {
        let kept = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, names) = kept.as_ref()?;
        (self.watched.load(Ordering::Acquire) && *epoch == self.epoch()).then(|| Arc::clone(names))
    }

    /// Keeps the names as they were at `epoch`, where they are of use.
    pub(crate) fn keep_names(&self, names: impl FnOnce() -> Names, epoch: u64) {
        if self.watched.load(Ordering::Acquire) {
            let kept = (epoch, Arc::new(names()));
            *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
    }

    /// What the filters have told since the last change, unless it is too old to be trusted.
    pub(crate) fn filtered(&self) -> Option<Arc<Filtered>> {
        let kept = self.filtered.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, epoch, filtered) = kept.as_ref()?;
        // libvirt has no event for either.
        (read.elapsed() < AGE && *epoch == self.epoch()).then(|| Arc::clone(filtered))
    }

    /// Keeps what the filters have told since `epoch`.
    pub(crate) fn keep_filtered(&self, filtered: &Arc<Filtered>, epoch: u64) {
        let kept = (Instant::now(), epoch, Arc::clone(filtered));
        *self.filtered.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// Keeps what was read since `epoch`.
    pub(crate) fn keep(&self, uuid: Uuid, vm: &Arc<VmInfo>, epoch: u64) {
        let mut known = self.lock();
        if self.epoch() == epoch {
            known.insert(uuid, (Instant::now(), Arc::clone(vm)));
        }
    }

    /// Forgets a guest that has changed.
    pub(crate) fn forget(&self, uuid: &str) {
        let mut known = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        // What is no UUID is no guest of ours.
        if let Ok(uuid) = Uuid::parse_str(uuid) {
            known.remove(&uuid);
        }
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        let mut known = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        known.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, (Instant, Arc<VmInfo>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::VmState;

    #[test]
    fn what_was_outdated_while_it_was_read_is_not_kept() {
        let uuid = Uuid::from_u128(1);
        let vm = Arc::new(VmInfo::new(uuid.to_string(), "a", VmState::Stopped));
        let cache = FactsCache::default();
        let epoch = cache.epoch();
        cache.forget(&uuid.to_string());
        cache.keep(uuid, &vm, epoch);
        let get = |uuid| cache.get_all(std::iter::once(uuid)).pop().unwrap();
        assert!(get(uuid).is_none());
        cache.keep(uuid, &vm, cache.epoch());
        assert_eq!(get(uuid).unwrap(), vm);
        assert!(get(Uuid::from_u128(2)).is_none());
        cache.forget(&uuid.simple().to_string());
        assert!(get(uuid).is_none());
        cache.keep(uuid, &vm, cache.epoch());
        cache.set_watched(true);
        assert!(get(uuid).is_none(), "what was read before the events came may be outdated");
    }

    #[test]
    fn what_the_filters_told_is_outdated_by_any_change() {
        let cache = FactsCache::default();
        let told = Arc::<Filtered>::default();
        let epoch = cache.epoch();
        cache.keep_filtered(&told, epoch);
        assert!(cache.filtered().is_some());
        cache.forget("u");
        assert!(cache.filtered().is_none());
        cache.keep_filtered(&told, epoch);
        assert!(cache.filtered().is_none(), "it was asked before the change");
    }

    #[test]
    fn names_are_trusted_while_events_come_and_nothing_changes() {
        let cache = FactsCache::default();
        let names = || Names::from([("a".to_owned(), Uuid::from_u128(1))]);
        cache.keep_names(names, cache.epoch());
        assert!(cache.names().is_none(), "nobody would tell us of another guest of this name");
        cache.set_watched(true);
        let epoch = cache.epoch();
        cache.keep_names(names, epoch);
        assert_eq!(*cache.names().unwrap(), names());
        cache.forget("u");
        assert!(cache.names().is_none());
        cache.keep_names(names, epoch);
        assert!(cache.names().is_none(), "they were read before the change");
        cache.keep_names(names, cache.epoch());
        cache.set_watched(false);
        assert!(cache.names().is_none());
    }
}
