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
