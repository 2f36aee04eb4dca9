//! What a refusal means. The newer server chooses its codes by searching its own messages for words (a missing guest is
//! `HOST_NOT_FOUND`), and the older one has no codes at all, so that the innermost message decides and the code comes second.

use hypervisor_core::{ErrorKind, Retry};
use serde::Deserialize;
use serde_json::Value;

use super::lenient;

/// The newer generation's error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiError {
    #[serde(deserialize_with = "lenient::text")]
    code: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    message: Option<String>,
    details: Value,
}

/// What the server says is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) message: String,
    pub(crate) code: Option<String>,
}

impl Said {
    /// Reads the body of a refusal: JSON or text. Nothing where it is neither.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let error: ApiError = serde_json::from_slice(body).ok()?;
        let inner = match &error.details {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Object(details) => details.get("error").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        };
        let message = match (inner, error.message) {
            // The outer message only names the group that the inner one was put into.
            (Some(inner), Some(outer)) if error.details.is_string() => format!("{outer}: {inner}"),
            (Some(inner), _) => inner,
            (None, outer) => outer?,
        };
        Some(Self { message, code: error.code })
    }
}

/// What is missing or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The guest.
    Vm,
    /// The host.
    Host,
    /// Whatever the call was about.
    Target,
}

/// What Go and libvirt say of a connection that has broken.
const BROKEN: [&str; 9] = [
    "broken pipe",
    "connection reset",
    "connection refused",
    "use of closed network connection",
    "unexpected eof",
    ": eof",
    "i/o timeout",
    "client socket is closed",
    "cannot recv data",
];

