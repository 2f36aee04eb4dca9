//! What a refusal means.
//!
//! Proxmox answers nearly everything with status 500, so the meaning is in the text: the body's `message`, or on older
//! servers only the reason phrase. The same table reads how a task ended.

mod permission;
mod texts;

use std::collections::BTreeMap;

use hypervisor_core::{Effect, Error, ErrorKind, Retry};
use serde::Deserialize;
use serde_json::Value;

use super::scalar::{soft, text_of};
pub use texts::{Meaning, meaning};

/// A refusal as it came from the server.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The reason phrase of the status line.
    pub reason: &'a str,
    /// The body, which may be empty.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// This answer.
    #[must_use]
    pub fn new(status: u16, reason: &'a str, body: &'a [u8]) -> Self {
        Self { status, reason, body }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(deserialize_with = "soft")]
    message: Option<String>,
    errors: Value,
    #[serde(deserialize_with = "soft")]
    success: Option<bool>,
    #[serde(deserialize_with = "soft")]
    status: Option<u64>,
}

/// Whether the answer is a refusal. `/api2/extjs` hides them behind status 200.
#[must_use]
pub fn is_refusal(reply: &Reply<'_>) -> bool {
    reply.status >= 400 || (reply.status == 200 && body_of(reply.body).success == Some(false))
}

fn body_of(body: &[u8]) -> Body {
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if is_object { serde_json::from_slice(body).unwrap_or_default() } else { Body::default() }
}

/// The error for a refusal: its kind, whether to try again, the parameters, the server's words, and what to do.
///
/// ```
/// use hypervisor_core::ErrorKind;
/// use hypervisor_proxmox::wire::error::{Reply, classify};
/// let error = classify(&Reply::new(403, "Permission check failed (/vms/100, VM.Audit)", b""));
/// assert_eq!(error.kind(), ErrorKind::PermissionDenied);
/// assert!(error.hint().unwrap().contains("VM.Audit on /vms/100"));
/// ```
#[must_use]
pub fn classify(reply: &Reply<'_>) -> Error {
    let body = body_of(reply.body);
    let status = match body.status.and_then(|status| u16::try_from(status).ok()) {
        Some(status) if reply.status == 200 => status,
        _ => reply.status,
    };
    let message = body.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let message = message.unwrap_or(reply.reason.trim());
    let fields = fields_of(&body.errors);
    let error = match status {
        401 => unauthenticated(message),
        403 => permission::denied(message),
        400 if !fields.is_empty() => parameters(message, &fields),
        404 => Error::new(ErrorKind::NotFound, message),
        408 | 504 => Error::new(ErrorKind::Timeout, message),
        413 => Error::new(ErrorKind::InvalidInput, message),
        429 => Error::new(ErrorKind::RateLimited, message),
        501 | 506 => not_taken(message),
        502 | 503 => Error::new(ErrorKind::Transport, message)
            .with_hint("something between here and Proxmox answered in its place"),
        // 595: the node could not be connected to, so nothing has happened; the others come after it was.
        595 => Error::new(ErrorKind::HostUnreachable, message)
            .with_hint("the node, or the API daemon on it, does not answer; look whether it is up"),
        596..=599 => Error::new(ErrorKind::HostUnreachable, message).with_retry(Retry::IfIdempotent).with_hint(
            "the node stopped answering, and the call may have been carried out: look at the node's tasks",
        ),
        _ => by_text(message),
    };
    fields
        .into_iter()
        .fold(error, |error, (field, why)| error.with_field(field, why))
        .with_code(status.to_string())
        .with_backend(crate::BACKEND)
}

/// The error for a task that ended with this text. `TaskFailed` where the text says nothing more definite.
///
/// The caller adds the task, the tail of its log and the operation.
#[must_use]
pub fn task_failure(exit: &str) -> Error {
    let error = by_text(exit.trim());
    if error.kind() != ErrorKind::Backend {
        return error.with_backend(crate::BACKEND);
    }
    let failed = Error::new(ErrorKind::TaskFailed, exit.trim()).with_backend(crate::BACKEND);
    match exit.trim() {
        "unexpected status" => {
            failed.with_hint("the worker ended without a word: look at the object before acting again")
        }
        "job errors" => {
            failed.with_hint("the cause is in the lines of the task's log that begin with ERROR:")
        }
        text if text.contains("KVM virtualisation configured, but not available") => failed.with_hint(
            "the host has no KVM: make its machines with `kvm` = 0, for all of a connection by `machine_default` or `default.kvm=0` in \
             its URL",
        ),
        text if text.starts_with("download failed") => {
            failed.with_hint("the node could not fetch it: the task's log has the words of the tool")
        }
        _ => failed,
    }
}

