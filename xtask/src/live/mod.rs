//! `cargo xtask live`: a libvirtd with QEMU of our own, beside any that the machine runs, with nothing shared.

mod keeper;
mod place;
mod proc;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use rustix::process::Signal;

use self::place::Place;
use crate::env::Vars;
use crate::setup::{self, Level};
use crate::{guest, paths, run};

/// The name of the instance that `cargo xtask live` means where `--dir` is not given.
const DEFAULT: &str = "main";

/// What to do with it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start it, leave it running, and print the environment that tests and examples need.
    Up {
        /// Its folder; several run side by side in folders of their own.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Share the machine's network, so that guests' addresses and displays can be reached from it.
        #[arg(long)]
        host_network: bool,
    },
    /// End it and its guests, and remove its folder.
    Down {
        /// Its folder, as given to `up`.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Say whether it answers, and print its environment.
    Status {
        /// Its folder, as given to `up`.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Start libvirtd anew, also where it was killed or hangs; guests go on running.
    #[command(hide = true)]
    Restart {
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// The process that keeps libvirtd, inside its namespaces.
    #[command(hide = true)]
    Keep {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        owned: bool,
        #[arg(long)]
        host_network: bool,
    },
}

/// Runs `cargo xtask live …`.
pub(crate) fn command(command: Command) -> Result<()> {
    let place = |dir: &Option<PathBuf>| Place::new(dir.as_deref(), DEFAULT);
    match command {
        Command::Up { dir, host_network } => up(&place(&dir)?, host_network),
        Command::Down { dir } => down(&place(&dir)?),
        Command::Status { dir } => status(&place(&dir)?),
        Command::Restart { dir } => restart(&place(&dir)?),
        Command::Keep { dir, owned, host_network } => {
            keeper::keep(&Place::new(Some(&dir), DEFAULT)?, owned, host_network)
        }
    }
}

fn up(place: &Place, host_network: bool) -> Result<()> {
    root()?;
    setup::ensure(Level::Live)?;
    let guest = guest::ensure()?;
    if running(place).is_some() {
        println!("# already running");
    } else {
        let began = Instant::now();
        // Not waited for: it outlives us.
        let _keeper = start(place, false, host_network)?;
        println!("# running after {:.1} s", began.elapsed().as_secs_f64());
    }
    print(&place.vars(&guest)?)
}

fn status(place: &Place) -> Result<()> {
    if running(place).is_none() {
        bail!("no private libvirtd in {}", place.dir().display());
    }
    println!("# {}", answer(place).context("it runs, but does not answer")?);
    print(&place.vars(&guest::ensure()?)?)
}

/// For a shell's `eval`.
fn print(vars: &Vars) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, value) in vars {
        writeln!(out, "export {name}='{}'", value.replace('\'', r"'\''"))?;
    }
    Ok(())
}

/// A private libvirtd that ends with this value, and also when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Live {
    place: Place,
    /// Holds the pipe whose closing tells the keeper that we are gone.
    keeper: Child,
    vars: Vars,
}

impl Live {
    /// Sets up what is missing and starts one in a folder of its own.
    pub(crate) fn start() -> Result<Self> {
        root()?;
        setup::ensure(Level::Live)?;
        let guest = guest::ensure()?;
        let place = Place::new(None, &std::process::id().to_string())?;
        let vars = place.vars(&guest)?;
        let keeper = start(&place, true, false)?;
        Ok(Self { place, keeper, vars })
    }

    /// The environment by which tests and examples find it.
    pub(crate) fn vars(&self) -> &Vars {
        &self.vars
    }

    /// Its URI.
    pub(crate) fn uri(&self) -> String {
        self.place.uri()
    }
}

impl Live {
    /// Ends it, and says so where something of it stays behind.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        drop(self.keeper.stdin.take());
        let ended = run::reap(&mut self.keeper, Duration::from_secs(15));
        self.place.remove()?;
        if !ended {
            bail!("the private libvirtd's keeper did not end by itself and was killed");
        }
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Asked first: without root there is no use in fetching what a guest boots from.
fn root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a private libvirtd needs root: run this as root, or name a libvirtd that may be tested on in {}",
            crate::env::LIBVIRT_URI
        );
    }
    Ok(())
}