impl Blame {
    /// What these words mean, and whose fault it is; nothing where the status has to decide.
    pub(crate) fn of(said: &Said, status: u16) -> Option<(ErrorKind, Blame, Option<Retry>)> {
        let text = said.message.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let found = |kind, blame| Some((kind, blame, None));
        if text.trim() == "404 page not found" {
            return found(ErrorKind::Unsupported, Self::Target);
        }
        // The server says of any look that failed that it could not find the guest; this one failed on the way to libvirt.
        if has(&BROKEN) && !has(&["failed to connect to host", "failed to dial"]) {
            // Nothing else was done yet.
            let safe = has(&["could not find vm"]).then_some(Retry::Safe);
            return Some((ErrorKind::HostUnreachable, Self::Host, Some(safe.unwrap_or(Retry::IfIdempotent))));
        }
        if has(&["could not find vm", "no domain with matching", "domain not found", "vm not found"])
            || (text.starts_with("vm ") && has(&[" not found on host "]))
        {
            return found(ErrorKind::NotFound, Self::Vm);
        }
        if has(&["could not find host", "host not found"]) {
            return found(ErrorKind::NotFound, Self::Host);
        }
        if has(&["not connected to host", "is not connected"]) {
            return found(ErrorKind::HostUnreachable, Self::Host);
        }
        if has(&["unsupported scheme"]) {
            return found(ErrorKind::InvalidInput, Self::Target);
        }
        if has(&["failed to connect to host", "failed to dial"]) {
            return found(ErrorKind::HostUnreachable, Self::Host);
        }
        if has(&["unique constraint", "already exists"]) {
            return found(ErrorKind::AlreadyExists, Self::Target);
        }
        if has(&[
            "already running",
            "is not running",
            "not valid: domain",
            "requested operation is not valid",
        ]) {
            return found(ErrorKind::InvalidState, Self::Vm);
        }
        if has(&["cannot acquire state change lock", "vm is busy"]) {
            return Some((ErrorKind::Locked, Self::Vm, Some(Retry::Safe)));
        }
        if has(&["no space left", "cannot allocate memory", "not enough free memory"]) {
            return found(ErrorKind::Exhausted, Self::Target);
        }
        if has(&["invalid state:", "invalid request body"]) {
            return found(ErrorKind::InvalidInput, Self::Target);
        }
        if has(&["record not found"]) {
            return found(ErrorKind::NotFound, Self::Target);
        }
        let kind = match said.code.as_deref()? {
            "VM_NOT_FOUND" => return found(ErrorKind::NotFound, Self::Vm),
            // Chosen for any message with the word "host" in it.
            "HOST_NOT_FOUND" | "NOT_FOUND" if status == 404 => ErrorKind::NotFound,
            "HOST_DISCONNECTED" => return found(ErrorKind::HostUnreachable, Self::Host),
            "VM_BUSY" => return Some((ErrorKind::Locked, Self::Vm, Some(Retry::Safe))),
            "VM_STATE_ERROR" => ErrorKind::InvalidState,
            "VALIDATION_ERROR" | "BAD_REQUEST" => ErrorKind::InvalidInput,
            "CONFLICT" => ErrorKind::Conflict,
            "UNAUTHORIZED" => ErrorKind::Unauthenticated,
            "FORBIDDEN" => ErrorKind::PermissionDenied,
            "RATE_LIMIT" => ErrorKind::RateLimited,
            "TIMEOUT" => ErrorKind::Timeout,
            _ => return None,
        };
        found(kind, Self::Target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str) -> Said {
        Said { message: message.to_owned(), code: None }
    }

    #[test]
    fn the_innermost_message_is_kept() {
        let said = Said::read(br#"{"code":"HOST_NOT_FOUND","message":"Host not found","details":{"error":"could not find VM 'ghost' on host 'kvmsrv': Domain not found","operation":"start_vm_ghost"},"timestamp":"t"}"#).unwrap();
        assert_eq!(said.message, "could not find VM 'ghost' on host 'kvmsrv': Domain not found");
        assert_eq!(said.code.as_deref(), Some("HOST_NOT_FOUND"));
        let said = Said::read(br#"{"code":"VALIDATION_ERROR","message":"Missing required fields","details":"VM name is required"}"#).unwrap();
        assert_eq!(said.message, "Missing required fields: VM name is required");
        assert_eq!(Said::read(b"Invalid request body"), None);
        assert_eq!(Said::read(b"[]"), None);
    }

    #[test]
    fn recorded_refusals_have_their_kind() {
        use ErrorKind::{AlreadyExists, HostUnreachable, InvalidInput, InvalidState, NotFound, Unsupported};
        for (message, kind, blame) in [
            ("404 page not found\n", Unsupported, Blame::Target),
            ("could not find VM ghost in database: record not found", NotFound, Blame::Vm),
            (
                "failed to get VM stats: could not find VM 'ghost' on host 'kvmsrv': Domain not found: no domain with matching name 'ghost'",
                NotFound,
                Blame::Vm,
            ),
            ("VM not found", NotFound, Blame::Vm),
            ("VM ghost not found on host kvmsrv", NotFound, Blame::Vm),
            ("could not find host ghost in database: record not found", NotFound, Blame::Host),
            ("not connected to host 'ghost'", HostUnreachable, Blame::Host),
            ("host kvmsrv is not connected", HostUnreachable, Blame::Host),
            (
                "failed to connect to host: failed to dial libvirt for host 'bad': unsupported scheme: foo",
                InvalidInput,
                Blame::Target,
            ),
            (
                "failed to connect to host: failed to dial libvirt for host 'bad2': dial tcp 127.0.0.1:1: connect: connection refused",
                HostUnreachable,
                Blame::Host,
            ),
            (
                "failed to save host to database: UNIQUE constraint failed: hosts.id",
                AlreadyExists,
                Blame::Target,
            ),
            ("VM with name new-01 already exists on host kvmsrv", AlreadyExists, Blame::Target),
            (
                "libvirt start failed for db-01: Requested operation is not valid: domain is already running",
                InvalidState,
                Blame::Vm,
            ),
            ("Requested operation is not valid: domain is not running", InvalidState, Blame::Vm),
            ("volume not found: record not found", NotFound, Blame::Target),
            ("invalid state: FROB", InvalidInput, Blame::Target),
        ] {
            let (found, whose, _) = Blame::of(&text(message), 500).unwrap_or_else(|| panic!("{message}"));
            assert_eq!((found, whose), (kind, blame), "{message}");
        }
        assert_eq!(Blame::of(&text("something else"), 500), None);
    }

    #[test]
    fn a_guest_that_could_not_be_looked_up_is_not_taken_for_one_that_is_gone() {
        let broken = "write unix @->/run/libvirt/libvirt-sock: write: broken pipe";
        for (message, retry) in [
            (format!("could not find VM 'web-01' on host 'kvmsrv': {broken}"), Retry::Safe),
            ("could not find VM 'web-01' on host 'kvmsrv': EOF".to_owned(), Retry::Safe),
            (format!("libvirt start failed for web-01: {broken}"), Retry::IfIdempotent),
        ] {
            let found = Blame::of(&text(&message), 500);
            assert_eq!(found, Some((ErrorKind::HostUnreachable, Blame::Host, Some(retry))), "{message}");
        }
    }
}
