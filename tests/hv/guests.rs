//! A machine's life, command by command.

use std::sync::Arc;
use std::time::Duration;

use hypervisor::memory::Memory;
use hypervisor::model::DownloadVolume;
use hypervisor::{Hypervisor, VmQuery};
use libtest_mimic::Trial;

use crate::support::{Bench, paused, slow, timed};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("a_machine_lives_and_goes", a_machine_lives_and_goes),
        paused("several_are_powered_at_once", several_are_powered_at_once),
        paused("a_shutdown_is_waited_for", a_shutdown_is_waited_for),
        paused("nothing_is_deleted_without_a_yes", nothing_is_deleted_without_a_yes),
        paused("copies_by_the_dozen", copies_by_the_dozen),
        paused("a_spec_from_a_file", a_spec_from_a_file),
        paused("a_batch_has_one_outcome_a_line", a_batch_has_one_outcome_a_line),
        paused("a_change_says_what_waits", a_change_says_what_waits),
        paused("backups_are_made_listed_restored_and_deleted", backups),
        paused("a_command_runs_in_the_guest", a_command_runs_in_the_guest),
        timed("an_upload_arrives_whole", an_upload_arrives_whole),
        timed("events_come_as_they_happen", events_come_as_they_happen),
    ]
}

async fn a_machine_lives_and_goes() {
    let bench = Bench::new(slow());
    let made = bench.hv(&[
        "create",
        "web-1",
        "--cpus",
        "2",
        "--memory",
        "1GiB",
        "--disk",
        "4GiB",
        "--network",
        "default",
    ]);
    assert!(made.await.good().ends_with("): created\n"));
    assert_eq!(bench.hv(&["start", "web-1"]).await.good(), "web-1: started\n");
    let shown = bench.hv(&["show", "web-1"]).await.good();
    for part in ["web-1", "running", "1 GiB", "4 GiB", "network default"] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    bench.hv(&["snapshot", "create", "web-1", "clean", "--description", "as installed"]).await.good();
    bench.hv(&["snapshot", "create", "web-1", "later"]).await.good();
    let tree = bench.hv(&["snapshot", "list", "web-1"]).await.good();
    let names: Vec<&str> = tree.lines().map(|line| line.split("  2").next().unwrap().trim_end()).collect();
    assert_eq!(names[1..], ["clean", "  later *"], "{tree}");
    bench.hv(&["snapshot", "revert", "web-1", "clean"]).await.good();
    bench.hv(&["snapshot", "delete", "web-1", "later"]).await.good();
    assert_eq!(bench.hv(&["snapshot", "list", "web-1", "--json"]).await.json().as_array().unwrap().len(), 1);

    bench.hv(&["migrate", "web-1", "host-2", "--live"]).await.good();
    let moved = bench.hv(&["list", "--host", "host-2", "--json"]).await.json();
    assert_eq!(moved["items"][0]["name"], "web-1");
    bench.hv(&["pause", "web-1"]).await.good();
    bench.hv(&["resume", "web-1"]).await.good();
    bench.hv(&["power-off", "web-1"]).await.good();
    bench.hv(&["clone", "web-1", "web-2", "--snapshot", "clean"]).await.good();
    assert!(bench.hv(&["tasks"]).await.good().contains("clone_vm"));

    let refused = bench.hv(&["delete", "web-1", "--with-disks", "--yes"]).await.bad(4);
    assert!(refused.contains("nothing was changed"), "{refused}");
    bench.hv(&["delete", "web-1", "--with-disks", "--snapshots", "--yes"]).await.good();
    bench.hv(&["delete", "web-2", "--keep-disks", "--yes"]).await.good();
    assert!(bench.hv.vms().all(&VmQuery::all()).await.unwrap().is_empty());
    assert_eq!(bench.hv(&["volumes", "--json"]).await.json()["items"].as_array().unwrap().len(), 1);
}

