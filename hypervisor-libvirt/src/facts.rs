//! What the definitions of guests say, remembered between two lists.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::xml::guest::Facts;

/// How long what a definition says is taken for true while nothing tells us of changes.
const AGE: Duration = Duration::from_secs(5);
/// The same while events come. Not for ever: libvirt tells of new definitions, but not of each call that changes one
/// number in it.
const WATCHED_AGE: Duration = Duration::from_secs(30);

/// The memory. Who reads a definition takes the [`epoch`](Self::epoch) first, so that what was outdated meanwhile is not
/// kept.
#[derive(Debug, Default)]
pub(crate) struct FactsCache {
    known: Mutex<HashMap<String, (Instant, Facts)>>,
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

    /// What is known of a guest, unless it is too old to be trusted.
    pub(crate) fn get(&self, uuid: &str) -> Option<Facts> {
        let age = if self.watched.load(Ordering::Acquire) { WATCHED_AGE } else { AGE };
        let known = self.lock();
        let (read, facts) = known.get(uuid)?;
        (read.elapsed() < age).then(|| facts.clone())
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

    /// Forgets guests that are gone.
    pub(crate) fn keep_only(&self, present: &HashSet<&str>) {
        self.lock().retain(|uuid, _| present.contains(uuid.as_str()));
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
        assert!(cache.get("u").is_none());
        cache.keep(&facts, cache.epoch());
        assert_eq!(cache.get("u").unwrap(), facts);
        cache.set_watched(true);
        assert!(cache.get("u").is_none(), "what was read before the events came may be outdated");
        cache.keep(&facts, cache.epoch());
        cache.set_watched(true);
        cache.keep_only(&HashSet::from(["u"]));
        assert!(cache.get("u").is_some());
        cache.keep_only(&HashSet::new());
        assert!(cache.get("u").is_none());
    }
}
