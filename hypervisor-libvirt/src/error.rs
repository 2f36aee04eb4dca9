//! libvirt's error numbers in the SDK's words: one table.

use hypervisor_core::{Error, ErrorKind, Operation, Retry};
use virt_sys as sys;

use crate::blocking::{CallError, Failure};
use crate::ffi::LibvirtError;
use crate::xml::XmlError;

/// What an operation on a connection fails with.
#[derive(Debug, Clone)]
pub(crate) enum Fail {
    /// libvirt refused or failed.
    Libvirt(LibvirtError),
    /// We did.
    Ours(Error),
}

/// The result of an operation on a connection.
pub(crate) type Outcome<T> = Result<T, Fail>;

impl std::fmt::Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Libvirt(error) => error.fmt(f),
            Self::Ours(error) => error.fmt(f),
        }
    }
}

impl CallError for Fail {
    fn is_disconnect(&self) -> bool {
        match self {
            Self::Libvirt(error) => error.is_disconnect(),
            // The same, once an object was named in it.
            Self::Ours(error) => error.kind() == ErrorKind::Transport,
        }
    }
}

impl From<LibvirtError> for Fail {
    fn from(error: LibvirtError) -> Self {
        Self::Libvirt(error)
    }
}

impl From<virt::error::Error> for Fail {
    fn from(error: virt::error::Error) -> Self {
        Self::Libvirt(error.into())
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<XmlError> for Fail {
    fn from(error: XmlError) -> Self {
        Self::Ours(Error::new(ErrorKind::Protocol, error.to_string()))
    }
}

impl From<Fail> for Error {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Ours(error) => error,
            Fail::Libvirt(error) => of_call(error),
        }
    }
}

impl Fail {
    /// Whether libvirt gave this number.
    pub(crate) fn has_code(&self, code: u32) -> bool {
        matches!(self, Self::Libvirt(error) if error.code == code)
    }

    /// Whether libvirt's driver has no such call, or not with these flags.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Libvirt(error) if kind(error) == ErrorKind::Unsupported)
    }

    /// The kind that it will have.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Libvirt(error) => kind(error),
            Self::Ours(error) => error.kind(),
        }
    }
}

/// What a call to libvirt failed with.
fn of_call(error: LibvirtError) -> Error {
    let kind = kind(&error);
    let ours = Error::new(kind, error.message.clone()).with_code(error.code.to_string());
    let ours = if error.was_not_sent() { ours.with_retry(Retry::Safe) } else { ours };
    ours.with_source(error)
}

/// What opening a connection failed with: nothing was sent.
fn of_open(error: &LibvirtError) -> Error {
    let kind = match kind(error) {
        known @ (ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::Unsupported) => known,
        ErrorKind::InvalidInput => ErrorKind::Config,
        _ => ErrorKind::Connect,
    };
    Error::new(kind, error.message.clone()).with_code(error.code.to_string()).with_source(error.clone())
}

impl From<Failure<Fail>> for Error {
    fn from(failure: Failure<Fail>) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::Call(fail) => fail.into(),
            Failure::Open(fail) => match &*fail {
                Fail::Libvirt(error) => of_open(error),
                Fail::Ours(error) => error.clone(),
            },
            Failure::OpenTimeout(_) | Failure::QueueTimeout(_) => {
                Self::new(ErrorKind::Timeout, text).with_retry(Retry::Safe)
            }
            Failure::CallTimeout(_) => Self::new(ErrorKind::Timeout, text),
            Failure::Exhausted(_) => Self::new(ErrorKind::Exhausted, text)
                .with_retry(Retry::Safe)
                .with_hint("Look whether libvirtd still answers; its hung calls hold the threads"),
            Failure::Panicked(_) => Self::new(ErrorKind::Backend, text),
            Failure::NoThread(_) => Self::new(ErrorKind::Exhausted, text),
        }
    }
}

/// Names the operation and the backend.
pub(crate) fn named(operation: Operation) -> impl Fn(Error) -> Error {
    move |error| error.with_operation(operation).with_backend(crate::BACKEND)
}

