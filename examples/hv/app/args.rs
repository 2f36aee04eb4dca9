//! The arguments of each command, and how they are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hypervisor::ByteSize;
use hypervisor::model::{BackupMode, ConsoleKind, VmState, parse_duration};

#[derive(Args)]
pub(crate) struct List {
    /// Only those in this state.
    #[arg(long, value_parser = state)]
    pub(crate) state: Option<VmState>,
    /// Only those on this host.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Only those with this tag.
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Only templates.
    #[arg(long)]
    pub(crate) templates: bool,
}

#[derive(Args)]
pub(crate) struct Show {
    /// Name or id.
    pub(crate) vm: String,
    /// In JSON, also the backend's own document and the documents for cloud-init, which may hold secrets.
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Args)]
pub(crate) struct Create {
    /// Its name.
    #[arg(required_unless_present = "spec")]
    pub(crate) name: Option<String>,
    /// A specification as JSON, as `hv show --json --full` has it under `config.spec`; other options change it.
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
    /// Its CPUs; 1 without this.
    #[arg(long)]
    pub(crate) cpus: Option<u32>,
    /// Its memory, as 512MiB or 4GiB; 512 MiB without this.
    #[arg(long, value_parser = size)]
    pub(crate) memory: Option<ByteSize>,
    /// A disk of this size with an empty volume.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) disk: Vec<ByteSize>,
    /// A disk with a copy of this volume.
    #[arg(long, value_name = "VOLUME")]
    pub(crate) image: Vec<String>,
    /// A disk that starts from this volume and keeps only the differences.
    #[arg(long, value_name = "VOLUME")]
    pub(crate) linked_image: Vec<String>,
    /// A CD drive with this volume.
    #[arg(long, value_name = "VOLUME")]
    pub(crate) cdrom: Vec<String>,
    /// The pool of new disks.
    #[arg(long)]
    pub(crate) pool: Option<String>,
    /// A NIC in this network.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// A NIC on this bridge of the host.
    #[arg(long)]
    pub(crate) bridge: Vec<String>,
    /// A kernel on the host to boot.
    #[arg(long, value_name = "PATH")]
    pub(crate) kernel: Option<String>,
    /// The initial RAM disk on the host.
    #[arg(long, value_name = "PATH", requires = "kernel")]
    pub(crate) initrd: Option<String>,
    /// The kernel's command line.
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    pub(crate) cmdline: Option<String>,
    /// A file with cloud-init's user-data.
    #[arg(long, value_name = "FILE")]
    pub(crate) cloud_init: Option<PathBuf>,
    /// A serial port, for `hv console`.
    #[arg(long)]
    pub(crate) serial: bool,
    /// A channel for the guest agent.
    #[arg(long)]
    pub(crate) agent: bool,
    /// The host that it is made on.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// The id that it is to get.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// A tag.
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// What to say about it.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// A mark that makes a create of unknown outcome safe to repeat.
    #[arg(long, value_name = "MARK")]
    pub(crate) client_token: Option<String>,
    /// Start it.
    #[arg(long)]
    pub(crate) start: bool,
}

#[derive(Args)]
pub(crate) struct Update {
    /// Name or id.
    pub(crate) vm: String,
    /// Its new name.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its CPUs.
    #[arg(long)]
    pub(crate) cpus: Option<u32>,
    /// Its memory, as 512MiB or 4GiB.
    #[arg(long, value_parser = size)]
    pub(crate) memory: Option<ByteSize>,
    /// What to say about it.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Add a tag.
    #[arg(long, value_name = "TAG")]
    pub(crate) add_tag: Vec<String>,
    /// Remove a tag.
    #[arg(long, value_name = "TAG")]
    pub(crate) remove_tag: Vec<String>,
    /// Whether it starts with its host.
    #[arg(long, value_name = "BOOL")]
    pub(crate) autostart: Option<bool>,
}

#[derive(Args)]
pub(crate) struct Addresses {
    /// Name or id.
    pub(crate) vm: String,
}

#[derive(Args)]
pub(crate) struct Exec {
    /// Name or id.
    pub(crate) vm: String,
    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) timeout: Duration,
    /// Give it what stands on standard input.
    #[arg(long)]
    pub(crate) stdin: bool,
    /// The program's path inside the guest, and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    pub(crate) command: BackupCommand,
}

