//! The program from the outside. That it is tested here also has cargo build it with the tests, so that `cargo xtask test` can run it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::{Command, Output};

fn soak(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hypervisor-soak")).args(args).output().expect("the program runs")
}

#[test]
fn a_flag_that_is_not_known_is_refused_before_anything_runs() {
    let output = soak(&["--second", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unexpected argument"), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// A short run in which this goes wrong on purpose, and whether the verdict says that it has seen it.
fn finds(plant: &str, only: &str, said: &str) {
    let output = soak(&["--seconds", "2", "--seed", "7", "--only", only, "--plant", plant]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{plant}: {text}");
    let found: Vec<_> = text.lines().filter(|line| line.starts_with("DIVERGENCE: ")).collect();
    assert!(!found.is_empty() && found.iter().all(|line| line.contains(said)), "{plant}: {text}");
}

#[test]
fn whatever_is_planted_is_found_and_nothing_else() {
    for (plant, said) in [
        ("lost-create", "was acknowledged and is there 0 times"),
        ("lost-delete", "is there, though it was deleted or never made"),
        ("lost-change", "was acknowledged"),
        ("orphan", "1 volumes belong to no guest"),
        ("leaked-task", "1 tasks of the runtime are left running"),
        ("leaked-memory", "the process has grown from"),
    ] {
        finds(plant, "layered", said);
    }
    // Only where names may be there twice.
    finds("doubled-create", "proxmox", "was acknowledged and is there 2 times");
}

#[test]
fn a_fake_in_a_process_of_its_own_ends_with_its_standard_input() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_hypervisor-soak")).arg("--serve").output().expect("it runs");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("http+hypersdk://127.0.0.1:"), "{output:?}");
}
