//! Creates with the same client token: one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// So many tokens are remembered; beyond that, the older half of them is forgotten, but for those whose creates run.
const MOST: usize = 10_000;

/// The tokens of creates that were begun here. Whether one was is behind a lock that is held while a create of this token runs, so that it is
/// also true of one whose caller has dropped it half-way.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Known>);

type Begun = Arc<AsyncMutex<bool>>;

#[derive(Debug, Default)]
struct Known {
    young: HashMap<String, Begun>,
    old: HashMap<String, Begun>,
}

impl Known {
    fn of(&mut self, token: &str) -> Begun {
        if let Some(begun) = self.young.get(token) {
            return Arc::clone(begun);
        }
        let begun = self.old.remove(token).unwrap_or_default();
        if self.young.len() >= MOST / 2 {
            let older = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.old.extend(older.into_iter().filter(|(_, begun)| Arc::strong_count(begun) > 1));
        }
        self.young.insert(token.to_owned(), Arc::clone(&begun));
        begun
    }
}

/// The turn of one create.
pub(super) struct Turn {
    begun: OwnedMutexGuard<bool>,
    was_begun: bool,
}

impl Tokens {
    /// Waits for the creates of this token that came before.
    pub(super) async fn turn(&self, token: &str) -> Turn {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).of(token);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_youngest_tokens_are_not_forgotten_with_the_oldest() {
        let tokens = Tokens::default();
        let running = tokens.turn("running").await;
        for number in 0..3 * MOST {
            let token = number.to_string();
            assert!(!tokens.turn(&token).await.was_begun());
            // Its caller has given up; whoever asks again has to look first.
            assert!(tokens.turn(&token).await.was_begun(), "token {number} was forgotten at once");
        }
        let known = tokens.0.lock().unwrap();
        assert!(known.young.len() + known.old.len() <= MOST + 1);
        assert!(known.old.contains_key("running") || known.young.contains_key("running"));
        drop(running);
    }
}