#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// List the backups, of one guest or of all.
    List { vm: Option<String> },
    /// Back a guest up.
    Create {
        vm: String,
        /// The pool that it goes into.
        #[arg(long)]
        pool: Option<String>,
        /// What happens to a running guest meanwhile: snapshot (it goes on), suspend or stop.
        #[arg(long, default_value = "snapshot", value_parser = mode)]
        mode: BackupMode,
        /// Compress it.
        #[arg(long)]
        compress: bool,
        /// Protect it against deletion.
        #[arg(long)]
        protect: bool,
        /// Hold only what has changed since this backup.
        #[arg(long, value_name = "BACKUP")]
        since: Option<String>,
        /// What to say about it.
        #[arg(long)]
        description: Option<String>,
    },
    /// Make a guest from a backup.
    Restore {
        backup: String,
        /// The name of a new guest.
        #[arg(long, required_unless_present = "original", conflicts_with = "original")]
        name: Option<String>,
        /// Overwrite the guest that it was made of.
        #[arg(long)]
        original: bool,
        /// The id that a new guest is to get.
        #[arg(long, conflicts_with = "original")]
        id: Option<String>,
        /// The pool of its disks.
        #[arg(long)]
        pool: Option<String>,
        /// Start it afterwards.
        #[arg(long)]
        start: bool,
        /// Do not ask whether to overwrite.
        #[arg(long, short)]
        yes: bool,
    },
    /// Delete a backup.
    Delete {
        backup: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Args)]
pub(crate) struct Guests {
    /// Names or ids.
    #[arg(required = true)]
    pub(crate) vms: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Shutdown {
    /// Names or ids.
    #[arg(required = true)]
    pub(crate) vms: Vec<String>,
    /// Cut the power of those that still run after this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) power_off_after: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// Name or id.
    pub(crate) vm: String,
    /// Delete its disks.
    #[arg(long, required_unless_present = "keep_disks", conflicts_with = "keep_disks")]
    pub(crate) with_disks: bool,
    /// Keep its disks.
    #[arg(long)]
    pub(crate) keep_disks: bool,
    /// Cut its power first if it runs.
    #[arg(long)]
    pub(crate) power_off: bool,
    /// Delete its snapshots too.
    #[arg(long)]
    pub(crate) snapshots: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Subcommand)]
pub(crate) enum SnapshotCommand {
    /// List a guest's snapshots, children below their parents.
    List { vm: String },
    /// Take a snapshot.
    Create {
        vm: String,
        name: String,
        /// What to say about it.
        #[arg(long)]
        description: Option<String>,
        /// Keep the memory of a running guest too.
        #[arg(long, conflicts_with = "disks_only")]
        memory: bool,
        /// Leave the memory of a running guest out.
        #[arg(long)]
        disks_only: bool,
        /// Freeze the file systems meanwhile, through the guest agent.
        #[arg(long)]
        quiesce: bool,
    },
    /// Take the guest back to a snapshot; what it has done since is lost.
    Revert {
        vm: String,
        name: String,
        /// Start it afterwards.
        #[arg(long)]
        start: bool,
    },
    /// Delete a snapshot.
    Delete {
        vm: String,
        name: String,
        /// With all that were taken on top of it.
        #[arg(long)]
        children: bool,
    },
}

#[derive(Args)]
pub(crate) struct Clone_ {
    /// The original's name or id.
    pub(crate) vm: String,
    /// The name of the copy; of several, how their names begin.
    pub(crate) name: String,
    /// Make so many copies: NAME-1 to NAME-n.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
    /// Share the original's disks and keep only the differences.
    #[arg(long)]
    pub(crate) linked: bool,
    /// Copy this snapshot rather than the present state.
    #[arg(long)]
    pub(crate) snapshot: Option<String>,
    /// The pool of the new disks.
    #[arg(long)]
    pub(crate) pool: Option<String>,
    /// The host of the copy.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Start the copy.
    #[arg(long)]
    pub(crate) start: bool,
}

#[derive(Args)]
pub(crate) struct Migrate {
    /// Name or id.
    pub(crate) vm: String,
    /// Where to. Proxmox: the node; libvirt: the other daemon's URI.
    pub(crate) host: String,
    /// Refuse unless it goes on running meanwhile.
    #[arg(long, conflicts_with = "offline")]
    pub(crate) live: bool,
    /// Move it while it is off.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Copy its disks too.
    #[arg(long)]
    pub(crate) with_disks: bool,
    /// At most so much a second, as 100MiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) bandwidth: Option<ByteSize>,
}

