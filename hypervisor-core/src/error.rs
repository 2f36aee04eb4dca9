//! The one error type of the SDK: what happened, to what, whether it may have had an effect, and what to do.

mod catalogue;
pub(crate) mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Capability, TaskId};
use crate::operation::Operation;

/// The result of every call of the SDK.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in words that are the same for every backend.
///
/// `Locked` (somebody is at work on it: try again), `Conflict` (somebody else has changed it: read it again) and
/// `AlreadyExists` (settled: choose another name) are never folded into one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object that was asked for does not exist.
    NotFound,
    /// An object of that name or id exists already.
    AlreadyExists,
    /// The object has changed since it was read, or another object is in the way.
    Conflict,
    /// Another task holds the object; the same call may succeed later.
    Locked,
    /// The object exists but is in a state that does not allow this.
    InvalidState,
    /// An argument is wrong; [`Error::fields`] names it. Nothing was sent.
    InvalidInput,
    /// The backend cannot do this; the message says why.
    Unsupported,
    /// The credentials are missing, wrong or expired.
    Unauthenticated,
    /// The credentials are good but not enough for this.
    PermissionDenied,
    /// A resource ran out: disk space, memory, addresses, quota.
    Exhausted,
    /// The server asks for fewer calls; [`Error::retry_after`] says when.
    RateLimited,
    /// The deadline passed before the answer came.
    Timeout,
    /// The connection could not be made; nothing was sent.
    Connect,
    /// The connection broke after the call may have been sent.
    Transport,
    /// The answer came but could not be understood.
    Protocol,
    /// The call started a task, and the task failed.
    TaskFailed,
    /// The call or its task was cancelled.
    Cancelled,
    /// The agent inside the guest does not answer.
    AgentUnavailable,
    /// The host that has the object cannot be reached, though the backend itself can.
    HostUnreachable,
    /// The configuration of the connection is wrong.
    Config,
    /// The backend failed for a reason of its own; the message is the one that it gave.
    Backend,
}

impl ErrorKind {
    /// Every kind, for catalogues and tests.
    pub const ALL: &'static [ErrorKind] = &[
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Locked,
        Self::InvalidState,
        Self::InvalidInput,
        Self::Unsupported,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::Exhausted,
        Self::RateLimited,
        Self::Timeout,
        Self::Connect,
        Self::Transport,
        Self::Protocol,
        Self::TaskFailed,
        Self::Cancelled,
        Self::AgentUnavailable,
        Self::HostUnreachable,
        Self::Config,
        Self::Backend,
    ];

    /// A stable name in snake case, for logs and wires.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Locked => "locked",
            Self::InvalidState => "invalid_state",
            Self::InvalidInput => "invalid_input",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Exhausted => "exhausted",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Transport => "transport",
            Self::Protocol => "protocol",
            Self::TaskFailed => "task_failed",
            Self::Cancelled => "cancelled",
            Self::AgentUnavailable => "agent_unavailable",
            Self::HostUnreachable => "host_unreachable",
            Self::Config => "config",
            Self::Backend => "backend",
        }
    }

    /// What [`Error::retry`] answers unless the driver knows better.
    const fn default_retry(self) -> Retry {
        match self {
            Self::Connect | Self::RateLimited | Self::Locked | Self::HostUnreachable => Retry::Safe,
            Self::Timeout | Self::Transport => Retry::IfIdempotent,
            _ => Retry::Never,
        }
    }

    /// What [`Error::effect`] answers unless the driver knows better.
    const fn default_effect(self) -> Effect {
        match self {
            Self::Timeout
            | Self::Transport
            | Self::Protocol
            | Self::TaskFailed
            | Self::Cancelled
            | Self::Backend => Effect::Unknown,
            _ => Effect::None,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

impl FromStr for ErrorKind {
    type Err = Error;

    /// Reads the [stable name](Self::as_str).
    fn from_str(name: &str) -> Result<Self> {
        Self::named(name).ok_or_else(|| Error::invalid("kind", format!("`{name}` is no kind of error")))
    }
}

/// Whether the same call is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The same call would get the same answer.
    Never,
    /// The call had no effect; repeating it is safe for every operation.
    Safe,
    /// The call may have had an effect; only an idempotent operation may be repeated.
    IfIdempotent,
}

impl Retry {
    /// Every answer.
    pub const ALL: &'static [Self] = &[Self::Never, Self::Safe, Self::IfIdempotent];

    /// A stable name in snake case, for logs and wires.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Safe => "safe",
            Self::IfIdempotent => "if_idempotent",
        }
    }
}

/// The [stable name](Retry::as_str).
impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the failed call may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// The outcome is not known: look at the object before acting again.
    Unknown,
    /// A part was done and could not be undone; the message says which.
    Partial,
}

impl Effect {
    /// Every answer.
    pub const ALL: &'static [Self] = &[Self::None, Self::Unknown, Self::Partial];

    /// A stable name in snake case, for logs and wires.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
            Self::Partial => "partial",
        }
    }
}

