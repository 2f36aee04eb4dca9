use super::*;
use proptest::prelude::*;

fn server(message: &str) -> Error {
    let body = serde_json::json!({ "data": null, "message": format!("{message}\n") }).to_string();
    classify(&Reply::new(500, message, body.as_bytes()))
}

#[test]
fn the_reason_phrase_counts_where_the_body_has_no_message() {
    for body in [&b""[..], br#"{"data":null}"#, b"<html>", b"[1]"] {
        let error = classify(&Reply::new(500, "storage 'x' does not exist", body));
        assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("pool `x`")));
        assert_eq!(error.message(), "storage 'x' does not exist");
        assert_eq!((error.code(), error.backend()), (Some("500"), Some("proxmox")));
    }
}

#[test]
fn locks_say_who_holds_them() {
    let error = server("VM is locked (backup)");
    assert_eq!((error.kind(), error.retry(), error.effect()), (ErrorKind::Locked, Retry::Safe, Effect::None));
    assert!(error.hint().unwrap().contains("`backup`"));
    let error = server("can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Locked, Retry::Safe));
    assert_eq!(server("cfs-lock 'storage-nfs' error: got lock request timeout").kind(), ErrorKind::Locked);
    assert_eq!(server("CT is locked (snapshot-delete)").kind(), ErrorKind::Locked);
    assert_eq!(server("VM is locked (suspended)").retry(), Retry::Never);
}

#[test]
fn a_permission_error_names_privilege_and_path() {
    let text = "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)";
    let error = classify(&Reply::new(403, text, b""));
    assert!(error.hint().unwrap().contains("Datastore.Audit or Datastore.AllocateSpace on /storage/local"));
    let error = classify(&Reply::new(
        403,
        "Permission check failed (URI '/access/password' not available with API token, need proper ticket.",
        b"",
    ));
    assert!(error.hint().unwrap().contains("log in"));
    assert!(classify(&Reply::new(403, "Permission check failed", b"")).hint().is_some());
    assert_eq!(server("only root can set 'lock' config").kind(), ErrorKind::PermissionDenied);
}

#[test]
fn every_wrong_parameter_is_a_field() {
    let body = br#"{"data":null,"message":"Parameter verification failed.\n","errors":{"cores":"value must have a minimum value of 1\n","bogus":"no"}}"#;
    let error = classify(&Reply::new(400, "Parameter verification failed.", body));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.fields()["cores"], "value must have a minimum value of 1");
    assert_eq!(error.fields()["bogus"], "no");
    assert!(error.message().contains("cores: value must"));
}

#[test]
fn some_bad_parameters_are_no_mistakes_of_the_caller() {
    let with = |field: &str, why: &str| {
        let body = serde_json::json!({ "errors": { field: why } }).to_string();
        classify(&Reply::new(400, "Parameter verification failed.", body.as_bytes()))
    };
    assert_eq!(with("vmid", "VM 100 already exists").kind(), ErrorKind::AlreadyExists);
    assert_eq!(with("upid", "no such task").kind(), ErrorKind::NotFound);
    assert_eq!(with("skiplock", "Only root may use this option.").kind(), ErrorKind::PermissionDenied);
    let unplug = with("scsi1", "hotplug problem - error on hot-unplugging device 'virtioscsi1'\n");
    assert_eq!(
        (unplug.kind(), unplug.effect(), unplug.retry()),
        (ErrorKind::Timeout, Effect::Partial, Retry::Never)
    );
    let plug = with("memory", "hotplug problem - memory size must be aligned to 128\n");
    assert_eq!((plug.kind(), plug.effect()), (ErrorKind::InvalidState, Effect::Partial));
    assert_eq!(with("vmid", "invalid format").kind(), ErrorKind::InvalidInput);
    assert_eq!(with("iface", "interface already exists").kind(), ErrorKind::AlreadyExists);
    assert_eq!(with("iface", "interface does not exist").kind(), ErrorKind::NotFound);
    assert_eq!(with("iface", "invalid format").kind(), ErrorKind::InvalidInput);
}

#[test]
fn pseudo_codes_tell_what_was_sent() {
    let refused = classify(&Reply::new(595, "Connection refused", b""));
    assert_eq!((refused.kind(), refused.retry()), (ErrorKind::HostUnreachable, Retry::Safe));
    for status in [596, 597, 599] {
        let lost = classify(&Reply::new(status, "Connection timed out", b""));
        assert_eq!(
            (lost.kind(), lost.retry(), lost.effect()),
            (ErrorKind::HostUnreachable, Retry::IfIdempotent, Effect::Unknown)
        );
    }
}

