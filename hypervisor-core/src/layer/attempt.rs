//! What a policy sends.

use std::fmt;

use futures::future::BoxFuture;

use crate::error::{Error, ErrorKind, Result};

/// A call on its way.
pub(super) type Sending<'a, T> = BoxFuture<'a, Result<T>>;
/// What puts it on its way; can be asked again.
pub(super) type Sender<'a, T> = &'a (dyn Fn() -> Sending<'a, T> + Send + Sync + 'a);

/// A call that can be sent, and sent again.
pub struct Attempt<'a, T> {
    send: Sender<'a, T>,
    find: Option<Sender<'a, Option<T>>>,
    gone: Option<fn() -> T>,
    uid: Option<Sender<'a, Option<String>>>,
}

impl<T> Clone for Attempt<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Attempt<'_, T> {}

impl<T> fmt::Debug for Attempt<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Attempt");
        out.field("can_find", &self.find.is_some())
            .field("deletes", &self.gone.is_some())
            .field("asks_for_uid", &self.uid.is_some())
            .finish_non_exhaustive()
    }
}

impl<'a, T: Send + 'static> Attempt<'a, T> {
    pub(super) fn new(send: Sender<'a, T>) -> Self {
        Self { send, find: None, gone: None, uid: None }
    }

    pub(super) fn findable(mut self, find: Option<Sender<'a, Option<T>>>) -> Self {
        self.find = find;
        self
    }

    pub(super) fn deletes(mut self, gone: Option<fn() -> T>) -> Self {
        self.gone = gone;
        self
    }

    pub(super) fn identified(mut self, uid: Option<Sender<'a, Option<String>>>) -> Self {
        self.uid = uid;
        self
    }

    /// The same attempt with a policy around it.
    pub(super) fn around<'b>(
        &self,
        send: Sender<'b, T>,
        find: Sender<'b, Option<T>>,
        uid: Sender<'b, Option<String>>,
    ) -> Attempt<'b, T> {
        Attempt { send, find: self.find.map(|_| find), gone: self.gone, uid: self.uid.map(|_| uid) }
    }

    /// Sends the call once.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn send(&self) -> BoxFuture<'a, Result<T>> {
        (self.send)()
    }

    /// Whether the call leaves a mark by which what it made can be found.
    #[must_use]
    pub fn can_find(&self) -> bool {
        self.find.is_some()
    }

    /// Looks for what the call may have made. `None`: it is certain that nothing carries the mark.
    ///
    /// # Errors
    /// Those of the look, and `Unsupported` where [`can_find`](Self::can_find) is false. They say nothing about the call itself.
    pub fn find(&self) -> BoxFuture<'a, Result<Option<T>>> {
        match self.find {
            Some(find) => find(),
            None => Box::pin(async { Err(Error::new(ErrorKind::Unsupported, "the call leaves no mark")) }),
        }
    }

    /// Whether it deletes a guest of which the caller has named no uid: before it is sent again after a lost answer, it has to be known that the
    /// id still belongs to the same guest.
    #[must_use]
    pub fn asks_for_uid(&self) -> bool {
        self.uid.is_some()
    }

    /// The uid of the guest that has the id now; `None` where the backend tells none.
    ///
    /// # Errors
    /// `NotFound` where nobody has it, `Unsupported` where [`asks_for_uid`](Self::asks_for_uid) is false. They say nothing about the call itself.
    pub fn uid(&self) -> BoxFuture<'a, Result<Option<String>>> {
        match self.uid {
            Some(uid) => uid(),
            None => Box::pin(async { Err(Error::new(ErrorKind::Unsupported, "the call deletes no guest")) }),
        }
    }

    /// What a repeated delete answers when the object is gone: an attempt before this one has deleted it.
    #[must_use]
    pub fn already_gone(&self) -> Option<T> {
        self.gone.map(|gone| gone())
    }
}
