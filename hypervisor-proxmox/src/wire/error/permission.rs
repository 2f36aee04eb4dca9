//! Refusals for want of a privilege, with the privilege and the path in the hint.

use hypervisor_core::{Error, ErrorKind};

pub(super) fn denied(message: &str) -> Error {
    let error = Error::new(ErrorKind::PermissionDenied, message);
    if message.contains("not available with API token") {
        return error.with_hint("an API token cannot do this: log in with user and password");
    }
    if message.contains("user != root@pam") {
        return root_only(message);
    }
    match wanted(message) {
        Some((path, privilege)) => error.with_hint(format!(
            "grant {privilege} on {path}; a token with privilege separation needs it for itself and for its user"
        )),
        None => error.with_hint("the user lacks a privilege that the server does not name; look at the permissions of the guest, the storage, the bridge and the pool"),
    }
}

pub(super) fn root_only(message: &str) -> Error {
    Error::new(ErrorKind::PermissionDenied, message)
        .with_hint("only root@pam with its password can do this; not even a token of root@pam can")
}

/// The path and the privileges in `Permission check failed (/vms/100, VM.Audit|VM.Console)`.
fn wanted(message: &str) -> Option<(String, String)> {
    let (_, inner) = message.split_once('(')?;
    let (path, privileges) = inner.trim_end().strip_suffix(')')?.split_once(", ")?;
    path.starts_with('/').then(|| (path.to_owned(), privileges.replace('|', " or ")))
}
