//! The one table of what happens after a fault: for each class of operation and each fault, the kind of the error, what is known of the effect,
//! and whether [`RetryPolicy`](super::RetryPolicy) sends the call again. It is proved against every driver that speaks HTTP by a proxy that
//! brings the faults about.
//!
#![doc = include_str!("semantics.md")]

use std::fmt;

use crate::error::{Effect, ErrorKind};
use crate::operation::OperationClass;

/// What goes wrong between a caller and a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is refused, or cannot be made in time.
    Refused,
    /// The connection is cut before the server has read the call. The caller cannot tell that from a cut after it.
    CutBefore,
    /// The connection is cut after the server has carried the call out.
    CutAfter,
    /// The server carries the call out and its answer does not come in time.
    Silent,
    /// The connection is cut in the middle of the answer.
    Truncated,
    /// The server asks for fewer calls (429), with or without `Retry-After`.
    RateLimited,
    /// The server, or a proxy before it, is not available (502, 503, 504).
    Unavailable,
    /// The session has ended and cannot be renewed. One that can be is renewed by the driver, and no call fails for it.
    SessionExpired,
    /// The server answers that it cannot reach the host that has the object.
    HostOffline,
    /// The call has begun a task, and the task failed.
    TaskFailed,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::CutBefore,
        Self::CutAfter,
        Self::Silent,
        Self::Truncated,
        Self::RateLimited,
        Self::Unavailable,
        Self::SessionExpired,
        Self::HostOffline,
        Self::TaskFailed,
    ];

    /// In a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::CutBefore => "cut before the server read it",
            Self::CutAfter => "cut after the server did it",
            Self::Silent => "no answer in time",
            Self::Truncated => "answer cut short",
            Self::RateLimited => "429, fewer calls asked for",
            Self::Unavailable => "502, 503, 504",
            Self::SessionExpired => "session ended for good",
            Self::HostOffline => "the object's host is offline",
            Self::TaskFailed => "its task failed",
        }
    }

    /// The kinds of error that a driver may give it.
    #[must_use]
    pub const fn kinds(self) -> &'static [ErrorKind] {
        match self {
            Self::Refused => &[ErrorKind::Connect],
            Self::CutBefore | Self::CutAfter | Self::Truncated => &[ErrorKind::Transport],
            Self::Silent => &[ErrorKind::Timeout],
            Self::RateLimited => &[ErrorKind::RateLimited],
            Self::Unavailable => &[ErrorKind::Backend, ErrorKind::Transport, ErrorKind::Timeout],
            Self::SessionExpired => &[ErrorKind::Unauthenticated],
            Self::HostOffline => &[ErrorKind::HostUnreachable],
            Self::TaskFailed => &[ErrorKind::TaskFailed],
        }
    }

    /// Whether the call has certainly had no effect.
    const fn had_none(self) -> bool {
        matches!(self, Self::Refused | Self::RateLimited | Self::SessionExpired | Self::HostOffline)
    }
}

/// Whether the call is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeated {
    /// No: the caller has to look.
    No,
    /// Yes.
    Yes,
    /// Only after a look that did not find what the call may have made; needs a client token, and without one the answer is no.
    AfterLook,
    /// Only for the guest that was there before the first attempt, by its uid: ids are used again. Where it is gone, or its id belongs to another
    /// one, it is deleted; where the backend tells no uid and the id has a guest, the answer is no.
    SameGuest,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Semantics {
    /// The class of the operation.
    pub class: OperationClass,
    /// What went wrong.
    pub fault: Fault,
    /// What is known of the call's effect.
    pub effect: Effect,
    /// Whether it is sent again.
    pub repeated: Repeated,
}

impl Semantics {
    /// What happens to an operation of this class after this fault.
    #[must_use]
    pub const fn of(class: OperationClass, fault: Fault) -> Self {
        let effect = match class {
            OperationClass::Read => Effect::None,
            _ if fault.had_none() => Effect::None,
            _ => Effect::Unknown,
        };
        let repeated = match (fault, class) {
            (Fault::SessionExpired | Fault::TaskFailed, _) => Repeated::No,
            (Fault::Refused | Fault::RateLimited | Fault::HostOffline, _) => Repeated::Yes,
            (_, OperationClass::Read | OperationClass::IdempotentWrite) => Repeated::Yes,
            (_, OperationClass::Create) => Repeated::AfterLook,
            (_, OperationClass::Action) => Repeated::No,
        };
        Self { class, fault, effect, repeated }
    }

    /// What happens to the delete of a guest, an idempotent write of its own kind.
    #[must_use]
    pub const fn of_delete(fault: Fault) -> Self {
        let row = Self::of(OperationClass::IdempotentWrite, fault);
        match (row.repeated, row.effect) {
            (Repeated::Yes, Effect::Unknown) => Self { repeated: Repeated::SameGuest, ..row },
            _ => row,
        }
    }

    /// The whole table of the classes, by fault.
    pub fn table() -> impl Iterator<Item = Self> {
        let of = |fault| CLASSES.into_iter().map(move |(class, _)| Self::of(class, fault));
        Fault::ALL.into_iter().flat_map(of)
    }
}

const CLASSES: [(OperationClass, &str); 4] = [
    (OperationClass::Read, "read"),
    (OperationClass::IdempotentWrite, "idempotent write"),
    (OperationClass::Create, "create"),
    (OperationClass::Action, "action"),
];

/// ``effect unknown; repeated after a look``.
impl fmt::Display for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.effect == Effect::None { "no effect" } else { "effect unknown" };
        let repeated = match self.repeated {
            Repeated::No => "not repeated",
            Repeated::Yes => "repeated",
            Repeated::AfterLook => "repeated after a look",
            Repeated::SameGuest => "repeated for the same guest",
        };
        write!(f, "{effect}; {repeated}")
    }
}

/// The table in Markdown, as the documentation shows it.
#[must_use]
pub fn markdown() -> String {
    let mut heads: Vec<_> = CLASSES.iter().map(|(_, name)| *name).collect();
    heads.insert(2, "delete of a guest");
    let mut text =
        format!("| fault | error | {} |\n|---|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for fault in Fault::ALL {
        let kinds: Vec<_> = fault.kinds().iter().map(|kind| format!("`{}`", kind.as_str())).collect();
        let mut cells: Vec<_> =
            CLASSES.iter().map(|(class, _)| Semantics::of(*class, fault).to_string()).collect();
        cells.insert(2, Semantics::of_delete(fault).to_string());
        text += &format!("| {} | {} | {} |\n", fault.describe(), kinds.join(", "), cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Retry};
    use crate::layer::RetryPolicy;

    #[test]
    fn the_documentation_shows_the_table() {
        let shown = include_str!("semantics.md");
        assert_eq!(shown, markdown(), "write what the right side says to semantics.md");
    }

    #[test]
    fn the_table_is_what_the_policy_does() {
        for row in Semantics::table() {
            let kind = row.fault.kinds().first().copied().unwrap();
            let error = Error::new(kind, "");
            let lost = row.fault == Fault::Unavailable;
            let retry = if lost { Retry::IfIdempotent } else { error.retry() };
            let allowed = RetryPolicy::allows(retry, row.class.is_idempotent());
            assert_eq!(allowed, row.repeated == Repeated::Yes, "{:?} {:?}", row.class, row.fault);
            if row.class != OperationClass::Read {
                assert_eq!(error.effect() == Effect::None, row.effect == Effect::None, "{:?}", row.fault);
            }
        }
    }
}
