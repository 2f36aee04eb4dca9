//! What was asked of the fake, for tests that count.

use std::sync::{Mutex, PoisonError};

use crate::wire::form::Form;

/// One request that came in, whether or not it was answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// The method in capitals.
    pub method: String,
    /// The path below `/api2/json`, decoded, without query.
    pub path: String,
    /// The parameters of query and body. `Debug` shows no secrets.
    pub params: Form,
    /// The host that was asked.
    pub host: String,
    /// Who asked (`root@pam!test`), where the credentials were good.
    pub user: Option<String>,
    /// The status that it was answered with, where it was.
    pub status: Option<u16>,
    /// How many bytes the body of the answer had on the line.
    pub sent: Option<u64>,
}

impl Seen {
    /// The value of a parameter.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.get(key)
    }
}

/// All requests so far.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<(usize, Vec<Seen>)>);

impl Journal {
    /// Notes a request; the number is for its answer.
    pub(super) fn note(&self, seen: Seen) -> usize {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1.push(seen);
        inner.0 + inner.1.len() - 1
    }

    pub(super) fn update(&self, number: usize, f: impl FnOnce(&mut Seen)) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = inner.0;
        if let Some(seen) = number.checked_sub(forgotten).and_then(|index| inner.1.get_mut(index)) {
            f(seen);
        }
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Forgets what was noted; answers that are still to come find nothing.
    pub(super) fn clear(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 += inner.1.len();
        inner.1.clear();
    }
}