/// The [stable name](Effect::as_str).
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of any backend. Eight bytes; cheap to clone.
///
/// ```
/// use hypervisor_core::{Error, ErrorKind, Retry};
/// let error = Error::not_found("vm", "web-1");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.retry(), Retry::Never);
/// assert_eq!(error.to_string(), "vm `web-1`: not found");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    effect: Effect,
    message: String,
    operation: Option<Operation>,
    target: Option<String>,
    backend: Option<Cow<'static, str>>,
    code: Option<String>,
    retry_after: Option<Duration>,
    fields: BTreeMap<String, String>,
    request_id: Option<String>,
    hint: Option<String>,
    task: Option<TaskId>,
    log_tail: Vec<String>,
    attempts: u32,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind. `message` is the reason as the server gave it, or ours; it may be empty.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: kind.default_retry(),
            effect: kind.default_effect(),
            message: message.into(),
            operation: None,
            target: None,
            backend: None,
            code: None,
            retry_after: None,
            fields: BTreeMap::new(),
            request_id: None,
            hint: None,
            task: None,
            log_tail: Vec::new(),
            attempts: 1,
            source: None,
        }))
    }

    /// No `noun` (`"vm"`, `"volume"`, …) of this id.
    #[must_use]
    pub fn not_found(noun: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, "").with_target(noun, id)
    }

    /// A `noun` of this name exists already.
    #[must_use]
    pub fn already_exists(noun: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::AlreadyExists, "").with_target(noun, id)
    }

    /// The argument `field` is wrong, and why. Nothing was sent.
    #[must_use]
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        let (field, why) = (field.into(), why.into());
        Self::new(ErrorKind::InvalidInput, format!("{field}: {why}")).with_field(field, why)
    }

    /// The state of the object does not allow this.
    #[must_use]
    pub fn invalid_state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidState, message)
    }

    /// The backend cannot do this, and why.
    #[must_use]
    pub fn unsupported(capability: impl Into<Capability>, reason: impl fmt::Display) -> Self {
        let capability = capability.into();
        let error = Self::new(ErrorKind::Unsupported, format!("{reason}")).with_code(capability.as_str());
        match capability {
            Capability::Operation(operation) => error.with_operation(operation),
            Capability::Feature(_) => error,
        }
    }

    /// Overrides whether the call is worth repeating, and with it what is known of its effect.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        match retry {
            Retry::Safe => self.0.effect = Effect::None,
            Retry::IfIdempotent if self.0.effect == Effect::None => self.0.effect = Effect::Unknown,
            _ => {}
        }
        self
    }

    /// Says what is known of the call's effect. What may have had one is safe to repeat for idempotent operations only.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.0.effect = effect;
        if effect != Effect::None && self.0.retry == Retry::Safe {
            self.0.retry = Retry::IfIdempotent;
        }
        self
    }

    /// Says that the call had done a part before this failed, as where the second of two requests is refused, or the look at what the first
    /// has done. What had no effect itself is then no reason to send both again.
    ///
    /// ```
    /// use hypervisor_core::{Effect, Error, ErrorKind, Retry};
    /// let error = Error::new(ErrorKind::RateLimited, "too many starts").after_part();
    /// assert_eq!((error.effect(), error.retry()), (Effect::Partial, Retry::IfIdempotent));
    /// let error = Error::new(ErrorKind::Transport, "").after_part();
    /// assert_eq!(error.effect(), Effect::Unknown);
    /// ```
    #[must_use]
    pub fn after_part(self) -> Self {
        match self.0.effect {
            Effect::None => self.with_effect(Effect::Partial),
            _ => self,
        }
    }

    /// Names the operation, unless an inner layer has done so.
    #[must_use]
    pub fn with_operation(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the object, unless an inner layer has done so.
    #[must_use]
    pub fn with_target(mut self, noun: &str, id: impl fmt::Display) -> Self {
        self.0.target.get_or_insert_with(|| format!("{noun} `{id}`"));
        self
    }

    /// Names the backend, unless an inner layer has done so.
    #[must_use]
    pub fn with_backend(mut self, backend: impl Into<Cow<'static, str>>) -> Self {
        self.0.backend.get_or_insert_with(|| backend.into());
        self
    }

    /// The backend's own code: an HTTP status, a libvirt error number, a gateway's code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// When the server says that the call may be repeated.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds a parameter and what is wrong with it.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, why: impl Into<String>) -> Self {
        self.0.fields.insert(field.into(), why.into());
        self
    }

    /// The id by which the server's log knows the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = Some(id.into());
        self
    }

    /// What the user can do about it, as a sentence.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The task that failed or is still running.
    #[must_use]
    pub fn with_task(mut self, task: TaskId) -> Self {
        self.0.task = Some(task);
        self
    }

    /// The last lines of the failed task's log.
    #[must_use]
    pub fn with_log_tail(mut self, lines: Vec<String>) -> Self {
        self.0.log_tail = lines;
        self
    }

    /// How many times the call was tried before this error was given up on.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// The error below this one, for `downcast`.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call is worth repeating.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the call may have changed something.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// The reason as the server gave it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The operation that failed, where known.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// The object, as a noun and its id: ``vm `web-1` ``.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.0.target.as_deref()
    }

    /// The backend's name.
    #[must_use]
    pub fn backend(&self) -> Option<&str> {
        self.0.backend.as_deref()
    }

    /// The backend's own code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// How long the server asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Parameter -> what is wrong with it.
    #[must_use]
    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.0.fields
    }

    /// The id by which the server's log knows the request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The task that failed, or that still runs after a wait timed out.
    #[must_use]
    pub fn task(&self) -> Option<&TaskId> {
        self.0.task.as_ref()
    }

    /// The last lines of the failed task's log.
    #[must_use]
    pub fn log_tail(&self) -> &[String] {
        &self.0.log_tail
    }

    /// How often the call was tried.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether this is [`ErrorKind::NotFound`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Whether this is [`ErrorKind::Unsupported`].
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == ErrorKind::Unsupported
    }
}