fn by_text(message: &str) -> Error {
    let Meaning { kind, target, field, retry, hint, effect } = meaning(message);
    let mut error = Error::new(kind, message);
    if let Some((noun, id)) = target {
        error = error.with_target(&noun, id);
    }
    if let Some(field) = field {
        error = error.with_field(field, message);
    }
    if let Some(retry) = retry {
        error = error.with_retry(retry);
    }
    if let Some(hint) = hint {
        error = error.with_hint(hint);
    }
    effect.into_iter().fold(error, Error::with_effect)
}

fn fields_of(errors: &Value) -> BTreeMap<String, String> {
    let Value::Object(errors) = errors else { return BTreeMap::new() };
    let text = |why: &Value| text_of(why).unwrap_or_else(|| why.to_string());
    errors.iter().map(|(field, why)| (field.clone(), text(why).trim().to_owned())).collect()
}

/// A 400 names parameters, but some of what it says of them is no mistake of the caller's.
fn parameters(message: &str, fields: &BTreeMap<String, String>) -> Error {
    let said: Vec<String> = fields.iter().map(|(field, why)| format!("{field}: {why}")).collect();
    // The sentence says only that something is wrong; what it is is in the fields.
    let head = message.trim_end_matches('.');
    let text = format!("{head}: {}", said.join("; "));
    let has = |words: &str| fields.values().any(|why| why.contains(words));
    if has("error on hot-unplugging") {
        return Error::new(ErrorKind::Timeout, text)
            .with_retry(Retry::Never)
            .with_effect(Effect::Partial)
            .with_hint(
                "the system in the guest has not let the device go: it goes when the guest is powered off",
            );
    }
    if has("hotplug problem") {
        return Error::new(ErrorKind::InvalidState, text)
            .with_effect(Effect::Partial)
            .with_hint("the change is kept as pending: power the guest off and on, or revert it");
    }
    let only = if fields.len() == 1 { fields.iter().next() } else { None };
    match only {
        Some((field, why)) if field == "vmid" && why.contains("already exists") => by_text(why),
        Some((field, why))
            if field == "iface" && (why.contains("already exists") || why.contains("does not exist")) =>
        {
            by_text(why)
        }
        Some((field, why)) if field == "upid" && why.contains("no such task") => {
            Error::new(ErrorKind::NotFound, why)
                .with_hint("a task that was just started is known a moment later")
        }
        Some((_, why)) if why.contains("Only root may") => permission::root_only(why),
        _ => Error::new(ErrorKind::InvalidInput, text),
    }
}

fn unauthenticated(message: &str) -> Error {
    let hint = match message {
        text if text.contains("csrf") => {
            "a login ticket needs its CSRF token on every call that changes something"
        }
        text if text.contains("invalid PVE ticket") => {
            "the ticket has expired, or is half of a login with a second factor: log in again"
        }
        text if text.contains("access expired") => "the token or the user has passed its expiry date",
        text if text.contains("is disabled") => {
            "the user is disabled: enable it under Datacenter, Permissions, Users"
        }
        text if text.contains("token") => "check the token's id (user@realm!name) and its secret",
        text if text.contains("No ticket") => "no credentials were sent",
        _ => "the user, the realm, the password or the second factor is wrong; the server never says which",
    };
    Error::new(ErrorKind::Unauthenticated, message).with_hint(hint)
}

/// 501 and 506: nothing of the call was carried out.
fn not_taken(message: &str) -> Error {
    if message.contains("data too large") {
        return Error::new(ErrorKind::InvalidInput, message)
            .with_hint("the server takes at most 512 KiB in a call that is no upload");
    }
    let hint = if message.contains("not implemented") && message.starts_with("Method") {
        "this release of Proxmox does not have this call"
    } else {
        "the server does not take a request of this form; look for a proxy that rewrites it"
    };
    Error::new(ErrorKind::Unsupported, message).with_hint(hint)
}

#[cfg(test)]
mod tests;
