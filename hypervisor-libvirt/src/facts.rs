//! What the definitions of guests say, remembered between two lists.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::xml::guest::Facts;

/// How long what a definition says is taken for true while nothing tells us of changes.
const AGE: Duration = Duration::from_secs(5);
/// The same while events come. Not for ever: libvirt tells of new definitions, but not of each call that changes one
/// number in it.
const WATCHED_AGE: Duration = Duration::from_secs(30);

/// What only a filter of libvirt's list tells: the ids of the guests that it lets through.
#[derive(Debug, Default)]
pub(crate) struct Filtered {
    /// Those whose memory was saved when they were powered off.
    pub(crate) saved: HashSet<String>,
    /// Those that start with the host.
    pub(crate) autostart: HashSet<String>,
}

/// The memory. Who reads a definition takes the [`epoch`](Self::epoch) first, so that what was outdated meanwhile is not
/// kept.
#[derive(Debug, Default)]
pub(crate) struct FactsCache {
    known: Mutex<HashMap<String, (Instant, Facts)>>,
    filtered: Mutex<Option<(Instant, u64, Arc<Filtered>)>>,
    epoch: AtomicU64,
    watched: AtomicBool,
}

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
    pub(crate) fn get_all<'a>(&self, uuids: impl Iterator<Item = &'a str>) -> Vec<Option<Facts>> {
        let age = if self.watched.load(Ordering::Acquire) { WATCHED_AGE } else { AGE };
        let mut known = self.lock();
        let now = Instant::now();
        let fresh = |read: &Instant| now.saturating_duration_since(*read) < age;
        let found: Vec<_> = uuids
            .map(|uuid| known.get(uuid).filter(|(read, _)| fresh(read)).map(|(_, facts)| facts.clone()))
            .collect();
        // A guest that is gone is never asked for again; the age alone would let these pile up.
        if known.len() > found.len() {
            known.retain(|_, (read, _)| fresh(read));
        }
        found
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
    pub(crate) fn keep(&self, facts: &Facts, epoch: u64) {
        let mut known = self.lock();
        if self.epoch() == epoch {
            known.insert(facts.uuid.clone(), (Instant::now(), facts.clone()));
        }
    }

    /// Forgets a guest that has changed.
    pub(crate) fn forget(&self, uuid: &str) {
        let mut known = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        known.remove(uuid);
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        let mut known = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        known.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Facts)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Element, guest};

    #[test]
    fn what_was_outdated_while_it_was_read_is_not_kept() {
        let xml = "<domain><uuid>u</uuid><name>a</name></domain>";
        let facts = guest::facts(&Element::parse(xml).unwrap()).unwrap();
        let cache = FactsCache::default();
        let epoch = cache.epoch();
        cache.forget("u");
        cache.keep(&facts, epoch);
        let get = |uuid| cache.get_all(std::iter::once(uuid)).pop().unwrap();
        assert!(get("u").is_none());
        cache.keep(&facts, cache.epoch());
        assert_eq!(get("u").unwrap(), facts);
        assert!(get("v").is_none());
        cache.set_watched(true);
        assert!(get("u").is_none(), "what was read before the events came may be outdated");
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
}
