//! Tokens that were found in the database just now: for a moment they are believed without another look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::tokens::Principal;

/// More are not kept. Only tokens that exist are, so that nobody fills it with guesses.
const MOST: usize = 4096;

/// Who is behind a token, by the token's hash.
#[derive(Debug, Default)]
pub(crate) struct Believed {
    found: Mutex<Found>,
    /// How often a token was revoked here, told also to whoever has a stream open; it changes only while `found` is held.
    revoked: watch::Sender<u64>,
}

type Found = HashMap<String, (Instant, Arc<Principal>)>;

/// That the database is asked now: what it answers counts only if no token was revoked here in the meantime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked(u64);

impl Believed {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it is, if that was found no longer ago than this.
    pub(crate) fn get(&self, hash: &str, within: Duration) -> Result<Arc<Principal>, Asked> {
        let found = self.found();
        match found.get(hash) {
            Some((when, who)) if when.elapsed() < within => Ok(Arc::clone(who)),
            _ => Err(Asked(*self.revoked.borrow())),
        }
    }

    pub(crate) fn put(&self, Asked(before): Asked, hash: String, who: &Arc<Principal>, within: Duration) {
        let mut found = self.found();
        if within.is_zero() || *self.revoked.borrow() != before {
            return;
        }
        if found.len() >= MOST {
            found.retain(|_, (when, _)| when.elapsed() < within);
        }
        if found.len() < MOST {
            found.insert(hash, (Instant::now(), Arc::clone(who)));
        }
    }

    /// A token is revoked: from now on none is believed that was found before.
    pub(crate) fn forget(&self) {
        let mut found = self.found();
        found.clear();
        self.revoked.send_modify(|revoked| *revoked = revoked.wrapping_add(1));
    }

    /// Changes when a token is revoked here.
    pub(crate) fn revoked(&self) -> watch::Receiver<u64> {
        self.revoked.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_asked_before_a_token_was_revoked_is_not_believed_after_it() {
        let (believed, who) = (Believed::default(), Arc::new(Principal::nobody()));
        let asked = believed.get("a", SOON).unwrap_err();
        believed.put(asked, "a".to_owned(), &who, SOON);
        assert!(believed.get("a", SOON).is_ok());
        let asked = believed.get("b", SOON).unwrap_err();
        believed.forget();
        assert!(believed.get("a", SOON).is_err());
        believed.put(asked, "b".to_owned(), &who, SOON);
        assert!(believed.get("b", SOON).is_err());
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for_and_none_for_no_time() {
        let (believed, who) = (Believed::default(), Arc::new(Principal::nobody()));
        for number in 0..MOST + 10 {
            let asked = believed.get("none", SOON).unwrap_err();
            believed.put(asked, number.to_string(), &who, SOON);
        }
        assert_eq!(believed.found().len(), MOST);
        assert!(believed.get("0", Duration::ZERO).is_err());
        let believed = Believed::default();
        let asked = believed.get("a", Duration::ZERO).unwrap_err();
        believed.put(asked, "a".to_owned(), &who, Duration::ZERO);
        assert_eq!(believed.found().len(), 0);
    }
}
