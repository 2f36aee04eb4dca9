//! How a case says what it found.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// Why a case ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The backend does not do what it promises.
    Failed(String),
    /// The case cannot be run here.
    Skipped(String),
}

/// What a case, or a step of one, ends with.
pub(crate) type Check<T = ()> = Result<T, Stop>;

impl Stop {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Fails the case unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::check::Stop::failed(format!($($message)+)));
        }
    };
}

/// Fails the case unless both are equal, and says what they are.
macro_rules! check_eq {
    ($what:expr, $found:expr, $expected:expr) => {{
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            let what = $what;
            let message = format!("{what} is {found:?} where {expected:?} is expected");
            return Err($crate::conformance::check::Stop::failed(message));
        }
    }};
}

pub(crate) use {check, check_eq};

/// The error of a call that has to be refused for one of these reasons.
pub(crate) fn refused_as<T: fmt::Debug>(
    what: &str,
    result: Result<T, Error>,
    kinds: &[ErrorKind],
) -> Check<Error> {
    let wanted = || kinds.iter().map(ErrorKind::to_string).collect::<Vec<_>>().join(" or ");
    match result {
        Ok(answer) => {
            Err(Stop::failed(format!("{what} is accepted ({answer:?}) where {} is expected", wanted())))
        }
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => Err(Stop::failed(format!("{what}: {} is expected, but came: {error}", wanted()))),
    }
}

/// The error of a call that has to be refused for this reason.
pub(crate) fn refused<T: fmt::Debug>(what: &str, result: Result<T, Error>, kind: ErrorKind) -> Check<Error> {
    refused_as(what, result, &[kind])
}

/// A call that has to be refused because of this argument.
pub(crate) fn refused_field<T: fmt::Debug>(what: &str, result: Result<T, Error>, field: &str) -> Check {
    let error = refused(what, result, ErrorKind::InvalidInput)?;
    let named = error.fields().keys().any(|key| key == field);
    check!(named, "{what}: the error has to name the field `{field}`, but names {:?}", error.fields());
    Ok(())
}

/// A call that has to be refused because this object, named by its noun, does not exist.
pub(crate) fn refused_unknown<T: fmt::Debug>(
    what: &str,
    result: Result<T, Error>,
    noun: &str,
    id: impl fmt::Display,
) -> Check {
    let error = refused(what, result, ErrorKind::NotFound)?;
    names(what, &error, noun, id)
}

/// Fails unless the error names the object.
pub(crate) fn names(what: &str, error: &Error, noun: &str, id: impl fmt::Display) -> Check {
    let id = id.to_string();
    let target = error.target().unwrap_or_default();
    let named = target.starts_with(&format!("{noun} `")) && target.contains(&id);
    check!(named, "{what}: the error has to name {noun} `{id}`, but names {target:?}: {error}");
    Ok(())
}