/// For readers and writers of bytes, whose errors are of the operating system: with the kind that fits best, and the error itself within.
///
/// ```
/// use hypervisor_core::Error;
/// let error = std::io::Error::from(Error::not_found("volume", "default/motd.img"));
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// assert!(error.get_ref().is_some_and(|inner| inner.is::<Error>()));
/// ```
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            ErrorKind::NotFound => Io::NotFound,
            ErrorKind::AlreadyExists => Io::AlreadyExists,
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => Io::PermissionDenied,
            ErrorKind::InvalidInput => Io::InvalidInput,
            ErrorKind::Unsupported => Io::Unsupported,
            ErrorKind::Timeout => Io::TimedOut,
            ErrorKind::Connect | ErrorKind::HostUnreachable => Io::NotConnected,
            ErrorKind::Transport => Io::ConnectionAborted,
            _ => Io::Other,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        if let Some(target) = &inner.target {
            write!(f, "{target}: ")?;
        }
        write!(f, "{}", inner.kind)?;
        if !inner.message.is_empty() {
            write!(f, ": {}", inner.message)?;
        }
        if let Some(code) = &inner.code {
            write!(f, " (code {code})")?;
        }
        if let Some(last) = inner.log_tail.last() {
            write!(f, "; last log line: {last}")?;
        }
        match inner.effect {
            Effect::None => {}
            Effect::Unknown => f.write_str("; it may have had an effect")?,
            Effect::Partial => f.write_str("; a part of it was done")?,
        }
        if inner.attempts > 1 {
            write!(f, "; tried {} times", inner.attempts)?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, ". {hint}")?;
        }
        Ok(())
    }
}

/// The sentence, as `Display` has it, because `fn main() -> Result<()>` prints this form; `{:#?}` shows every field.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        let inner = &*self.0;
        let mut out = f.debug_struct("Error");
        out.field("kind", &inner.kind).field("message", &inner.message);
        out.field("operation", &inner.operation).field("target", &inner.target);
        out.field("backend", &inner.backend).field("code", &inner.code);
        out.field("retry", &inner.retry).field("effect", &inner.effect);
        if !inner.fields.is_empty() {
            out.field("fields", &inner.fields);
        }
        if let Some(task) = &inner.task {
            out.field("task", task);
        }
        if !inner.log_tail.is_empty() {
            out.field("log_tail", &inner.log_tail);
        }
        if let Some(source) = &inner.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small_and_says_everything() {
        assert_eq!(size_of::<Error>(), 8);
        assert_eq!(size_of::<Result<()>>(), 8);
        let error = Error::new(ErrorKind::Timeout, "no answer in 30 s")
            .with_operation(Operation::CreateVm)
            .with_target("vm", "web-1")
            .with_code("504")
            .with_hint("Look whether the machine exists before creating it again");
        assert_eq!(
            error.to_string(),
            "create_vm: vm `web-1`: timeout: no answer in 30 s (code 504); it may have had an effect. \
             Look whether the machine exists before creating it again"
        );
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(format!("{error:#?}").contains("retry: IfIdempotent"));
    }

    #[test]
    fn retry_and_effect_agree() {
        for kind in ErrorKind::ALL {
            let error = Error::new(*kind, "");
            match error.retry() {
                Retry::Safe => assert_eq!(error.effect(), Effect::None, "{kind}"),
                Retry::IfIdempotent => assert_eq!(error.effect(), Effect::Unknown, "{kind}"),
                Retry::Never => {}
            }
        }
        let sent = Error::new(ErrorKind::Connect, "").with_retry(Retry::IfIdempotent);
        assert_eq!(sent.effect(), Effect::Unknown);
    }

    #[test]
    fn inner_layers_name_the_operation_first() {
        let error = Error::not_found("vm", "a").with_target("vm", "b").with_operation(Operation::GetVm);
        let error = error.with_operation(Operation::CloneVm);
        assert_eq!(error.target(), Some("vm `a`"));
        assert_eq!(error.operation(), Some(Operation::GetVm));
    }
}
