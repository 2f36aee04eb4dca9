//! Running `hv` in this process and as one of its own.

use std::ffi::OsString;
use std::io::{self, Cursor, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hypervisor::Hypervisor;
use hypervisor::memory::{Memory, MemoryBuilder};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::app::{self, Ui, World};

/// Set where this program is to be `hv`.
pub(crate) const AS_PROGRAM: &str = "HYPERVISOR_TEST_AS_HV";

/// What is nowhere to be seen.
pub(crate) const CANARY: &str = "canary-4711";

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output, of a run that succeeded.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard error, of a run that ended with this code.
    #[track_caller]
    pub(crate) fn bad(self, code: u8) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.good();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// `hv` on one hypervisor, run after run.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) hv: Arc<dyn Hypervisor>,
    pub(crate) terminal: bool,
    pub(crate) no_color: bool,
    /// What somebody types.
    pub(crate) input: &'static str,
}

impl Bench {
    pub(crate) fn new(memory: MemoryBuilder) -> Self {
        Self::on(Arc::new(memory.build()))
    }

    pub(crate) fn on(hv: Arc<dyn Hypervisor>) -> Self {
        Self { hv, terminal: false, no_color: false, input: "" }
    }

    pub(crate) async fn hv(&self, args: &[&str]) -> Ran {
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut ui = Ui::new(Box::new(out.clone()), Box::new(err.clone()), Box::new(Cursor::new(self.input)));
        (ui.terminal, ui.asks) = (self.terminal, !self.input.is_empty());
        let no_color = self.no_color;
        let variable = move |name: &str| (no_color && name == "NO_COLOR").then(|| "1".to_owned());
        let world = World { variable: Box::new(variable), connected: Some(Arc::clone(&self.hv)) };
        let args: Vec<OsString> = std::iter::once("hv").chain(args.iter().copied()).map(Into::into).collect();
        let code = Box::pin(app::run(args, &world, ui)).await;
        Ran { code, out: out.text(), err: err.text() }
    }
}

/// A hypervisor in memory on which long work takes a minute, which passes at once.
pub(crate) fn slow() -> MemoryBuilder {
    Memory::builder().hosts(2).task_time(Duration::from_secs(60))
}

/// A test whose time passes at once.
pub(crate) fn paused<F: Future<Output = ()> + 'static>(
    name: &str,
    test: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(test());
        Ok(())
    })
}

/// A test whose time is everybody's.
pub(crate) fn timed<F: Future<Output = ()> + 'static>(
    name: &str,
    test: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(test());
        Ok(())
    })
}

/// `hv` as a program, with nothing in its environment that this one has for it.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(AS_PROGRAM, "1").args(args).stdin(Stdio::null());
    for name in ["HV_URL", "HV_PROFILE", "NO_COLOR", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    // No profiles of the one who runs the tests.
    command.env("HOME", "/nonexistent");
    command
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    Ran { code: code.expect("it was ended by a signal"), out: text(output.stdout), err: text(output.stderr) }
}