async fn several_are_powered_at_once() {
    let bench = Bench::new(slow());
    for name in ["a", "b", "c"] {
        bench.hv(&["create", name]).await.good();
    }
    bench.hv(&["start", "b"]).await.good();
    let ran = bench.hv(&["start", "a", "b", "c"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (4, "a: started\nc: started\n"), "{ran:?}");
    assert!(ran.err.contains("it is running"), "{ran:?}");
    // A name that is wrong is found out before anything is begun.
    bench.hv(&["power-off", "a", "nobody"]).await.bad(3);
    assert!(bench.hv(&["list", "--state", "running"]).await.good().contains("\na "));
}

async fn a_shutdown_is_waited_for() {
    let bench = Bench::new(slow().guest_time(Duration::from_secs(20)));
    bench.hv(&["create", "a", "--start"]).await.good();
    assert_eq!(bench.hv(&["shutdown", "a"]).await.good(), "a: asked to power off\n");
    bench.hv(&["create", "b", "--start"]).await.good();
    assert_eq!(bench.hv(&["shutdown", "b", "--wait"]).await.good(), "b: shut down\n");
    let deaf = Bench::new(Memory::builder().guest_time(Duration::MAX));
    deaf.hv(&["create", "c", "--start"]).await.good();
    let late = deaf.hv(&["shutdown", "c", "--wait", "--deadline", "30s"]).await.bad(7);
    assert!(late.contains("last seen"), "{late}");
    deaf.hv(&["power-off", "c"]).await.good();
}

async fn nothing_is_deleted_without_a_yes() {
    let mut bench = Bench::new(slow());
    bench.hv(&["create", "web-1"]).await.good();
    let unasked = bench.hv(&["delete", "web-1", "--with-disks"]).await.bad(2);
    assert!(unasked.contains("--yes"), "{unasked}");
    bench.hv(&["delete", "web-1", "--yes"]).await.bad(2);
    for (input, gone) in [("\n", false), ("no\n", false), ("yes\n", true)] {
        bench.input = input;
        let ran = bench.hv(&["delete", "web-1", "--with-disks"]).await;
        assert!(ran.err.contains("Delete `web-1`") && ran.err.contains("with its disks"), "{ran:?}");
        assert_eq!(ran.code == 0, gone, "{input:?}: {ran:?}");
    }
    assert!(bench.hv.vms().all(&VmQuery::all()).await.unwrap().is_empty());
}

async fn copies_by_the_dozen() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "golden", "--disk", "1GiB"]).await.good();
    let made = bench.hv(&["clone", "golden", "web", "--count", "12", "--linked"]).await.good();
    assert_eq!(made.lines().count(), 12);
    assert!(made.starts_with("web-1 (") && made.lines().last().unwrap().starts_with("web-12 ("), "{made}");
}

async fn a_spec_from_a_file() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "golden", "--cpus", "3", "--tag", "db", "--serial"]).await.good();
    let config = bench.hv(&["show", "golden", "--json", "--full"]).await.json()["config"]["spec"].clone();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let spec: hypervisor::VmSpec = serde_json::from_value(config).unwrap();
    bench.hv(&["create", "copy", "--spec", path, "--memory", "2GiB"]).await.good();
    let copy = bench.hv.vms().by_name("copy").await.unwrap().config().await.unwrap().spec;
    assert_eq!((copy.cpus, copy.tags, copy.serial), (3, spec.tags, spec.serial));
    assert_eq!(copy.memory, hypervisor::ByteSize::gib(2));
    std::fs::write(file.path(), "{").unwrap();
    assert!(bench.hv(&["create", "--spec", path]).await.bad(2).contains(path));
}

async fn a_batch_has_one_outcome_a_line() {
    let bench = Bench::new(slow());
    for name in ["a", "b"] {
        bench.hv(&["create", name]).await.good();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let batch = r#"[
        {"power_vm": {"vm": "a", "action": "start"}},
        {"power_vm": {"vm": "b", "action": "pause"}},
        {"op": {"create_snapshot": {"vm": "b", "spec": {"name": "s"}}}, "after": [1]},
        {"create_vm": {"name": "c", "cpus": 1, "memory": 536870912}}
    ]"#;
    std::fs::write(file.path(), batch).unwrap();
    let ran = bench.hv(&["batch", path]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    let words: Vec<&str> = ran.out.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(words, ["done", "failed", "skipped", "done"], "{ran:?}");
    let lines = bench.hv(&["batch", path, "--json"]).await;
    let items: Vec<serde_json::Value> =
        lines.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.len(), 4);
    assert_eq!(items[1]["outcome"]["failed"]["kind"], "invalid_state");
    std::fs::write(file.path(), r#"[{"power_vm": {"vm": "a", "action": "explode"}}]"#).unwrap();
    assert!(bench.hv(&["batch", path]).await.bad(2).contains("item 0"));
}

async fn a_change_says_what_waits() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "a", "--tag", "old"]).await.good();
    let changes =
        ["--cpus", "3", "--memory", "2GiB", "--add-tag", "new", "--remove-tag", "old", "--autostart", "true"];
    assert_eq!(bench.hv(&[&["update", "a"][..], &changes].concat()).await.good(), "a: updated\n");
    let config = bench.hv.vms().by_name("a").await.unwrap().config().await.unwrap().spec;
    assert_eq!((config.cpus, config.memory, config.autostart), (3, hypervisor::ByteSize::gib(2), true));
    assert_eq!(config.tags.iter().collect::<Vec<_>>(), ["new"]);
    assert!(bench.hv(&["update", "a"]).await.bad(2).contains("--help"));
    assert!(bench.hv(&["update", "a", "--cpus", "0"]).await.bad(2).contains("field   cpus"));
    assert!(bench.hv(&["update", "nobody", "--cpus", "2"]).await.bad(3).contains("nobody"));
}

