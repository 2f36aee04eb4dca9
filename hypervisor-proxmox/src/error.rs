//! Errors with the operation and the object in them.

use hypervisor_core::model::{HostId, VmId};
use hypervisor_core::{Error, ErrorKind, Operation};

/// Names the operation and the backend.
pub(crate) fn named(operation: Operation) -> impl Fn(Error) -> Error {
    move |error| error.with_operation(operation).with_backend(crate::BACKEND)
}

/// An error of this guest.
pub(crate) fn of_vm(vm: &VmId) -> impl Fn(Error) -> Error + use<'_> {
    move |error| error.with_target(VmId::NOUN, vm)
}

/// The backend has it, but not for this kind of guest or not in this way.
pub(crate) fn unsupported(operation: Operation, why: &str) -> Error {
    Error::unsupported(operation, why).with_backend(crate::BACKEND)
}

/// A refusal of a call about this host. A node that the cluster does not know is looked up by name, and that fails.
pub(crate) fn of_host(host: &HostId) -> impl Fn(Error) -> Error + use<'_> {
    move |error| {
        let unknown = error.is_not_found() && error.target().is_none_or(|target| target.starts_with("host "));
        if unknown { again(&error, host.not_found()) } else { error.with_target(HostId::NOUN, host) }
    }
}

/// Another error that says the same thing in our words, and keeps the server's.
pub(crate) fn again(error: &Error, ours: Error) -> Error {
    let (noun, id) = match ours.target().and_then(|target| target.split_once(' ')) {
        Some((noun, id)) => (noun.to_owned(), id.trim_matches('`').to_owned()),
        None => (String::new(), String::new()),
    };
    let mut out = Error::new(ours.kind(), error.message()).with_backend(crate::BACKEND);
    if !noun.is_empty() {
        out = out.with_target(&noun, id);
    }
    if let Some(code) = error.code() {
        out = out.with_code(code);
    }
    if let Some(hint) = error.hint() {
        out = out.with_hint(hint);
    }
    match error.operation() {
        Some(operation) => out.with_operation(operation),
        None => out,
    }
}

/// The failure of a look that was somebody else's as well, as that of this operation.
pub(crate) fn shared(failure: &Error, operation: Operation) -> Error {
    let out = Error::new(failure.kind(), failure.message()).with_retry(failure.retry());
    let out = out.with_effect(failure.effect()).with_operation(operation).with_backend(crate::BACKEND);
    let out = failure.code().into_iter().fold(out, |out, code| out.with_code(code));
    let out = failure.hint().into_iter().fold(out, |out, hint| out.with_hint(hint));
    let out = failure.retry_after().into_iter().fold(out, Error::with_retry_after);
    match failure.target().and_then(|target| target.split_once(' ')) {
        Some((noun, id)) => out.with_target(noun, id.trim_matches('`')),
        None => out,
    }
}

/// Whether the failed call says that the guest is not on the node that was asked.
pub(crate) fn says_no_guest(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && error.target().is_some_and(|target| target.starts_with("vm "))
}
