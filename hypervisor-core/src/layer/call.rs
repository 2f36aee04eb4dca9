//! What a policy knows of a call. Never its content.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Effect, Error};
use crate::model::{BackendInfo, Capabilities, Feature};
use crate::operation::{Operation, OperationClass};

/// Whether it is sure which object a call is about, when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// It is, or it does not matter.
    Sure,
    /// Once the uid is asked for before the first attempt.
    Asked,
    /// No: the first attempt is over.
    Unsure,
}

/// One call of the caller's, with all its attempts.
#[derive(Debug)]
pub struct Call<'a> {
    operation: Operation,
    noun: &'static str,
    id: Option<&'a str>,
    backend: Option<&'a BackendInfo>,
    needs: Vec<Feature>,
    token: Option<&'a str>,
    starts: bool,
    patience: Duration,
    idempotent: bool,
    repeat: bool,
    target: Target,
    learned: Option<&'a OnceLock<String>>,
    timed: bool,
    counted: bool,
    attempts: AtomicU32,
    queued_micros: AtomicU64,
}

impl<'a> Call<'a> {
    pub(super) fn new(operation: Operation) -> Self {
        Self {
            operation,
            noun: "",
            id: None,
            backend: None,
            needs: Vec::new(),
            token: None,
            starts: false,
            patience: Duration::ZERO,
            idempotent: operation.is_idempotent(),
            repeat: true,
            target: Target::Sure,
            learned: None,
            timed: true,
            counted: true,
            attempts: AtomicU32::new(0),
            queued_micros: AtomicU64::new(0),
        }
    }

    /// Names the object.
    pub(super) fn at<I: AsRef<str> + ?Sized>(mut self, noun: &'static str, id: &'a I) -> Self {
        self.noun = noun;
        self.id = Some(id.as_ref());
        self
    }

    pub(super) fn on(mut self, backend: &'a BackendInfo) -> Self {
        self.backend = Some(backend);
        self
    }

    pub(super) fn needs(mut self, needs: Vec<Feature>) -> Self {
        self.needs = needs;
        self
    }

    pub(super) fn token(mut self, token: Option<&'a String>) -> Self {
        self.token = token.map(String::as_str);
        self
    }

    /// It starts the guest that it makes.
    pub(super) fn starting(mut self, starts: bool) -> Self {
        self.starts = starts;
        self
    }

    pub(super) fn starts(&self) -> bool {
        self.starts
    }

    /// The call itself asks the server to take this long.
    pub(super) fn patient(mut self, patience: Option<Duration>) -> Self {
        self.patience = patience.unwrap_or_default();
        self
    }

    /// A look that the server holds back: idle, so that it must not take the place of calls that work.
    pub(super) fn holding(mut self, hold: Option<Duration>) -> Self {
        self.counted = hold.is_none();
        self.patient(hold)
    }

    /// Adds to what is there, so that twice is more than once, whatever the operation's class says.
    pub(super) fn adding(mut self, adds: bool) -> Self {
        self.idempotent &= !adds;
        self
    }

    /// Opens a stream.
    pub(super) fn opening(mut self) -> Self {
        self.repeat = false;
        self
    }

    /// Carries a stream: takes as long as there are bytes.
    pub(super) fn streaming(mut self) -> Self {
        self.timed = false;
        self.opening()
    }

    /// Is made of calls that go through the layers themselves; a place of its own would be one that they wait for.
    pub(super) fn composite(mut self) -> Self {
        self.counted = false;
        self.streaming()
    }

    /// Deletes a guest, of this uid where the caller has named it.
    pub(super) fn deleting(mut self, uid: Option<&String>) -> Self {
        self.target = if uid.is_some() { Target::Sure } else { Target::Asked };
        self
    }

    /// Where the uid goes once it has been asked for, so that every attempt carries it.
    pub(super) fn learning(mut self, learned: &'a OnceLock<String>) -> Self {
        self.learned = Some(learned);
        self
    }

    pub(super) fn learned(&self) -> Option<&'a OnceLock<String>> {
        self.learned
    }

    /// Has been sent once before anybody could ask for the uid.
    pub(super) fn already_sent(mut self) -> Self {
        if self.target == Target::Asked {
            self.target = Target::Unsure;
        }
        self
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    /// The look at who has the id of the guest that this call deletes.
    pub(super) fn question(&self) -> Call<'a> {
        Call { operation: Operation::GetVm, ..self.lookup() }
    }

    /// The look for what this call may have made.
    pub(super) fn lookup(&self) -> Call<'a> {
        Call { noun: self.noun, id: self.id, backend: self.backend, ..Call::new(Operation::ListVms) }
    }

    pub(super) fn check(&self, capabilities: &Capabilities) -> Result<(), Error> {
        capabilities.require_all(self.operation, &self.needs)
    }

    /// Adds to an error what the backend has not said itself.
    pub(super) fn explain(&self, mut error: Error) -> Error {
        if let Some(id) = self.id {
            error = error.with_target(self.noun, id);
        }
        if let Some(backend) = self.backend {
            error = error.with_backend(backend.backend.clone());
        }
        if self.class() == OperationClass::Read {
            error = error.with_effect(Effect::None);
        }
        error.with_operation(self.operation)
    }

    pub(super) fn count_attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_queued(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.queued_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Its class.
    #[must_use]
    pub fn class(&self) -> OperationClass {
        self.operation.class()
    }

    /// Whether it may be repeated after an unknown outcome. An append to a file may not, though writing a file may; nor may a
    /// create, not even with a token: see [`Attempt::find`](super::Attempt::find).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The noun of the object that it is about, as in errors; empty where there is none.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        self.noun
    }

    /// The id of the object that it is about, or the name of the one that it makes.
    #[must_use]
    pub fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// The backend's name.
    #[must_use]
    pub fn backend(&self) -> &'a str {
        self.backend.map_or("", |info| &info.backend)
    }

    /// Where the backend is, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &'a str {
        self.backend.map_or("", |info| &info.endpoint)
    }

    /// The mark that a create leaves.
    #[must_use]
    pub fn client_token(&self) -> Option<&'a str> {
        self.token
    }

    /// How long the call itself asks the server to take: a command's deadline, a held look. Comes on top of any deadline.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether it can be sent more than once: not a stream, and not what is made of calls that are repeated themselves.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        self.repeat
    }

    /// Whether it should end within a deadline: not an upload, which takes as long as there are bytes, nor a batch.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// Whether it takes a place among the calls at work: not a look that the server holds back, nor a batch, whose calls do.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// How often it has been sent to the backend so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// How long it has waited for its turn so far.
    #[must_use]
    pub fn queued(&self) -> Duration {
        Duration::from_micros(self.queued_micros.load(Ordering::Relaxed))
    }
}

/// ``get_vm: vm `web-1` ``.
impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{}: {} `{id}`", self.operation, self.noun),
            None => write!(f, "{}", self.operation),
        }
    }
}