async fn backups() {
    let mut bench = Bench::new(slow());
    bench.hv(&["create", "ledger", "--disk", "1GiB"]).await.good();
    let made = bench.hv(&["backup", "create", "ledger", "--description", "nightly", "--json"]).await.json();
    let id = made["id"].as_str().unwrap();
    let table = bench.hv(&["backup", "list", "ledger"]).await.good();
    assert!(table.starts_with("BACKUP ") && table.contains(id) && table.contains("nightly"), "{table}");
    assert_eq!(bench.hv(&["backup", "list", "--json"]).await.json()["items"][0]["id"], id);

    assert!(bench.hv(&["backup", "restore", id, "--name", "again"]).await.good().starts_with("again ("));
    // Only what overwrites or deletes needs a yes.
    assert!(bench.hv(&["backup", "restore", id, "--original"]).await.bad(2).contains("--yes"));
    bench.hv(&["backup", "restore", id]).await.bad(2);
    bench.input = "no\n";
    bench.hv(&["backup", "restore", id, "--original"]).await.bad(1);
    bench.hv(&["backup", "restore", id, "--original", "--yes"]).await.good();
    assert!(bench.hv(&["backup", "delete", id]).await.bad(1).contains("nothing was deleted"));
    bench.hv(&["backup", "delete", id, "--yes"]).await.good();
    assert_eq!(bench.hv(&["backup", "list"]).await.good().lines().count(), 1);
    bench.hv(&["backup", "delete", id, "--yes"]).await.bad(3);
}

async fn a_command_runs_in_the_guest() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "a", "--agent", "--network", "default", "--start"]).await.good();
    assert_eq!(bench.hv(&["exec", "a", "--", "/bin/echo", "-n", "hello"]).await.good(), "-n hello\n");
    let json = bench.hv(&["exec", "a", "--json", "--", "/bin/echo", "hello"]).await.json();
    assert_eq!((&json["exit_code"], &json["stdout"]), (&0.into(), &"hello\n".into()));
    assert_eq!(bench.hv(&["exec", "a", "--wait", "--", "/bin/false"]).await.code, 1);
    bench.hv(&["create", "b", "--start"]).await.good();
    let deaf = bench.hv(&["exec", "b", "--wait", "--deadline", "30s", "--", "/bin/true"]).await;
    assert!(deaf.code == 7 && deaf.err.contains("no channel for an agent"), "{deaf:?}");
    bench.hv(&["exec", "a"]).await.bad(2);
    let table = bench.hv(&["addresses", "a", "--wait"]).await.good();
    assert!(table.starts_with("ADDRESS ") && table.lines().count() > 1, "{table}");
    bench.hv(&["power-off", "a"]).await.good();
    assert!(bench.hv(&["exec", "a", "--", "/bin/true"]).await.bad(4).contains("exec_in_guest"));
}

async fn an_upload_arrives_whole() {
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().task_time(Duration::from_millis(20)).build());
    let bench = Bench::on(Arc::clone(&hv));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.img");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    std::fs::write(&path, &content).unwrap();
    let file = path.to_str().unwrap();
    let made = bench.hv(&["upload", file, "default", "--json"]).await.json();
    let id = made["id"].as_str().unwrap();
    let stored = hv.volume(id).download(&DownloadVolume::all()).await.unwrap();
    assert_eq!(stored.collect(4 << 20).await.unwrap(), content);
    bench.hv(&["upload", file, "--into", id]).await.good();
    let back = folder.path().join("back.img");
    let back = back.to_str().unwrap();
    assert_eq!(bench.hv(&["download", id, back]).await.good(), format!("{id}: downloaded to {back}\n"));
    assert!(std::fs::read(back).unwrap() == content);
    assert!(bench.hv(&["download", id, back]).await.bad(2).contains("--force"));
    bench.hv(&["download", id, back, "--force"]).await.good();
    let nowhere = folder.path().join("nothing.img");
    bench.hv(&["download", "default/none", nowhere.to_str().unwrap()]).await.bad(3);
    assert!(!nowhere.exists(), "nothing is made for what is not there");
    assert!(bench.hv(&["upload", "/nonexistent", "default"]).await.bad(2).contains("/nonexistent"));
}

async fn events_come_as_they_happen() {
    let bench = Bench::new(Memory::builder());
    let happens = async {
        for n in 0..1000 {
            bench.hv(&["create", &format!("vm-{n}")]).await.good();
            // The listener has to be there first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::select! {
        told = bench.hv(&["events", "--count", "2", "--for", "60s"]) => told.good(),
        () = happens => panic!("nobody was told"),
    };
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("created   vm "), "{told}");
}
