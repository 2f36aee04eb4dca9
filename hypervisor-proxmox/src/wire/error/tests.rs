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
