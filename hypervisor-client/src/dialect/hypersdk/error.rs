//! What the daemon refuses, in the SDK's words. Its status is mostly 500, with what `virsh` wrote; the text decides.

use hypervisor_core::http::Response;
use hypervisor_core::{Effect, Error, ErrorKind, Retry};

/// The objects that a call is about, the most important first: a noun and an id.
pub(crate) type About = Vec<(&'static str, String)>;

/// Parts of what `virsh`, `virt-clone` and the daemon write, in lower case; the first that fits decides. With the noun of what is
/// missing or there already.
const TEXTS: &[(&str, ErrorKind, Option<&str>)] = {
    use ErrorKind as K;
    &[
        ("no domain snapshot with matching name", K::NotFound, Some("snapshot")),
        ("domain snapshot not found", K::NotFound, Some("snapshot")),
        ("failed to get pool", K::NotFound, Some("pool")),
        ("storage pool not found", K::NotFound, Some("pool")),
        ("no storage pool with matching", K::NotFound, Some("pool")),
        ("failed to get vol", K::NotFound, Some("volume")),
        ("storage volume not found", K::NotFound, Some("volume")),
        ("no storage vol with matching", K::NotFound, Some("volume")),
        ("volume not found", K::NotFound, Some("volume")),
        ("network not found", K::NotFound, Some("network")),
        ("failed to get network", K::NotFound, Some("network")),
        ("no network with matching", K::NotFound, Some("network")),
        ("no interface with mac address", K::NotFound, Some("nic")),
        ("no interface found", K::NotFound, Some("nic")),
        ("failed to get domain", K::NotFound, Some("vm")),
        ("no domain with matching", K::NotFound, Some("vm")),
        ("domain not found", K::NotFound, Some("vm")),
        ("' was not found", K::NotFound, Some("vm")),
        ("backup not found", K::NotFound, Some("backup")),
        ("iso file not found", K::NotFound, Some("iso")),
        ("schedule not found", K::NotFound, Some("schedule")),
        ("scheduled job not found", K::NotFound, Some("schedule")),
        ("job not found", K::NotFound, Some("task")),
        ("in use by interface", K::Conflict, None),
        ("already exists", K::AlreadyExists, None),
        ("exists already", K::AlreadyExists, None),
        ("is already in use", K::AlreadyExists, None),
        ("onto existing storage", K::AlreadyExists, None),
        ("already in use", K::Conflict, None),
        ("cannot acquire state change lock", K::Locked, None),
        ("already active", K::InvalidState, None),
        ("already running", K::InvalidState, None),
        ("already paused", K::InvalidState, None),
        ("not running", K::InvalidState, None),
        ("not active", K::InvalidState, None),
        ("must be shutoff", K::InvalidState, None),
        ("must be shut off", K::InvalidState, None),
        ("cannot be cancelled", K::InvalidState, None),
        ("cannot undefine domain", K::InvalidState, None),
        ("cannot delete inactive domain", K::InvalidState, None),
        ("revert requires force", K::InvalidState, None),
        ("internal snapshot", K::InvalidState, None),
        ("requested operation is not valid", K::InvalidState, None),
        ("no space left", K::Exhausted, None),
        ("insufficient disk space", K::Exhausted, None),
        ("not enough free space", K::Exhausted, None),
        ("cannot allocate memory", K::Exhausted, None),
        ("value too large", K::Exhausted, None),
        ("failed to connect socket", K::HostUnreachable, None),
        ("failed to connect to the hypervisor", K::HostUnreachable, None),
        ("cannot recv data", K::HostUnreachable, None),
        ("authentication failed", K::PermissionDenied, None),
        ("permission denied", K::PermissionDenied, None),
        ("argument unsupported", K::Unsupported, None),
        ("operation not supported", K::Unsupported, None),
        ("this function is not supported", K::Unsupported, None),
        ("unsupported configuration", K::Unsupported, None),
        ("can't shrink capacity below existing allocation", K::InvalidInput, None),
        ("unsupported algorithm", K::InvalidInput, None),
        ("xml error", K::InvalidInput, None),
        ("invalid cron schedule", K::InvalidInput, None),
        ("failed to reschedule job", K::InvalidInput, None),
        ("invalid argument", K::InvalidInput, None),
        ("not enabled", K::Unsupported, None),
    ]
};

/// Kind and noun of what a tool on the daemon's host wrote.
fn read(text: &str) -> Option<(ErrorKind, Option<&'static str>)> {
    let text = text.to_lowercase();
    TEXTS.iter().find(|(part, ..)| text.contains(part)).map(|(_, kind, noun)| (*kind, *noun))
}

/// The error of an answer whose status is none of success. `path` is the one that was asked for.
pub(crate) fn of(response: &Response, path: &str, about: &About) -> Error {
    let plain = response.error();
    let unknown_path = response.status() == 404 && !response.is_json();
    if unknown_path || response.status() == 405 {
        return same(
            &plain,
            Error::new(ErrorKind::Unsupported, format!("this server does not serve {path}")),
        )
        .with_effect(Effect::None);
    }
    let Some((kind, noun)) = read(&response.message()) else {
        return targeted(plain, about, None);
    };
    let error = Error::new(kind, plain.message());
    let error =
        if kind == ErrorKind::InvalidInput { plain.fields().iter().fold(error, field) } else { error };
    targeted(same(&plain, error), about, noun)
}

fn field(error: Error, (name, why): (&String, &String)) -> Error {
    error.with_field(name, why)
}

/// The error of one item of a batch, which has no status.
pub(crate) fn of_item(text: &str, about: &About) -> Error {
    let (kind, noun) = read(text).unwrap_or((ErrorKind::Backend, None));
    targeted(Error::new(kind, text.trim()), about, noun)
}

/// What the plain error knows beside kind and message.
fn same(plain: &Error, error: Error) -> Error {
    let error = plain.code().into_iter().fold(error, Error::with_code);
    let error = plain.operation().into_iter().fold(error, Error::with_operation);
    plain.request_id().into_iter().fold(error, Error::with_request_id)
}

fn targeted(error: Error, about: &About, noun: Option<&str>) -> Error {
    let named = match noun {
        Some(noun) => about.iter().find(|(each, _)| *each == noun),
        None => about.first(),
    };
    match (named, noun) {
        (Some((noun, id)), _) => error.with_target(noun, id),
        (None, Some(noun)) => {
            let quoted = error.message().split('\'').nth(1).map(str::to_owned);
            quoted.into_iter().fold(error, |error, id| error.with_target(noun, id))
        }
        (None, None) => error,
    }
}

/// What a connection means that ended without an answer: the daemon gives up on its own answers after 30 s, while the work goes on.
pub(crate) fn without_answer(error: Error, writes: bool) -> Error {
    if writes && matches!(error.kind(), ErrorKind::Transport | ErrorKind::Timeout) {
        return error.with_retry(Retry::IfIdempotent).with_hint(
            "hypervisord closes a connection after 30 s, or when it fails itself, and may go on with the work; look before you repeat the call",
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_write_is_known() {
        use ErrorKind as K;
        for (text, kind, noun) in [
            ("failed to start domain: error: failed to get domain 'ghost'\n\n", K::NotFound, Some("vm")),
            ("failed to start domain: error: Domain is already active\n\n", K::InvalidState, None),
            ("error: Requested operation is not valid: domain is not running", K::InvalidState, None),
            (
                "Domain snapshot not found: no domain snapshot with matching name 'sX'",
                K::NotFound,
                Some("snapshot"),
            ),
            ("operation failed: domain moment s1 already exists", K::AlreadyExists, None),
            ("network 'vm-network' already exists with uuid e6545de3", K::AlreadyExists, None),
            ("XML error: Missing required address attribute in network 'bad'", K::InvalidInput, None),
            ("No interface with MAC address 52:54:00:00:00:00 was found", K::NotFound, Some("nic")),
            ("storage volume 'data-disk' exists already", K::AlreadyExists, None),
            (
                "failed to get vol 'imported'\nerror: Storage volume not found: no storage vol",
                K::NotFound,
                Some("volume"),
            ),
            ("ERROR    Domain to clone must be shutoff.", K::InvalidState, None),
            ("ERROR    Domain 'ghost' was not found.", K::NotFound, Some("vm")),
            ("error: failed to get pool 'nope'", K::NotFound, Some("pool")),
            ("Network is already in use by interface virbr0", K::Conflict, None),
            ("operation failed: bridge name 'virbr9' already in use.", K::Conflict, None),
            (
                "ERROR    Invalid name for new guest: Guest name 'x' is already in use.",
                K::AlreadyExists,
                None,
            ),
            (
                "unsupported configuration: internal snapshot for disk vda unsupported for storage type raw",
                K::InvalidState,
                None,
            ),
            ("job j cannot be cancelled (status: failed)", K::InvalidState, None),
            ("schedule not found: scheduled job not found: nope", K::NotFound, Some("schedule")),
        ] {
            assert_eq!(read(text), Some((kind, noun)), "{text}");
        }
        assert_eq!(read("failed to write XML: exit status 1"), None);
    }

    #[test]
    fn the_missing_object_is_named_and_not_the_one_that_was_to_be_made() {
        let about: About = vec![("snapshot", "s1".into()), ("vm", "ghost".into())];
        assert_eq!(of_item("error: failed to get domain 'ghost'", &about).target(), Some("vm `ghost`"));
        assert_eq!(of_item("domain moment s1 already exists", &about).target(), Some("snapshot `s1`"));
        let other = of_item("error: Network not found: no network with matching name 'lab'", &about);
        assert_eq!(other.target(), Some("network `lab`"));
    }
}
