//! Tables, JSON, colours, and what is not shown.

use hypervisor::memory::Memory;
use hypervisor::model::{Capabilities, Feature};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{Bench, CANARY, paused, slow};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("a_table_is_aligned", a_table_is_aligned),
        paused("every_list_has_a_table_and_json", every_list_has_a_table_and_json),
        paused("colour_is_for_terminals", colour_is_for_terminals),
        paused("a_list_that_lacks_a_host_says_so", a_list_that_lacks_a_host_says_so),
        paused("names_do_not_steer_the_terminal", names_do_not_steer_the_terminal),
        paused("secrets_are_shown_on_request_only", secrets_are_shown_on_request_only),
        paused("metrics_are_watched", metrics_are_watched),
        paused("capabilities_give_the_reason", capabilities_give_the_reason),
    ]
}

async fn a_table_is_aligned() {
    let bench = Bench::new(Memory::builder().seed(1));
    bench.hv(&["create", "db", "--memory", "16GiB", "--cpus", "12", "--id", "7"]).await.good();
    bench
        .hv(&["create", "webserver-with-a-name", "--tag", "web", "--tag", "eu", "--id", "1000", "--start"])
        .await
        .good();
    let listed = bench.hv(&["list"]).await.good();
    let wanted = "\
NAME                   ID    STATE    HOST    CPUS   MEMORY  UPTIME  TAGS
db                     7     stopped  host-1    12   16 GiB       -
webserver-with-a-name  1000  running  host-1     1  512 MiB      0s  eu,web
";
    assert_eq!(listed, wanted);
}

async fn every_list_has_a_table_and_json() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "a", "--disk", "1GiB", "--network", "default", "--start"]).await.good();
    for (command, head) in [
        (&["list"][..], "NAME "),
        (&["hosts"], "HOST "),
        (&["pools"], "POOL "),
        (&["volumes"], "VOLUME "),
        (&["volumes", "default"], "VOLUME "),
        (&["networks"], "NETWORK "),
        (&["metrics"], "NAME "),
        (&["metrics", "a"], "NAME "),
        (&["metrics", "--hosts"], "HOST "),
        (&["tasks"], "TASK "),
        (&["backup", "list"], "BACKUP "),
        (&["addresses", "a"], "ADDRESS "),
    ] {
        let table = bench.hv(command).await.good();
        assert!(table.starts_with(head), "{command:?}: {table}");
        let lines = table.lines().count();
        let json = bench.hv(&[command, &["--json"]].concat()).await.json();
        assert_eq!(json["items"].as_array().unwrap().len() + 1, lines, "{command:?}: {table}{json}");
        assert_eq!(json["unreachable"], Value::Array(Vec::new()));
    }
}

async fn colour_is_for_terminals() {
    let mut bench = Bench::new(slow());
    bench.hv(&["create", "a", "--start"]).await.good();
    let mut painted = async |terminal, no_color, args: &[&str]| {
        (bench.terminal, bench.no_color) = (terminal, no_color);
        bench.hv(args).await.good().contains('\x1b')
    };
    assert!(painted(true, false, &["list"]).await);
    assert!(!painted(false, false, &["list"]).await);
    assert!(!painted(true, true, &["list"]).await);
    assert!(painted(false, false, &["list", "--color", "always"]).await);
    assert!(!painted(true, false, &["list", "--color", "never"]).await);
    assert!(!painted(true, false, &["list", "--json"]).await);
}

async fn a_list_that_lacks_a_host_says_so() {
    let memory = slow().build();
    let bench = Bench::on(std::sync::Arc::new(memory.clone()));
    bench.hv(&["create", "a", "--host", "host-1"]).await.good();
    memory.set_reachable(&"host-2".into(), false).unwrap();
    let ran = bench.hv(&["list"]).await;
    assert_eq!(ran.code, 12, "{ran:?}");
    assert!(ran.out.contains("\na ") && ran.err.contains("host host-2 cannot be reached"), "{ran:?}");
    let ran = bench.hv(&["list", "--json"]).await;
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["unreachable"][0]["host"]), (12, &Value::from("host-2")));
}

async fn names_do_not_steer_the_terminal() {
    let bench = Bench::new(slow());
    bench.hv(&["create", "a", "--description", "x\n\ty"]).await.good();
    let shown = bench.hv(&["show", "a"]).await.good();
    assert!(shown.contains("x\u{fffd}\u{fffd}y"), "{shown}");
}

async fn secrets_are_shown_on_request_only() {
    let bench = Bench::new(slow());
    let seed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(seed.path(), format!("password: {CANARY}")).unwrap();
    let path = seed.path().to_str().unwrap();
    bench.hv(&["create", "a", "--cloud-init", path]).await.good();
    for args in [&["show", "a"][..], &["show", "a", "--json"]] {
        let shown = bench.hv(args).await.good();
        assert!(!shown.contains(CANARY), "{shown}");
    }
    assert!(bench.hv(&["show", "a", "--json", "--full"]).await.good().contains(CANARY));

    let spec: hypervisor::VmSpec =
        serde_json::from_str(r#"{"name":"b","cpus":1,"memory":536870912,"graphics":"vnc"}"#).unwrap();
    let vm = bench.hv.vms().create(&spec.start(true)).await.unwrap().wait().await.unwrap();
    let hidden = bench.hv(&["console", "b", "--kind", "vnc"]).await.good();
    assert!(hidden.contains("--show-password") && hidden.contains("5900"), "{hidden}");
    let shown =
        bench.hv(&["console", vm.id().as_str(), "--kind", "vnc", "--show-password", "--json"]).await.json();
    let password = shown["password"].as_str().unwrap();
    assert!(password.len() == 8 && !hidden.contains(password), "{shown}");
}

async fn metrics_are_watched() {
    let mut bench = Bench::new(slow());
    bench.hv(&["create", "a", "--start"]).await.good();
    let watched = bench.hv(&["metrics", "--watch", "--rounds", "3", "--interval", "30s"]).await.good();
    assert_eq!(watched.lines().filter(|line| line.starts_with("a ")).count(), 3, "{watched}");
    assert!(watched.contains('%') && watched.contains("/s"), "{watched}");
    assert!(!watched.contains('\x1b'));
    bench.terminal = true;
    let watched = bench.hv(&["metrics", "--watch", "--rounds", "2", "--color", "never"]).await.good();
    assert_eq!(watched.matches("\x1b[2J").count(), 2, "the screen is cleared for each");
}

async fn capabilities_give_the_reason() {
    let able = Capabilities::all_native().unsupported([Feature::Tpm], "no TPM for tests");
    let bench = Bench::new(Memory::builder().capabilities(able));
    let missing = bench.hv(&["capabilities", "--missing"]).await.good();
    assert_eq!(missing.lines().count(), 2, "{missing}");
    assert!(missing.contains("tpm") && missing.contains("no TPM for tests"), "{missing}");
    let all = bench.hv(&["capabilities", "--json"]).await.json();
    assert_eq!(all["create_vm"], "native");
    assert_eq!(all["tpm"]["unsupported"], "no TPM for tests");
}
