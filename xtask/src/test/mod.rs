//! `cargo xtask test`: everything, in one run that ends with `N passed, M failed`.
//!
//! The test programs are built first. Then three lines of steps run side by side: the programs that share one libvirtd, which mostly wait for
//! it; the other programs; and, at the lowest priority, cargo's own work: lints, documentation and its examples.

mod lints;
mod programs;
mod report;
mod schemathesis;
mod session;

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Error, Result, anyhow};

use self::programs::Program;
use self::session::{Session, Show};
use crate::live::Live;
use crate::setup::{self, Level};
use crate::workspace::{Workspace, cargo};
use crate::{env, paths, readme, soak};

/// Examples that run by themselves, need no server, and end.
const EXAMPLES: &[&str] = &[
    "quickstart",
    "fleet",
    "inventory",
    "snapshot_rollback",
    "watch",
    "cloud_init",
    "backup_restore",
    "migrate",
    "escape_hatch",
    "custom_backend",
    "testing_your_app",
];
/// The facade's test target that runs the conformance suite.
const CONFORMANCE: &str = "conformance";
/// How long the soak takes, in seconds.
const SOAK: u64 = 60;

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
    let began = Instant::now();
    let mut session = Session::new(Show::Live);
    if let Err(error) = all(&mut session, options) {
        session.fail("cargo xtask test", &error);
    }
    session.end(began)
}

fn all(session: &mut Session, options: &Options) -> Result<()> {
    let live = !options.no_live && std::env::var_os(env::LIBVIRT_URI).is_none();
    let live = set_up(session, live);
    let workspace = Workspace::read(setup::present(Level::Driver))?;
    if !workspace.libvirt {
        session.skip("the libvirt driver", "libvirt's C library is not here");
    }
    let filter = options.filter.as_deref();
    if filter.is_none() {
        setup::components()?;
        session.program("format", cargo(&["fmt", "--all", "--check"]));
    }
    workspace.require("test", CONFORMANCE)?;
    let programs = session.prepare("build the tests", || programs::build(&workspace))?;
    let live = if live { start_live(session) } else { None };
    if options.no_live {
        session.skip("everything against a real libvirtd", "--no-live");
    }
    let given = live.as_ref().map(|live| live.vars().clone()).unwrap_or_default();

    let (shared, other): (Vec<_>, Vec<_>) = programs.iter().partition(|program| program.shares_a_libvirtd());
    let run = |session: &mut Session, programs: &[&Program]| {
        for program in programs {
            let mut command = program.command(filter);
            command.envs(given.iter().map(|(name, value)| (name, value)));
            session.tests(&program.title, command);
        }
    };
    let beside = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut session = Session::new(Show::AtEnd);
            run(&mut session, &other);
            if filter.is_none() {
                schemathesis::step(&mut session);
                match soak::soak(SOAK, Some(7)) {
                    Ok(command) => {
                        session.program("soak: many workers on each backend under faults", command)
                    }
                    Err(error) => session.fail("soak", &error),
                }
            }
            session
        });
        let cargos = scope.spawn(|| {
            let mut session = Session::new(Show::AtEnd);
            cargos_own(&mut session, &workspace, filter);
            session
        });
        run(session, &shared);
        [others.join(), cargos.join()]
    });
    for beside in beside {
        match beside {
            Ok(beside) => session.absorb(beside),
            Err(_panic) => session.fail("what ran beside", &anyhow!("it ended by a panic")),
        }
    }
    if let Some(filter) = filter
        && session.is_empty()
    {
        session.fail("--filter", &anyhow!("no test has `{filter}` in its name"));
    }
    if let Some(live) = live {
        session.check("live libvirtd down", || live.stop().map(|()| String::new()));
    }
    Ok(())
}

/// What needs cargo rather than a test program: only one at a time can have its folder.
fn cargos_own(session: &mut Session, workspace: &Workspace, filter: Option<&str>) {
    if filter.is_none() {
        lints::all(session, workspace);
    }
    let mut docs = cargo(&["test", "--no-fail-fast", "--doc"]);
    docs.args(workspace.everything()).args(filter.map(|filter| ["--", filter]).into_iter().flatten());
    session.tests("documentation's examples", lints::behind(docs));
    if filter.is_none() {
        examples(session, workspace);
    }
}

fn examples(session: &mut Session, workspace: &Workspace) {
    let mut build = cargo(&["build", "--examples"]);
    build.args(workspace.everything());
    session.program("build the examples", lints::behind(build));
    let built = match paths::build() {
        Ok(build) => build.join("examples"),
        Err(error) => return session.fail("examples", &error),
    };
    for name in EXAMPLES {
        let title = format!("example {name}");
        match workspace.require("example", name) {
            Ok(()) => {
                let mut command = Command::new(built.join(name));
                command.current_dir(paths::root());
                session.program(&title, command);
            }
            Err(error) => session.fail(&title, &error),
        }
    }
    session.check("README's capability table", || {
        workspace.require("example", readme::EXAMPLE)?;
        readme::compare(&mut Command::new(built.join(readme::EXAMPLE))).map(|()| String::new())
    });
}

/// Installs what can be installed; whether the live level is there then.
fn set_up(session: &mut Session, live: bool) -> bool {
    let wanted = if live { Level::Live } else { Level::Driver };
    let outcome = session.prepare("set up", || {
        let outcome = setup::ensure(wanted);
        if outcome.is_err() {
            // Whatever the live level lacks, the driver's own library may still be had.
            let _there = setup::ensure(Level::Driver);
        }
        outcome
    });
    if live && std::env::var_os(env::POSTGRES_URL).is_none() {
        let why =
            "a PostgreSQL that two gateways share in a test (Debian's package starts one of its own, too)";
        if let Err(error) = setup::program("pg_ctlcluster", &["postgresql"], why) {
            // With CI set, the test itself fails for want of it.
            session.skip("two gateways on one PostgreSQL", &format!("{error:#}"));
        }
    }
    match outcome {
        Ok(()) => live,
        Err(error) => {
            without_live(session, &error);
            false
        }
    }
}

fn start_live(session: &mut Session) -> Option<Live> {
    match session.prepare("live libvirtd up", Live::start) {
        Ok(live) => {
            println!("{}", live.uri());
            Some(live)
        }
        Err(error) => {
            without_live(session, &error);
            None
        }
    }
}

/// A person may go on without; a machine that vouches for a change may not.
fn without_live(session: &mut Session, error: &Error) {
    if std::env::var_os("CI").is_some() {
        session.fail("live libvirtd", error);
    } else {
        session.skip("everything against a real libvirtd", &format!("{error:#}"));
    }
}
