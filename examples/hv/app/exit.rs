//! What the exit codes mean.

use hypervisor::{Effect, Error, ErrorKind, OperationClass};

pub(crate) const OK: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NOT_FOUND: u8 = 3;
pub(crate) const CONFLICT: u8 = 4;
pub(crate) const UNREACHABLE: u8 = 5;
pub(crate) const AUTH: u8 = 6;
pub(crate) const TIMEOUT: u8 = 7;
pub(crate) const TASK_FAILED: u8 = 8;
pub(crate) const UNKNOWN: u8 = 9;
pub(crate) const UNSUPPORTED: u8 = 10;
pub(crate) const EXHAUSTED: u8 = 11;
pub(crate) const INCOMPLETE: u8 = 12;
/// 128 and the number of SIGINT, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done
   1  failed for another reason
   2  wrong usage, wrong argument or wrong configuration
   3  not found
   4  in the way: it exists already, has changed, is locked, or is in the wrong state
   5  the backend, the host or the agent in the guest cannot be reached; nothing was changed
   6  the credentials are missing, wrong or not enough
   7  not ready in time; a task goes on, and its id was printed
   8  the task failed
   9  the outcome is unknown, or only a part was done: look before acting again
  10  this backend cannot do it
  11  a resource or the server's allowance ran out
  12  the list was printed, but what is on an unreachable host is missing
 130  ended by Ctrl-C; a task goes on where the backend keeps tasks
`hv exec` ends with the exit code of the command; with --json, each line on standard error is an object.

Settings, first found wins: --url, --profile, HV_URL, HV_PROFILE, `default` in profiles.toml.
Profiles are in $XDG_CONFIG_HOME/hv/profiles.toml (~/.config/hv/profiles.toml):
  default = \"lab\"
  [profiles.lab]
  url = \"qemu:///system\"
  [profiles.cluster]
  url = \"proxmox://sdk@pve!app@pve1.example.org:8006\"
  secret_command = \"pass show pve/app\"   # or secret_env = \"NAME\"";

/// Why a run ends early.
pub(crate) enum Stop {
    /// Something failed.
    Error(Error),
    /// Ctrl-C.
    Interrupted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The exit code for an error.
pub(crate) fn code(error: &Error) -> u8 {
    use ErrorKind::{
        AgentUnavailable, AlreadyExists, Config, Conflict, Connect, Exhausted, HostUnreachable, InvalidInput,
        InvalidState, Locked, NotFound, PermissionDenied, RateLimited, TaskFailed, Timeout, Transport,
        Unauthenticated, Unsupported,
    };
    let reads = error.operation().is_none_or(|operation| operation.class() == OperationClass::Read);
    // Only a wait knows the task that it has given up on.
    let goes_on = error.kind() == Timeout && error.task().is_some();
    match error.kind() {
        TaskFailed => return TASK_FAILED,
        _ if error.effect() != Effect::None && !reads && !goes_on => return UNKNOWN,
        _ => {}
    }
    match error.kind() {
        InvalidInput | Config => USAGE,
        NotFound => NOT_FOUND,
        AlreadyExists | Conflict | Locked | InvalidState => CONFLICT,
        AgentUnavailable | Connect | HostUnreachable | Transport => UNREACHABLE,
        Unauthenticated | PermissionDenied => AUTH,
        Timeout => TIMEOUT,
        Unsupported => UNSUPPORTED,
        Exhausted | RateLimited => EXHAUSTED,
        _ => FAILED,
    }
}
