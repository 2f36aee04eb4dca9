//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::args::time;
pub(crate) use super::args::*;
use super::exit;

// No `Debug` for what holds a URL, which may hold a password.

/// Virtual machines on libvirt, Proxmox VE, REST gateways and in memory.
#[derive(Parser)]
#[command(name = "hv", version, after_help = exit::HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Global {
    /// The hypervisor: qemu:///system, proxmox://user@realm!token@host:8006, https+v1://host, memory://.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The profile of this name in profiles.toml.
    #[arg(long, short, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Another file of profiles.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON: objects of the SDK's model; errors as JSON on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Colour,
    /// Wait for the end of the work, with a progress bar on terminals.
    #[arg(long, short, global = true)]
    pub(crate) wait: bool,
    /// How long to wait, as 90s, 10m or 2h.
    #[arg(long, global = true, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(crate) deadline: Duration,
    /// How long connecting may take.
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) connect_timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the guests.
    #[command(alias = "ls")]
    List(List),
    /// Show one guest with its devices.
    Show(Show),
    /// Create a guest.
    Create(Box<Create>),
    /// Change a guest; what needs a power cycle waits for it.
    Update(Update),
    /// Power guests on.
    Start(Guests),
    /// Ask guests to power off.
    Shutdown(Shutdown),
    /// Cut guests' power.
    PowerOff(Guests),
    /// Ask guests to restart.
    Reboot(Guests),
    /// Restart guests at once.
    Reset(Guests),
    /// Freeze guests' CPUs.
    Pause(Guests),
    /// Let paused guests go on.
    Resume(Guests),
    /// Save guests' memory to disk and power them off.
    Hibernate(Guests),
    /// Delete a guest.
    Delete(Delete),
    /// Snapshots of a guest.
    Snapshot(Snapshot),
    /// Backups: list, make, restore, delete.
    Backup(Backup),
    /// Copy a guest.
    Clone(Clone_),
    /// Move a guest to another host.
    Migrate(Migrate),
    /// Attach this terminal to a guest's serial console, or say how to reach its screen.
    Console(Console),
    /// The addresses of a guest; with --wait, once it has one that others can reach.
    Addresses(Addresses),
    /// Run a command inside a guest, through its agent: `hv exec web-1 -- /bin/df -h`. Ends with the command's exit code; with --wait, begins
    /// once the agent answers.
    Exec(Exec),
    /// The load of guests or hosts.
    Metrics(Metrics),
    /// What happens on the hypervisor.
    Events(Events),
    /// Long work: list, follow, read the log, cancel.
    Tasks(Tasks),
    /// Write a file into a volume.
    Upload(Upload),
    /// Write a volume into a file.
    Download(Download),
    /// Run the operations of a file, with one outcome a line.
    Batch(Batch),
    /// List the hosts.
    Hosts,
    /// List the storage pools.
    Pools,
    /// List the volumes of one pool or of all.
    Volumes(Volumes),
    /// List the networks.
    Networks,
    /// What this hypervisor can do, and why not the rest.
    Capabilities(Capabilities),
    /// List the profiles.
    Profiles,
    /// Print the completions of a shell: `source <(hv completions bash)`.
    Completions { shell: Shell },
}

impl Command {
    /// Whether it goes on until Ctrl-C.
    pub(crate) fn follows(&self) -> bool {
        match self {
            Self::Events(_) => true,
            Self::Metrics(metrics) => metrics.watch,
            _ => false,
        }
    }
}
