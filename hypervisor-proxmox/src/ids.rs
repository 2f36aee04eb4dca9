//! Numbers for new guests: reserved in this process, and taken for good only by the create itself.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hypervisor_core::model::{VmId, VmInfo};
use hypervisor_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::locate::View;

/// The numbers that this process has given out.
#[derive(Default)]
pub(crate) struct Ids(Mutex<HashMap<u32, Instant>>);

impl Ids {
    fn given(&self) -> MutexGuard<'_, HashMap<u32, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest number of the range that neither the cluster nor this process has given to anybody.
    ///
    /// # Errors
    /// `Exhausted`.
    pub(crate) fn reserve(&self, view: &View, range: &RangeInclusive<u32>, never: u32) -> Result<u32> {
        let mut given = self.given();
        // What was given out before the look is in it, or has come to nothing.
        let settled = std::time::Duration::from_secs(120);
        given.retain(|_, when| view.at.checked_duration_since(*when).is_none_or(|age| age < settled));
        let taken: BTreeSet<u32> = view.numbers().chain(given.keys().copied()).collect();
        let free = range.clone().find(|number| *number != never && !taken.contains(number));
        let number = free.ok_or_else(|| {
            let message = format!("every number from {} to {} is taken", range.start(), range.end());
            Error::new(ErrorKind::Exhausted, message)
                .with_hint("widen the range of numbers (`vmids`)")
                .with_backend(crate::BACKEND)
        })?;
        given.insert(number, Instant::now());
        Ok(number)
    }

    /// Gives a number back: nothing was made with it.
    pub(crate) fn release(&self, number: u32) {
        self.given().remove(&number);
    }
}

/// The numbers of creates whose answers were lost, by their tokens. Whoever sends such a create again asks for the same number: at most one
/// of the two can have it.
#[derive(Default)]
pub(crate) struct Lost(Mutex<HashMap<String, (u32, Instant)>>);

/// How long a lost create is remembered.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(3600);

impl Lost {
    fn all(&self) -> MutexGuard<'_, HashMap<String, (u32, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The create with this token may have made a guest of this number.
    pub(crate) fn add(&self, token: &str, number: u32) {
        let mut all = self.all();
        all.retain(|_, (_, when)| when.elapsed() < REMEMBERED);
        all.insert(token.to_owned(), (number, Instant::now()));
    }

    /// The number that an earlier try with this token has asked for.
    pub(crate) fn get(&self, token: &str) -> Option<u32> {
        self.all().get(token).map(|(number, _)| *number)
    }

    /// What has become of it is known.
    pub(crate) fn remove(&self, token: &str) {
        self.all().remove(token);
    }
}

/// How long a clone may take until its copy is marked.
const INTENDED: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The marks of clones, which the call that clones cannot leave on the copy: who asks this process for one finds the copy even before
/// its tag is written.
#[derive(Default)]
pub(crate) struct Intents(Mutex<HashMap<VmId, Intent>>);

struct Intent {
    token: String,
    name: String,
    since: Instant,
}

impl Intents {
    fn all(&self) -> MutexGuard<'_, HashMap<VmId, Intent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A clone of this name and mark is about to be made with this id.
    pub(crate) fn add(&self, vm: &VmId, token: &str, name: &str) {
        let mut all = self.all();
        // Of clones that nobody waited for: their copies have their marks by now, or were never made.
        all.retain(|_, intent| intent.since.elapsed() < INTENDED);
        let (token, name, since) = (token.to_owned(), name.to_owned(), Instant::now());
        all.insert(vm.clone(), Intent { token, name, since });
    }

    /// Nothing was made, or the mark is on it by now.
    pub(crate) fn remove(&self, vm: &VmId) {
        self.all().remove(vm);
    }

    /// Puts their marks on the guests that were meant.
    pub(crate) fn mark<'a>(&self, guests: impl IntoIterator<Item = &'a mut VmInfo>) {
        let all = self.all();
        if all.is_empty() {
            return;
        }
        for vm in guests.into_iter().filter(|vm| vm.client_token.is_none()) {
            if let Some(intent) = all.get(&vm.id).filter(|intent| intent.name == vm.name) {
                vm.client_token = Some(intent.token.clone());
            }
        }
    }
}
