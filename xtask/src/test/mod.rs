//! `cargo xtask test`: everything, in one run that ends with `N passed, M failed`.

mod api;
mod report;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::report::Tally;
use crate::live::Live;
use crate::setup::{self, Level};
use crate::workspace::{FACADE, Workspace, cargo};
use crate::{env, paths, readme, run};

/// Examples that run by themselves, need no server, and end.
const EXAMPLES: &[&str] = &["quickstart", "custom_backend"];
/// Test targets that have a step of their own.
const CONFORMANCE: &str = "conformance";
/// Features that bring a driver in and do nothing else.
const DRIVERS: &[&str] = &["client", "libvirt", "proxmox"];
/// Crates that the facade without features must not pull in.
const NOT_BY_DEFAULT: &[&str] = &[
    "virt",
    "virt-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
    "rustls",
    "http",
    "reqwest",
    "hyper",
    "axum",
    "hypervisor-libvirt",
];

/// What to leave out.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Do not start a libvirtd; what needs one is reported as skipped.
    #[arg(long)]
    no_live: bool,
    /// Only tests whose name contains this; formatting, lints, docs and examples are left out.
    #[arg(long)]
    filter: Option<String>,
}

/// Runs `cargo xtask test`.
pub(crate) fn command(options: &Options) -> ExitCode {
    let mut session =
        Session { began: Instant::now(), tally: Tally::default(), times: Vec::new(), skipped: Vec::new() };
    if let Err(error) = all(&mut session, options) {
        session.fail("cargo xtask test", &error);
    }
    session.end()
}

fn all(session: &mut Session, options: &Options) -> Result<()> {
    let live = !options.no_live && std::env::var_os(env::LIBVIRT_URI).is_none();
    let live = session.set_up(live);
    let workspace = Workspace::read(setup::present(Level::Driver))?;
    if !workspace.libvirt {
        session.skip("the libvirt driver", "libvirt's C library is not here");
    }
    if options.filter.is_none() {
        setup::components()?;
        lints(session, &workspace)?;
    }
    let live = if live { session.start_live() } else { None };
    if options.no_live {
        session.skip("everything against a real libvirtd", "--no-live");
    }
    let given = live.as_ref().map(|live| live.vars().clone()).unwrap_or_default();
    let prepare = |mut command: Command| {
        command.envs(given.iter().map(|(name, value)| (name, value)));
        command
    };
    let filter = options.filter.as_deref();
    session.tests("unit and integration tests", prepare(tests(&workspace, filter)));
    session.tests("documentation's examples", prepare(with_filter(&workspace, &["--doc"], filter)));
    if filter.is_none() {
        examples(session, &workspace)?;
    }
    match workspace.require("test", CONFORMANCE) {
        Ok(()) => {
            session.tests("conformance", prepare(with_filter(&workspace, &["--test", CONFORMANCE], filter)))
        }
        Err(error) => session.fail("conformance", &error),
    }
    if filter.is_none() {
        api::described(session);
    }
    if let Some(filter) = filter
        && session.tally.is_empty()
    {
        session.fail("--filter", &anyhow::anyhow!("no test has `{filter}` in its name"));
    }
    if let Some(live) = live {
        session.check("live libvirtd down", || live.stop());
    }
    Ok(())
}

/// Formatting, clippy for each set of features that a user can choose, what the default build pulls in, and docs.
fn lints(session: &mut Session, workspace: &Workspace) -> Result<()> {
    session.cargo("format", cargo(&["fmt", "--all", "--check"]));
    let mut everything = cargo(&["clippy", "--all-targets"]);
    everything.args(workspace.everything()).args(["--", "-D", "warnings"]);
    session.cargo("clippy, everything", everything);
    for package in workspace.buildable() {
        let features = workspace.features(package);
        if features.is_empty() && package.name != FACADE {
            continue;
        }
        let name = package.name.as_str();
        let mut sets = vec![(format!("clippy, {name}"), vec![])];
        if package.defaults {
            sets.push((format!("clippy, {name} without default features"), vec!["--no-default-features"]));
        }
        for feature in features {
            // What a driver needs of its own is seen by linting the driver, and its arm by linting the facade.
            if package.name != FACADE && DRIVERS.contains(&feature) {
                continue;
            }
            let args = vec!["--no-default-features", "--features", feature];
            sets.push((format!("clippy, {name} with {feature} alone"), args));
        }
        for (title, args) in sets {
            let mut command = cargo(&["clippy", "-p", name]);
            command.args(args).args(["--", "-D", "warnings"]);
            session.cargo(&title, command);
        }
    }
    session.check("what the facade alone depends on", lean);
    let mut docs = cargo(&["doc", "--no-deps"]);
    docs.args(workspace.everything()).env("RUSTDOCFLAGS", "-Dwarnings");
    session.cargo("documentation", docs);
    Ok(())
}

fn lean() -> Result<()> {
    let args = ["tree", "-p", FACADE, "--no-default-features", "-e", "normal", "--prefix", "none"];
    let text = run::output(&mut cargo(&args))?;
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| NOT_BY_DEFAULT.contains(name))
        .collect();
    if !found.is_empty() {
        bail!("without features the facade must not depend on {}", found.join(", "));
    }
    println!("{} crates, none of {}", text.lines().count(), NOT_BY_DEFAULT.join(", "));
    Ok(())
}

