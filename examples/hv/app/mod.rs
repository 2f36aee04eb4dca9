//! The program: arguments in, an exit code out. `tests/hv` compiles this folder too, and runs it on hypervisors in memory.

mod agent;
mod args;
mod backups;
mod batch;
mod cli;
mod console;
mod create;
mod describe;
mod download;
mod events;
mod exit;
mod guests;
mod lists;
mod metrics;
mod power;
mod profile;
mod progress;
mod snapshots;
mod table;
mod tasks;
mod text;
mod ui;
mod upload;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use hypervisor::{Error, ErrorKind, Hypervisor};

use self::cli::{Cli, Command};
use self::exit::{INTERRUPTED, Stop};
use self::progress::Waiter;
pub(crate) use self::ui::Ui;

/// Environment variables, those that are set to something.
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where a run gets its settings from.
pub(crate) struct World {
    pub(crate) variable: Variables,
    /// A connection that is there already, instead of one by URL.
    pub(crate) connected: Option<Arc<dyn Hypervisor>>,
}

impl World {
    fn of_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self { variable: Box::new(variable), connected: None }
    }
}

/// The program as a process.
pub(crate) fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(std::env::args_os(), &World::of_process(), Ui::of_process()));
    // What is still being read from the keyboard must not hold the end up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// One run. The first argument is the program's name.
pub(crate) async fn run(args: impl IntoIterator<Item = OsString>, world: &World, mut ui: Ui) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // What follows `--` is a guest's business.
            ui.json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
            return ui.usage(&error);
        }
    };
    ui.choose(&cli.global, world);
    let waiter = Waiter::new(&cli.global, &ui);
    let follows = cli.command.follows();
    let outcome = tokio::select! {
        outcome = Box::pin(dispatch(cli, world, &mut ui, &waiter)) => outcome,
        // That is how it ends.
        _ = tokio::signal::ctrl_c(), if follows => Ok(exit::OK),
        _ = tokio::signal::ctrl_c(), if !follows => Err(Stop::Interrupted),
    };
    match outcome {
        Ok(code) => code,
        Err(Stop::Error(error)) => ui.failed(&error),
        Err(Stop::Interrupted) => {
            waiter.interrupted(&mut ui);
            INTERRUPTED
        }
    }
}

async fn dispatch(cli: Cli, world: &World, ui: &mut Ui, waiter: &Waiter) -> Result<u8, Stop> {
    let Cli { global, command } = cli;
    match &command {
        Command::Completions { shell } => {
            ui.completions(*shell, &mut Cli::command());
            return Ok(exit::OK);
        }
        Command::Profiles => return profile::list(&global, world, ui),
        _ => {}
    }
    let hv = match &world.connected {
        Some(hv) => Arc::clone(hv),
        None => Box::pin(connect(&global, world, ui)).await?,
    };
    waiter.connected(&hv);
    match command {
        Command::List(args) => lists::vms(&hv, ui, &args).await,
        Command::Hosts => lists::hosts(&hv, ui).await,
        Command::Pools => lists::pools(&hv, ui).await,
        Command::Volumes(args) => lists::volumes(&hv, ui, &args).await,
        Command::Networks => lists::networks(&hv, ui).await,
        Command::Capabilities(args) => Ok(lists::capabilities(&hv, ui, &args)),
        Command::Show(args) => describe::show(&hv, ui, &args).await,
        Command::Create(args) => create::create(&hv, ui, waiter, &args).await,
        Command::Update(args) => guests::update(&hv, ui, waiter, &args).await,
        Command::Start(args) => power::start(&hv, ui, waiter, &args).await,
        Command::Shutdown(args) => power::shutdown(&hv, ui, waiter, &args).await,
        Command::PowerOff(args) => power::power_off(&hv, ui, waiter, &args).await,
        Command::Reboot(args) => power::reboot(&hv, ui, waiter, &args).await,
        Command::Reset(args) => power::reset(&hv, ui, waiter, &args).await,
        Command::Pause(args) => power::pause(&hv, ui, waiter, &args).await,
        Command::Resume(args) => power::resume(&hv, ui, waiter, &args).await,
        Command::Hibernate(args) => power::hibernate(&hv, ui, waiter, &args).await,
        Command::Delete(args) => guests::delete(&hv, ui, waiter, &args).await,
        Command::Clone(args) => guests::clone(&hv, ui, waiter, &args).await,
        Command::Migrate(args) => guests::migrate(&hv, ui, waiter, &args).await,
        Command::Snapshot(args) => snapshots::run(&hv, ui, waiter, &args).await,
        Command::Backup(args) => backups::run(&hv, ui, waiter, &args).await,
        Command::Addresses(args) => agent::addresses(&hv, ui, waiter, &args).await,
        Command::Exec(args) => agent::exec(&hv, ui, waiter, &args).await,
        Command::Console(args) => console::run(&hv, ui, &args).await,
        Command::Metrics(args) => metrics::run(&hv, ui, &args).await,
        Command::Events(args) => events::run(&hv, ui, &args).await,
        Command::Tasks(args) => tasks::run(&hv, ui, waiter, &args).await,
        Command::Upload(args) => upload::run(&hv, ui, waiter, &args).await,
        Command::Download(args) => download::run(&hv, ui, waiter, &args).await,
        Command::Batch(args) => batch::run(&hv, ui, waiter, &args).await,
        Command::Completions { .. } | Command::Profiles => Ok(exit::OK),
    }
}

async fn connect(global: &cli::Global, world: &World, ui: &mut Ui) -> Result<Arc<dyn Hypervisor>, Stop> {
    let url = profile::url(global, world, ui)?;
    let connecting = Box::pin(hypervisor::connect(&url));
    match tokio::time::timeout(global.connect_timeout, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => {
            let why = format!("no connection within {:?}", global.connect_timeout);
            Err(Error::new(ErrorKind::Connect, why).into())
        }
    }
}