#[derive(Args)]
pub(crate) struct Console {
    /// Name or id.
    pub(crate) vm: String,
    /// The console: serial, vnc or spice.
    #[arg(long, default_value = "serial", value_parser = console)]
    pub(crate) kind: ConsoleKind,
    /// The key that, with Ctrl held, detaches.
    #[arg(long, value_name = "KEY", default_value = "]", value_parser = escape)]
    pub(crate) escape: u8,
    /// End the session of whoever has it open.
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Print the password of the screen, which is left out otherwise.
    #[arg(long)]
    pub(crate) show_password: bool,
}

#[derive(Args)]
pub(crate) struct Metrics {
    /// Only these, by name or id.
    pub(crate) vms: Vec<String>,
    /// Of the hosts.
    #[arg(long, conflicts_with = "vms")]
    pub(crate) hosts: bool,
    /// Again and again, until Ctrl-C.
    #[arg(long)]
    pub(crate) watch: bool,
    /// The time between two looks.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    pub(crate) interval: Duration,
    /// End after so many tables.
    #[arg(long, value_name = "N", requires = "watch", hide = true)]
    pub(crate) rounds: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Events {
    /// Only those about this guest.
    #[arg(long)]
    pub(crate) vm: Option<String>,
    /// Until Ctrl-C; without this, what happens in ten seconds.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// For so long.
    #[arg(long = "for", value_name = "TIME", conflicts_with = "follow", value_parser = time)]
    pub(crate) time: Option<Duration>,
    /// End after so many.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Tasks {
    #[command(subcommand)]
    pub(crate) command: Option<TasksCommand>,
    /// Only those of this guest.
    #[arg(long)]
    pub(crate) vm: Option<String>,
    /// Only those that go on.
    #[arg(long)]
    pub(crate) running: bool,
}

#[derive(Subcommand)]
pub(crate) enum TasksCommand {
    /// Wait for a task, with a progress bar on terminals.
    Follow { task: String },
    /// Print a task's log, and go on until it has ended.
    Log { task: String },
    /// Ask a task to end.
    Cancel { task: String },
}

#[derive(Args)]
pub(crate) struct Upload {
    /// The file.
    pub(crate) file: PathBuf,
    /// The pool in which a volume is made for it.
    #[arg(required_unless_present = "into", conflicts_with = "into")]
    pub(crate) pool: Option<String>,
    /// The new volume's name; without it the file's.
    #[arg(long, conflicts_with = "into")]
    pub(crate) name: Option<String>,
    /// The format of the file; without it what its ending says.
    #[arg(long, conflicts_with = "into")]
    pub(crate) format: Option<String>,
    /// What it is for, in the backend's words (Proxmox: iso, import).
    #[arg(long, conflicts_with = "into")]
    pub(crate) content: Option<String>,
    /// Write into this volume, which exists and is large enough.
    #[arg(long, value_name = "VOLUME")]
    pub(crate) into: Option<String>,
}

#[derive(Args)]
pub(crate) struct Download {
    /// The volume.
    pub(crate) volume: String,
    /// The file, which must not be there yet; `-` is standard output.
    pub(crate) file: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct Batch {
    /// A batch request as JSON, or a list of its items; `-` is standard input. Guests may be named by name or id.
    pub(crate) file: PathBuf,
    /// How many at a time.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Begin nothing new once one has failed.
    #[arg(long)]
    pub(crate) stop_on_error: bool,
}

#[derive(Args)]
pub(crate) struct Volumes {
    /// Only those of this pool.
    pub(crate) pool: Option<String>,
}

#[derive(Args)]
pub(crate) struct Capabilities {
    /// Only what it cannot do.
    #[arg(long)]
    pub(crate) missing: bool,
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: hypervisor::Error| error.message().to_owned())
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let parsed = parse_duration(text).filter(|time| !time.is_zero());
    parsed.ok_or_else(|| "this is no time like 500ms, 30s, 10m or 2h".to_owned())
}

fn mode(text: &str) -> Result<BackupMode, String> {
    text.parse().map_err(|_| "one of snapshot, suspend, stop".to_owned())
}

fn state(text: &str) -> Result<VmState, String> {
    match VmState::parse(text) {
        VmState::Unknown(_) => {
            let known: Vec<&str> = VmState::KNOWN.iter().map(VmState::as_str).collect();
            Err(format!("one of {}", known.join(", ")))
        }
        known => Ok(known),
    }
}

fn console(text: &str) -> Result<ConsoleKind, String> {
    match ConsoleKind::parse(text) {
        ConsoleKind::Unknown(_) => Err("one of serial, vnc, spice".to_owned()),
        known => Ok(known),
    }
}

/// The control character of a key.
fn escape(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(key & 0x1f),
        _ => Err("a letter or one of @ [ \\ ] ^ _".to_owned()),
    }
}