/// All unit and integration tests but those that have a step of their own.
fn tests(workspace: &Workspace, filter: Option<&str>) -> Command {
    let mut args = vec!["--lib", "--bins"];
    for package in workspace.buildable() {
        for (kind, name) in &package.targets {
            if kind == "test" && name != CONFORMANCE {
                args.extend(["--test", name]);
            }
        }
    }
    with_filter(workspace, &args, filter)
}

fn with_filter(workspace: &Workspace, targets: &[&str], filter: Option<&str>) -> Command {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.args(workspace.everything()).args(targets);
    command.args(filter.map(|filter| ["--", filter]).into_iter().flatten());
    command
}

fn examples(session: &mut Session, workspace: &Workspace) -> Result<()> {
    let mut build = cargo(&["build", "--examples"]);
    build.args(workspace.everything());
    session.cargo("build the examples", build);
    let built = paths::build()?.join("examples");
    for name in EXAMPLES {
        session.check(&format!("example {name}"), || {
            workspace.require("example", name)?;
            let mut command = Command::new(built.join(name));
            command.current_dir(paths::root());
            println!("{}", run::line(&command));
            run::visible(&mut command)
        });
    }
    session.check("README's capability table", || {
        workspace.require("example", readme::EXAMPLE)?;
        readme::compare(&mut Command::new(built.join(readme::EXAMPLE)))
    });
    Ok(())
}

/// One run: what it has seen so far.
#[derive(Debug)]
struct Session {
    began: Instant,
    tally: Tally,
    times: Vec<(String, Duration)>,
    skipped: Vec<String>,
}

impl Session {
    /// Installs what can be installed; whether the live level is there then.
    fn set_up(&mut self, live: bool) -> bool {
        let wanted = if live { Level::Live } else { Level::Driver };
        let mut outcome = Ok(());
        self.step("set up", || {
            outcome = setup::ensure(wanted);
            // Whatever the live level lacks, the driver's own library may still be had.
            outcome.is_ok() || setup::ensure(Level::Driver).is_ok()
        });
        if live && std::env::var_os(env::POSTGRES_URL).is_none() {
            let why = "a PostgreSQL that two gateways share in a test (Debian's package starts one of its own, too)";
            if let Err(error) = setup::program("pg_ctlcluster", &["postgresql"], why) {
                // With CI set, the test itself fails for want of it.
                self.skip("two gateways on one PostgreSQL", &format!("{error:#}"));
            }
        }
        match outcome {
            Ok(()) => live,
            Err(error) => {
                self.without_live(&error);
                false
            }
        }
    }

    fn start_live(&mut self) -> Option<Live> {
        let mut outcome = None;
        self.step("live libvirtd up", || {
            outcome = Some(Live::start());
            true
        });
        match outcome? {
            Ok(live) => {
                println!("{}", live.uri());
                Some(live)
            }
            Err(error) => {
                self.without_live(&error);
                None
            }
        }
    }

    /// A person may go on without; a machine that vouches for a change may not.
    fn without_live(&mut self, error: &anyhow::Error) {
        if std::env::var_os("CI").is_some() {
            self.fail("live libvirtd", error);
        } else {
            self.skip("everything against a real libvirtd", &format!("{error:#}"));
        }
    }

    fn step<T>(&mut self, title: &str, act: impl FnOnce() -> T) -> T {
        println!("\n== {title}");
        let began = Instant::now();
        let outcome = act();
        let took = began.elapsed();
        println!("-- {title}: {:.1} s", took.as_secs_f64());
        self.times.push((title.to_owned(), took));
        outcome
    }

    /// A step that counts as one test.
    fn check(&mut self, title: &str, act: impl FnOnce() -> Result<()>) {
        match self.step(title, act) {
            Ok(()) => self.tally.passed += 1,
            Err(error) => self.fail(title, &error),
        }
    }

    /// A program that counts as one test.
    fn cargo(&mut self, title: &str, mut command: Command) {
        self.check(title, || {
            println!("{}", run::line(&command));
            run::visible(&mut command)
        });
    }

    /// A program that runs tests and says how many.
    fn tests(&mut self, title: &str, mut command: Command) {
        let captured = self.step(title, || {
            println!("{}", run::line(&command));
            run::captured(&mut command)
        });
        match captured.context("no tests ran") {
            Ok(captured) => {
                let tally = Tally::read(&captured.text);
                let told = tally.failed > 0;
                self.tally.add(tally);
                if !captured.success && !told {
                    self.fail(title, &anyhow::anyhow!("it failed before its tests could say anything"));
                }
            }
            Err(error) => self.fail(title, &error),
        }
    }

    fn fail(&mut self, title: &str, error: &anyhow::Error) {
        eprintln!("FAILED: {title}: {error:#}");
        self.tally.failed += 1;
        self.tally.failures.push(title.to_owned());
    }

    fn skip(&mut self, what: &str, why: &str) {
        eprintln!("\n!! SKIPPED: {what}: {why}");
        self.skipped.push(format!("{what}: {why}"));
    }

    fn end(self) -> ExitCode {
        println!("\n== times");
        for (title, took) in &self.times {
            println!("{:>8.1} s  {title}", took.as_secs_f64());
        }
        println!("{:>8.1} s  in all", self.began.elapsed().as_secs_f64());
        println!();
        for name in self.skipped.iter().chain(&self.tally.ignored) {
            println!("SKIPPED {name}");
        }
        for name in &self.tally.failures {
            println!("FAILED {name}");
        }
        println!("{} passed, {} failed", self.tally.passed, self.tally.failed);
        if self.tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
