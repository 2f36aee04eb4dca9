//! Errors, in words and as exit codes.

use std::time::Duration;

use hypervisor::memory::{FaultPlan, Memory};
use hypervisor::model::Capabilities;
use hypervisor::{ErrorKind, Operation};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{Bench, paused, slow};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("an_error_says_what_to_do", an_error_says_what_to_do),
        paused("an_error_as_json", an_error_as_json),
        paused("every_line_of_errors_is_json_where_asked_for", all_errors_as_json),
        paused("each_sort_of_failure_has_its_code", each_sort_of_failure_has_its_code),
        paused("a_failed_task_shows_its_log", a_failed_task_shows_its_log),
        paused("a_wait_that_is_over_names_the_task", a_wait_that_is_over_names_the_task),
    ]
}

async fn an_error_says_what_to_do() {
    let bench = Bench::new(slow());
    let err = bench.hv(&["show", "nobody"]).await.bad(3);
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], "error: list_vms: vm `nobody`: not found");
    assert_eq!(lines[1], "  effect  nothing was changed");
    assert_eq!(lines[2], format!("  to do   {}", ErrorKind::NotFound.remedy()));
    let err = bench.hv(&["create", "a", "--cpus", "0"]).await.bad(2);
    assert!(err.contains("  field   cpus: "), "{err}");
}

async fn an_error_as_json() {
    let bench = Bench::new(slow());
    let err = bench.hv(&["show", "nobody", "--json"]).await.bad(3);
    let json: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((&json["error"]["kind"], &json["exit_code"]), (&"not_found".into(), &3.into()));
}

async fn all_errors_as_json() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "a"]).await.good();
    let memory = slow().build();
    let apart = Bench::on(std::sync::Arc::new(memory.clone()));
    memory.set_reachable(&"host-2".into(), false).unwrap();
    let mut sure = Bench::new(slow());
    sure.input = "no\n";
    sure.hv(&["create", "a"]).await.good();
    for (bench, args, code, what) in [
        (&bench, &["frobnicate", "--json"][..], 2, "frobnicate"),
        (&bench, &["--json", "create"], 2, "NAME"),
        (&bench, &["list", "--json", "--state", "odd"], 2, "odd"),
        (&bench, &["create", "b", "--cpus", "0", "--json"], 2, "cpus"),
        (&bench, &["delete", "a", "--with-disks", "--json"], 2, "--yes"),
        (&bench, &["start", "a", "nobody", "--json"], 3, "nobody"),
        (&apart, &["list", "--json"], 12, "host-2"),
    ] {
        let err = bench.hv(args).await.bad(code);
        assert!(err.contains(what), "{args:?}: {err}");
        for line in err.lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{args:?}: {error}: {line}"));
            let told = &line["exit_code"];
            assert!(line["note"].is_string() || *told == code, "{args:?}: {line}");
        }
    }
    // What is asked is for people; what comes of it is not.
    let asked = sure.hv(&["delete", "a", "--with-disks", "--json"]).await.bad(1);
    assert!(asked.ends_with("{\"note\":\"nothing was deleted\"}\n"), "{asked}");
    // What follows `--` is the guest's.
    assert!(!bench.hv(&["exec", "--", "x", "--json"]).await.bad(2).starts_with('{'));
}

async fn each_sort_of_failure_has_its_code() {
    use ErrorKind as K;
    for (kind, code) in [
        (K::NotFound, 3),
        (K::AlreadyExists, 4),
        (K::Conflict, 4),
        (K::Locked, 4),
        (K::InvalidState, 4),
        (K::InvalidInput, 2),
        (K::Config, 2),
        (K::Connect, 5),
        (K::HostUnreachable, 5),
        (K::AgentUnavailable, 5),
        (K::Unauthenticated, 6),
        (K::PermissionDenied, 6),
        (K::Exhausted, 11),
        (K::RateLimited, 11),
    ] {
        let plan = FaultPlan::new().fail(Operation::CreateVm, 1, kind);
        let ran = Bench::new(Memory::builder().faults(plan)).hv(&["create", "a"]).await;
        assert_eq!(ran.code, code, "{kind}: {ran:?}");
        assert!(ran.err.contains("nothing was changed"), "{kind}: {ran:?}");
    }
    for kind in [K::Transport, K::Timeout, K::Protocol] {
        let plan = FaultPlan::new().lose_answer(Operation::CreateVm, 1, kind);
        let ran = Bench::new(Memory::builder().faults(plan)).hv(&["create", "a"]).await;
        assert_eq!(ran.code, 9, "{kind}: {ran:?}");
        assert!(ran.err.contains("it may have had an effect"), "{kind}: {ran:?}");
    }
    // A list changes nothing, however it fails.
    let plan = FaultPlan::new().lose_answer(Operation::ListVms, 1, K::Timeout);
    Bench::new(Memory::builder().faults(plan)).hv(&["list"]).await.bad(7);
    let little = Capabilities::new().native([Operation::ListVms, Operation::GetVm, Operation::GetTask]);
    Bench::new(Memory::builder().capabilities(little)).hv(&["hosts"]).await.bad(10);
}

async fn a_failed_task_shows_its_log() {
    let plan = FaultPlan::new().fail_task(Operation::CloneVm, 1, "the disk is on fire");
    let bench = Bench::new(slow().faults(plan));
    bench.hv(&["create", "a"]).await.good();
    let err = bench.hv(&["clone", "a", "b"]).await.bad(8);
    assert!(
        err.contains("the disk is on fire") && err.contains("  log  ") && err.contains("  task "),
        "{err}"
    );
}

async fn a_wait_that_is_over_names_the_task() {
    let bench = Bench::new(Memory::builder().task_time(Duration::from_secs(3600)));
    bench.hv(&["create", "a"]).await.good();
    let err = bench.hv(&["clone", "a", "b", "--wait", "--deadline", "5m"]).await.bad(7);
    let task = err.lines().find_map(|line| line.strip_prefix("  task    ")).unwrap();
    let log = bench.hv(&["tasks", "log", task, "--deadline", "2h"]).await.good();
    assert!(!log.is_empty());
    assert_eq!(bench.hv(&["tasks", "follow", task]).await.good(), format!("{task}: done\n"));
    assert!(bench.hv(&["tasks", "--running"]).await.good().lines().count() == 1);
    bench.hv(&["tasks", "cancel", task]).await.bad(4);
    bench.hv(&["list"]).await.good().find("\nb ").expect("the copy is there");
}
