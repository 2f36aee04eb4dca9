//! Further processes: this program in another role, and programs in Python.

use std::io::{BufRead, BufReader};
use std::process::{self, Command, Stdio};
use std::sync::Mutex;

use tokio::runtime::{Builder, Runtime};

/// Names the Python that has the peers installed.
const PYTHON: &str = "HYPERVISOR_BENCH_PYTHON";
pub(crate) const NO_PYTHON: &str = "HYPERVISOR_BENCH_PYTHON names no Python; `cargo xtask bench` makes one";

pub(crate) fn current() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// This program in another role.
pub(crate) fn command(role: &str, words: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("--role").arg(role).args(words);
    command
}

/// One of the programs in `peers/`; none where there is no Python for them.
pub(crate) fn python(file: &str, words: &[String]) -> Option<Command> {
    let python = std::env::var_os(PYTHON)?;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(file);
    let mut command = Command::new(python);
    command.arg(file).args(words);
    Some(command)
}

/// What a program prints; it must succeed.
pub(crate) fn output(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("a program that runs");
    assert!(out.status.success(), "{command:?} failed");
    String::from_utf8(out.stdout).expect("text")
}

/// This program in another role, until the value is dropped.
pub(crate) struct Child {
    process: process::Child,
    lines: Mutex<BufReader<process::ChildStdout>>,
}

impl Child {
    pub(crate) fn start(role: &str, words: &[String]) -> Self {
        let mut command = command(role, words);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child process");
        let lines = Mutex::new(BufReader::new(process.stdout.take().expect("its output")));
        Self { process, lines }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        self.lines.lock().expect("one reader").read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the child process has ended");
        line.trim_end().to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("a child that ends");
    }
}
