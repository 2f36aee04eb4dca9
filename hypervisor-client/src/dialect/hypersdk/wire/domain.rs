//! Domains: what libvirt calls virtual machines.

use std::collections::BTreeMap;

use hypervisor_core::model::{ByteSize, VmState};

use super::soft;

answers! {
    /// A domain. In a list only `id`, `name` and `state` are real; where one is asked for by name, all but `id` are.
    Domain {
        must {
            /// Its name, or whatever it was asked for by: the daemon repeats that.
            name: String,
        }
        may {
            /// libvirt's number of a running domain, `-` of another one.
            id: String,
            /// Its UUID.
            uuid: String,
            /// What it is doing, in virsh's words: `running`, `shut off`, `in shutdown`, …
            state: String,
            /// Its CPUs.
            cpus: u32,
            /// Its memory in MiB.
            memory: u64,
            /// Whether it starts with its host.
            autostart: bool,
            /// Whether it is still defined after it has powered off.
            persistent: bool,
        }
    }
}

/// The states of virsh, in the C locale that the daemon's parser needs.
const STATES: [&str; 9] =
    ["running", "idle", "blocked", "paused", "in shutdown", "shut off", "crashed", "pmsuspended", "no state"];

impl Domain {
    /// Its memory.
    #[must_use]
    pub fn memory_size(&self) -> Option<ByteSize> {
        (self.memory > 0).then(|| ByteSize::mib(self.memory))
    }

    /// What it is doing.
    #[must_use]
    pub fn vm_state(&self) -> VmState {
        state(&self.state)
    }

    /// Whether the daemon takes it for a template: by its name.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.name.to_ascii_lowercase().contains("template")
    }

    /// Puts a name with spaces together again: the daemon's list cuts its lines at every space, so that the rest of such a name stands
    /// before the state.
    pub(crate) fn repaired(mut self) -> Self {
        if STATES.contains(&self.state.as_str()) {
            return self;
        }
        let suffix = STATES.iter().find_map(|state| Some((*state, self.state.strip_suffix(state)?)));
        if let Some((state, rest)) = suffix
            && rest.ends_with(' ')
        {
            self.name = format!("{} {}", self.name, rest.trim_end());
            self.state = state.to_owned();
        }
        self
    }
}

/// A state of virsh in the SDK's words.
pub(crate) fn state(text: &str) -> VmState {
    match text.trim().to_ascii_lowercase().as_str() {
        "running" | "idle" | "blocked" => VmState::Running,
        "paused" | "pmsuspended" | "suspended" => VmState::Paused,
        "in shutdown" => VmState::Stopping,
        "shut off" | "shutoff" | "shut-off" | "stopped" => VmState::Stopped,
        "crashed" => VmState::Crashed,
        _ => VmState::Unknown(text.to_owned()),
    }
}

/// What can be done to one domain by name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DomainAction {
    /// Power on.
    Start,
    /// Ask it to power off.
    Shutdown,
    /// Cut its power.
    Destroy,
    /// Ask it to restart.
    Reboot,
    /// Freeze its CPUs.
    Pause,
    /// Let it go on.
    Resume,
}

/// The body of a call that is about one object: its name under this key.
pub(crate) fn named<'a>(key: &'a str, name: &'a str) -> BTreeMap<&'a str, &'a str> {
    BTreeMap::from([(key, name)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::hypersdk::wire::envelope;

    fn listed(name: &str, state: &str) -> (String, String) {
        let json = serde_json::json!({"domains": [{"id": "-", "name": name, "state": state}]}).to_string();
        let domain = envelope::list::<Domain>(json.as_bytes(), "domains").unwrap().remove(0).repaired();
        (domain.name, domain.state)
    }

    #[test]
    fn names_with_spaces_are_put_together_again() {
        assert_eq!(listed("my", "web vm shut off"), ("my web vm".into(), "shut off".into()));
        assert_eq!(listed("an", "idle machine running"), ("an idle machine".into(), "running".into()));
        assert_eq!(listed("web-01", "in shutdown"), ("web-01".into(), "in shutdown".into()));
        assert_eq!(listed("web-01", "levitating"), ("web-01".into(), "levitating".into()));
    }

    #[test]
    fn states_of_virsh_are_known_and_others_kept() {
        for (text, expected) in [
            ("running", VmState::Running),
            ("idle", VmState::Running),
            ("paused", VmState::Paused),
            ("in shutdown", VmState::Stopping),
            ("shut off", VmState::Stopped),
            ("crashed", VmState::Crashed),
            ("pmsuspended", VmState::Paused),
            ("no state", VmState::Unknown("no state".into())),
        ] {
            assert_eq!(state(text), expected, "{text}");
        }
    }
}