/// The table: what libvirt's numbers mean. Where one number covers many things, the message tells them apart.
fn kind(error: &LibvirtError) -> ErrorKind {
    let says = |text: &str| error.message.contains(text);
    match error.code {
        sys::VIR_ERR_NO_DOMAIN
        | sys::VIR_ERR_NO_NETWORK
        | sys::VIR_ERR_NO_STORAGE_POOL
        | sys::VIR_ERR_NO_STORAGE_VOL
        | sys::VIR_ERR_NO_NODE_DEVICE
        | sys::VIR_ERR_NO_INTERFACE
        | sys::VIR_ERR_NO_NWFILTER
        | sys::VIR_ERR_NO_SECRET
        | sys::VIR_ERR_NO_DOMAIN_SNAPSHOT
        | sys::VIR_ERR_NO_DOMAIN_METADATA
        | sys::VIR_ERR_NO_DOMAIN_CHECKPOINT
        | sys::VIR_ERR_NO_DOMAIN_BACKUP
        | sys::VIR_ERR_DEVICE_MISSING => ErrorKind::NotFound,
        sys::VIR_ERR_DOM_EXIST
        | sys::VIR_ERR_NETWORK_EXIST
        | sys::VIR_ERR_STORAGE_VOL_EXIST
        | sys::VIR_ERR_STORAGE_POOL_BUILT => ErrorKind::AlreadyExists,
        sys::VIR_ERR_AGENT_UNRESPONSIVE
        | sys::VIR_ERR_AGENT_UNSYNCED
        | sys::VIR_ERR_AGENT_COMMAND_TIMEOUT => ErrorKind::AgentUnavailable,
        sys::VIR_ERR_ARGUMENT_UNSUPPORTED if says("guest agent is not") => ErrorKind::AgentUnavailable,
        sys::VIR_ERR_NO_SUPPORT
        | sys::VIR_ERR_CONFIG_UNSUPPORTED
        | sys::VIR_ERR_ARGUMENT_UNSUPPORTED
        | sys::VIR_ERR_OPERATION_UNSUPPORTED
        | sys::VIR_ERR_CPU_INCOMPATIBLE => ErrorKind::Unsupported,
        sys::VIR_ERR_INVALID_ARG if says("unsupported flags") => ErrorKind::Unsupported,
        sys::VIR_ERR_INVALID_ARG
        | sys::VIR_ERR_XML_ERROR
        | sys::VIR_ERR_XML_DETAIL
        | sys::VIR_ERR_XML_INVALID_SCHEMA
        | sys::VIR_ERR_CONF_SYNTAX
        | sys::VIR_ERR_INVALID_MAC
        | sys::VIR_ERR_OS_TYPE
        | sys::VIR_ERR_NO_NAME
        | sys::VIR_ERR_NO_OS
        | sys::VIR_ERR_OVERFLOW => ErrorKind::InvalidInput,
        sys::VIR_ERR_AUTH_FAILED | sys::VIR_ERR_AUTH_CANCELLED | sys::VIR_ERR_AUTH_UNAVAILABLE => {
            ErrorKind::Unauthenticated
        }
        sys::VIR_ERR_OPERATION_DENIED | sys::VIR_ERR_ACCESS_DENIED => ErrorKind::PermissionDenied,
        sys::VIR_ERR_NO_MEMORY | sys::VIR_ERR_DRIVER_FULL => ErrorKind::Exhausted,
        sys::VIR_ERR_RESOURCE_BUSY | sys::VIR_ERR_BLOCK_COPY_ACTIVE => ErrorKind::Locked,
        sys::VIR_ERR_OPERATION_TIMEOUT if says("state change lock") => ErrorKind::Locked,
        sys::VIR_ERR_OPERATION_TIMEOUT => ErrorKind::Timeout,
        sys::VIR_ERR_OPERATION_ABORTED => ErrorKind::Cancelled,
        sys::VIR_ERR_UNKNOWN_HOST
        | sys::VIR_ERR_NO_CONNECT
        | sys::VIR_ERR_GNUTLS_ERROR
        | sys::VIR_ERR_SSH
        | sys::VIR_ERR_LIBSSH => ErrorKind::Connect,
        _ if error.is_disconnect() => ErrorKind::Transport,
        sys::VIR_ERR_SYSTEM_ERROR if error.is_of_another_daemon() => ErrorKind::HostUnreachable,
        _ if says("No space left on device") || says("Not enough space") => ErrorKind::Exhausted,
        _ if says("Failed to connect to remote libvirt URI") => ErrorKind::HostUnreachable,
        _ if says("already exists") || says("exists already") => ErrorKind::AlreadyExists,
        _ if says("Active console session exists") => ErrorKind::Locked,
        _ if says("already in use") => ErrorKind::Conflict,
        sys::VIR_ERR_OPERATION_INVALID | sys::VIR_ERR_SNAPSHOT_REVERT_RISKY | sys::VIR_ERR_MIGRATE_UNSAFE => {
            ErrorKind::InvalidState
        }
        sys::VIR_ERR_SYSTEM_ERROR if says("Permission denied") => ErrorKind::PermissionDenied,
        sys::VIR_ERR_RPC => ErrorKind::Protocol,
        _ => ErrorKind::Backend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::Effect;
    use std::sync::Arc;
    use std::time::Duration;

    fn libvirt(code: u32, domain: u32, message: &str) -> LibvirtError {
        let mut error = LibvirtError::internal(message);
        (error.code, error.domain) = (code, domain);
        error
    }

    #[test]
    fn the_table_holds_for_messages_as_libvirt_writes_them() {
        use ErrorKind as K;
        let rpc = sys::VIR_FROM_RPC;
        let qemu = sys::VIR_FROM_QEMU;
        for (code, domain, message, wanted) in [
            (42, qemu, "Domain not found: no domain with matching name 'x'", K::NotFound),
            (
                9,
                sys::VIR_FROM_DOMAIN,
                "operation failed: domain 'x' already exists with uuid 1",
                K::AlreadyExists,
            ),
            (90, sys::VIR_FROM_STORAGE, "storage volume 'x' exists already", K::AlreadyExists),
            (55, qemu, "Requested operation is not valid: domain is already running", K::InvalidState),
            (55, qemu, "Requested operation is not valid: domain moment a already exists", K::AlreadyExists),
            (
                3,
                sys::VIR_FROM_TEST,
                "this function is not supported by the connection driver: virX",
                K::Unsupported,
            ),
            (8, sys::VIR_FROM_TEST, "unsupported flags (0x10) in function testX", K::Unsupported),
            (
                67,
                qemu,
                "unsupported configuration: revert to external snapshot not supported yet",
                K::Unsupported,
            ),
            (74, qemu, "argument unsupported: QEMU guest agent is not configured", K::AgentUnavailable),
            (
                86,
                qemu,
                "Guest agent is not responding: QEMU guest agent is not connected",
                K::AgentUnavailable,
            ),
            (38, rpc, "Cannot recv data: Connection reset by peer", K::Transport),
            // Our own daemon lives, and has told us of that of the storage.
            (
                38,
                rpc,
                "Failed to connect socket to '/run/libvirt/virtstoraged-sock': No such file",
                K::HostUnreachable,
            ),
            (1, sys::VIR_FROM_RPC, "internal error: client socket is closed", K::Transport),
            (38, sys::VIR_FROM_STORAGE, "cannot write to x: No space left on device", K::Exhausted),
            (45, rpc, "authentication failed", K::Unauthenticated),
            (
                29,
                sys::VIR_FROM_DOMAIN,
                "operation virDomainCreate forbidden for read only access",
                K::PermissionDenied,
            ),
            (68, qemu, "Timed out during operation: cannot acquire state change lock (held by x)", K::Locked),
            (1, sys::VIR_FROM_NETWORK, "internal error: bridge name 'virbr0' already in use.", K::Conflict),
            (27, sys::VIR_FROM_XML, "XML error: unknown disk bus", K::InvalidInput),
            (1, qemu, "internal error: process exited while connecting to monitor", K::Backend),
        ] {
            let error = Error::from(Fail::from(libvirt(code, domain, message)));
            assert_eq!(error.kind(), wanted, "{message}");
            assert_eq!(error.message(), message);
            assert_eq!(error.code(), Some(code.to_string().as_str()));
        }
    }

    #[test]
    fn it_is_known_whether_the_call_was_sent() {
        let lost = libvirt(38, sys::VIR_FROM_RPC, "Cannot recv data: Connection reset by peer");
        assert_eq!(Error::from(Fail::from(lost)).retry(), Retry::IfIdempotent);
        let closed = libvirt(1, sys::VIR_FROM_RPC, "internal error: client socket is closed");
        assert_eq!(Error::from(Fail::from(closed)).retry(), Retry::Safe);
        for message in ["received hangup event on socket", "connection closed due to keepalive timeout"] {
            let gone = libvirt(1, sys::VIR_FROM_RPC, &format!("internal error: {message}"));
            let gone = Error::from(Fail::from(gone));
            assert_eq!((gone.kind(), gone.retry()), (ErrorKind::Transport, Retry::IfIdempotent), "{message}");
        }
        let refused = libvirt(38, sys::VIR_FROM_RPC, "Failed to connect socket: Connection refused");
        let open = Error::from(Failure::Open(Arc::new(Fail::from(refused))));
        assert_eq!((open.kind(), open.effect()), (ErrorKind::Connect, Effect::None));
        let limit = Duration::from_secs(1);
        assert_eq!(Error::from(Failure::<Fail>::CallTimeout(limit)).effect(), Effect::Unknown);
        assert_eq!(Error::from(Failure::<Fail>::QueueTimeout(limit)).effect(), Effect::None);
        assert_eq!(Error::from(Failure::<Fail>::OpenTimeout(limit)).retry(), Retry::Safe);
    }

    #[test]
    fn the_source_is_libvirts_error() {
        use std::error::Error as _;
        let error = Error::from(Fail::from(libvirt(42, 10, "gone")));
        let source = error.source().unwrap().downcast_ref::<LibvirtError>().unwrap();
        assert_eq!(source.code, 42);
    }
}