/// Starts the keeper and waits until its libvirtd answers.
fn start(place: &Place, owned: bool, host_network: bool) -> Result<Child> {
    place.remove()?;
    place.make()?;
    let log = File::create(place.log())?;
    let mut command = Process::new("setsid");
    command.args(["unshare", "--mount"]);
    if !host_network {
        command.arg("--net");
    }
    command.args(["--", "tini", "-s", "--"]).arg(paths::exe()?).args(["live", "keep", "--dir"]);
    command.arg(place.dir());
    command.args(owned.then_some("--owned")).args(host_network.then_some("--host-network"));
    let stdin = if owned { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(stdin)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run setsid and unshare (util-linux)")?;
    fs::write(place.keeper_pid(), child.id().to_string())?;
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match answer(place) {
            Ok(_) => return Ok(child),
            Err(error) => {
                let ended = child.try_wait()?.is_some();
                if ended || Instant::now() >= end {
                    let said = fs::read_to_string(place.log()).unwrap_or_default();
                    drop(child.stdin.take());
                    end_tree(&mut child);
                    let _removed = place.remove();
                    bail!("{}", explain(&said, &error));
                }
            }
        }
        run::pause(Duration::from_millis(50));
    }
}

fn explain(log: &str, error: &anyhow::Error) -> String {
    if log.contains("unshare") && log.contains("Operation not permitted") {
        return "this container may not make namespaces, which a private libvirtd needs: run it with \
                `--privileged` (docker, podman) or on a machine of its own"
            .to_owned();
    }
    let tail: Vec<_> = log.lines().rev().take(15).collect();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    format!("the private libvirtd does not answer ({error:#}); it said:\n{}", tail.join("\n"))
}

fn end_tree(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        for pid in proc::below(pid) {
            proc::signal(pid, Signal::KILL);
        }
    }
    run::reap(child, Duration::from_secs(5));
}

/// libvirtd's version, where it answers within a few seconds.
fn answer(place: &Place) -> Result<String> {
    let text = run::output(Process::new("timeout").args(["5", "virsh", "-c", &place.uri(), "version"]))?;
    let lines = text.lines().filter(|line| line.starts_with("Using library") || line.starts_with("Running"));
    Ok(lines.collect::<Vec<_>>().join(", "))
}

/// The keeper's process, where it is there and really the keeper of this place.
fn running(place: &Place) -> Option<i32> {
    let pid = proc::read_pid(&place.keeper_pid())?;
    let words = proc::words(pid);
    let ours = words.iter().any(|word| word == "keep")
        && words.iter().any(|word| place.dir().as_os_str() == word.as_str());
    (ours && proc::alive(pid)).then_some(pid)
}

fn down(place: &Place) -> Result<()> {
    if let Some(pid) = running(place) {
        ask(place, keeper::STOP)?;
        if !proc::gone(pid, Duration::from_secs(15)) {
            for below in proc::below(pid) {
                proc::signal(below, Signal::KILL);
            }
            proc::signal(pid, Signal::KILL);
            if !proc::gone(pid, Duration::from_secs(5)) {
                bail!("process {pid} does not end");
            }
        }
    }
    place.remove()
}

fn restart(place: &Place) -> Result<()> {
    if running(place).is_none() {
        bail!("no private libvirtd in {}", place.dir().display());
    }
    ask(place, keeper::RESTART)?;
    let end = Instant::now() + Duration::from_secs(60);
    while place.request().exists() || answer(place).is_err() {
        if Instant::now() >= end {
            bail!("libvirtd does not answer after a restart; see {}", place.log().display());
        }
        run::pause(Duration::from_millis(30));
    }
    Ok(())
}

/// Written beside and renamed, so that the keeper never reads half a word.
fn ask(place: &Place, what: &str) -> Result<()> {
    let draft = place.request().with_extension("draft");
    fs::write(&draft, what)?;
    fs::rename(&draft, place.request())?;
    Ok(())
}
