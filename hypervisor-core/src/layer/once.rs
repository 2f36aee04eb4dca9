//! Creates with the same client token: one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// So many tokens are remembered; beyond that, those that nobody waits for are forgotten.
const MOST: usize = 10_000;

/// The tokens of creates that were begun here. Whether one was is behind a lock that is held while a create of this token runs, so that it is
/// also true of one whose caller has dropped it half-way.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Arc<AsyncMutex<bool>>>>);

/// The turn of one create.
pub(super) struct Turn {
    begun: OwnedMutexGuard<bool>,
    was_begun: bool,
}

impl Tokens {
    /// Waits for the creates of this token that came before.
    pub(super) async fn turn(&self, token: &str) -> Turn {
        let begun = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST {
                known.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(known.entry(token.to_owned()).or_default())
        };
        let mut begun = begun.lock_owned().await;
        let was_begun = std::mem::replace(&mut *begun, true);
        Turn { begun, was_begun }
    }
}

impl Turn {
    /// Whether a create of this token may have made something already.
    pub(super) fn was_begun(&self) -> bool {
        self.was_begun
    }

    /// This one has ended; `effect` is whether it may have made something.
    pub(super) fn end(mut self, effect: bool) {
        *self.begun = effect;
    }
}