#[test]
fn refusals_behind_status_200_are_seen() {
    let body = br#"{"success":0,"message":"Permission check failed (/nodes/pve1, Sys.Audit)\n","data":null,"status":"403"}"#;
    let reply = Reply::new(200, "OK", body);
    assert!(is_refusal(&reply));
    assert_eq!(classify(&reply).kind(), ErrorKind::PermissionDenied);
    assert!(!is_refusal(&Reply::new(200, "OK", br#"{"success":1,"data":[]}"#)));
    assert!(!is_refusal(&Reply::new(200, "OK", br#"{"data":null}"#)));
}

#[test]
fn a_failed_task_means_what_a_refused_call_means() {
    let error = task_failure("Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist");
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("vm `999`")));
    assert_eq!(task_failure("VM 100 already running").kind(), ErrorKind::InvalidState);
    assert_eq!(task_failure("received interrupt").kind(), ErrorKind::Cancelled);
    assert_eq!(task_failure("migration aborted").kind(), ErrorKind::TaskFailed);
    assert_eq!(task_failure("unexpected status").effect(), Effect::Unknown);
    let tool =
        task_failure("download failed: open3: exec of wget failed: No such file or directory at Tools.pm");
    assert_eq!(tool.kind(), ErrorKind::TaskFailed);
    let kvm = "KVM virtualisation configured, but not available. Either disable in VM configuration or enable in BIOS.";
    assert!(task_failure(kvm).hint().unwrap().contains("default.kvm=0"));
    assert!(task_failure("job errors").hint().unwrap().contains("ERROR:"));
    assert_eq!(task_failure("snapshot name 's1' already used").target(), Some("snapshot `s1`"));
}

proptest! {
    #[test]
    fn the_servers_words_are_never_lost(status in 400_u16..600, reason in "[^\\p{Cc}]{1,60}") {
        let error = classify(&Reply::new(status, &reason, b""));
        prop_assert_eq!(error.message(), reason.trim());
    }

    #[test]
    fn no_body_panics(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = classify(&Reply::new(status, "", &body));
    }
}

/// Each class of the refusals that a real server was recorded with: kind, whether to repeat, the object, the field; the message is always the
/// server's own.
#[test]
fn every_recorded_class_has_its_meaning() {
    use ErrorKind as K;
    let never = Retry::Never;
    let table = [
        (
            500,
            "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
            K::NotFound,
            never,
            Some("vm `999`"),
        ),
        (
            500,
            "Configuration file 'nodes/pve1/lxc/200.conf' does not exist",
            K::NotFound,
            never,
            Some("vm `200`"),
        ),
        (500, "unable to find configuration file for VM 101", K::NotFound, never, Some("vm `101`")),
        (500, "storage 'none' does not exist", K::NotFound, never, Some("pool `none`")),
        (
            500,
            "delete storage failed: storage 'data' does not exist",
            K::NotFound,
            never,
            Some("pool `data`"),
        ),
        (500, "pool 'none' does not exist", K::NotFound, never, Some("group `none`")),
        (500, "snapshot 'none' does not exist", K::NotFound, never, Some("snapshot `none`")),
        (500, "no such cluster node 'pve7'", K::NotFound, never, Some("host `pve7`")),
        (
            500,
            "hostname lookup 'pve3' failed - failed to get address info for: pve3: Name or service not known",
            K::NotFound,
            never,
            Some("host `pve3`"),
        ),
        (
            500,
            "unable to create VM 100 - VM 100 already exists on node 'pve1'",
            K::AlreadyExists,
            never,
            Some("vm `100`"),
        ),
        (
            500,
            "unable to create VM 111: config file already exists",
            K::AlreadyExists,
            never,
            Some("vm `111`"),
        ),
        (
            500,
            "create storage failed: storage ID 'data' already defined",
            K::AlreadyExists,
            never,
            Some("pool `data`"),
        ),
        (500, "snapshot name 's1' already used", K::AlreadyExists, never, Some("snapshot `s1`")),
        (
            500,
            "create user failed: user 'alice@pve' already exists",
            K::AlreadyExists,
            never,
            Some("user `alice@pve`"),
        ),
        (500, "VM is locked (backup)", K::Locked, Retry::Safe, None),
        (500, "CT is locked (snapshot)", K::Locked, Retry::Safe, None),
        (
            500,
            "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout",
            K::Locked,
            Retry::Safe,
            None,
        ),
        (500, "checksum mismatch (file change by other user?)", K::Conflict, never, None),
        (
            500,
            "detected modified configuration - file changed by other user? Try again.",
            K::Conflict,
            never,
            None,
        ),
        (500, "VM 101 not running", K::InvalidState, never, Some("vm `101`")),
        (500, "CT 200 not running", K::InvalidState, never, Some("vm `200`")),
        (500, "VM 100 is running - destroy failed", K::InvalidState, never, Some("vm `100`")),
        (500, "you can't start a vm if it's a template", K::InvalidState, never, None),
        (500, "can't remove VM 101 - protection mode enabled", K::InvalidState, never, None),
        (
            500,
            "base volume 'local:110/base-110-disk-0.raw' is still in use by linked cloned",
            K::InvalidState,
            never,
            Some("volume `local:110/base-110-disk-0.raw`"),
        ),
        (
            500,
            "delete pool failed: pool 'prod' is not empty (contains VM 100)",
            K::InvalidState,
            never,
            Some("group `prod`"),
        ),
        (500, "no spice port", K::InvalidState, never, None),
        (500, "cluster not ready - no quorum?", K::InvalidState, never, None),
        (
            500,
            "generating token failed: cfs-lock 'file-user_cfg' error: no quorum!",
            K::InvalidState,
            never,
            None,
        ),
        (
            500,
            "unable to open file '/etc/pve/nodes/pve1/qemu-server/101.conf.tmp.2016' - Permission denied",
            K::InvalidState,
            never,
            None,
        ),
        (
            500,
            "No QEMU guest agent configured",
            K::AgentUnavailable,
            Error::new(K::AgentUnavailable, "").retry(),
            None,
        ),
        (
            500,
            "QEMU guest agent is not running",
            K::AgentUnavailable,
            Error::new(K::AgentUnavailable, "").retry(),
            None,
        ),
        (
            500,
            "Linked clone feature is not supported for 'local:100/vm-100-disk-0.qcow2' (scsi0)",
            K::Unsupported,
            never,
            None,
        ),
        (500, "snapshot feature is not available", K::Unsupported, never, None),
        (500, "can't clone VM to node 'pve2' (VM uses local storage)", K::Unsupported, never, None),
        (500, "only root can set 'lock' config", K::PermissionDenied, never, None),
        (403, "Permission check failed (/vms/100, VM.Audit)", K::PermissionDenied, never, None),
        (403, "Permission check failed", K::PermissionDenied, never, None),
        (401, "No ticket", K::Unauthenticated, never, None),
        (401, "authentication failure", K::Unauthenticated, never, None),
        (401, "permission denied - invalid PVE ticket", K::Unauthenticated, never, None),
        (401, "Permission denied - invalid csrf token", K::Unauthenticated, never, None),
        (401, "token 't1' access expired", K::Unauthenticated, never, None),
        (401, "user 'alice@pve' is disabled", K::Unauthenticated, never, None),
        (501, "Method 'GET /nope' not implemented", K::Unsupported, never, None),
        (501, "chunked transfer encoding not supported", K::Unsupported, never, None),
        (501, "Unexpected content for method 'DELETE'", K::Unsupported, never, None),
        (501, "for data too large", K::InvalidInput, never, None),
        (506, "upload 'Content-Type 'text/plain' not implemented", K::Unsupported, never, None),
        (595, "Connection refused", K::HostUnreachable, Retry::Safe, None),
        (595, "No route to host", K::HostUnreachable, Retry::Safe, None),
        (596, "Connection timed out", K::HostUnreachable, Retry::IfIdempotent, None),
        (599, "Too many redirections", K::HostUnreachable, Retry::IfIdempotent, None),
    ];
    for (status, text, kind, retry, target) in table {
        // Once with the message in the body, once in the status line alone, as older releases answer.
        let body = serde_json::json!({ "data": null, "message": format!("{text}\n") }).to_string();
        for body in [body.as_bytes(), b""] {
            let error = classify(&Reply::new(status, text, body));
            assert_eq!((error.kind(), error.retry(), error.target()), (kind, retry, target), "{text}");
            assert_eq!((error.message(), error.code()), (text, Some(status.to_string().as_str())));
        }
    }
    let fields = [
        (500, "unable to use snapshot name 'current' (reserved name)", "snapname"),
        (500, "missing value for required option 'path'", "path"),
        (500, "unable to parse value of 'cores' - got undefined value", "cores"),
        (
            500,
            "wrong field name 'file' for file upload, expected 'filename' at AnyEvent.pm line 1322.",
            "filename",
        ),
    ];
    for (status, text, field) in fields {
        let error = classify(&Reply::new(status, text, b""));
        assert_eq!(error.kind(), K::InvalidInput, "{text}");
        assert!(error.fields().contains_key(field), "{text}: {:?}", error.fields());
    }
}
