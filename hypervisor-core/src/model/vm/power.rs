//! Power verbs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::VmState;
use crate::model::capability::Feature;
use crate::model::macros::{named_enum, setters};
use crate::operation::Operation;

named_enum! {
    /// How a guest is asked to power off.
    ShutdownVia {
        /// As the backend thinks best.
        Auto = "auto",
        /// By the power button.
        Acpi = "acpi",
        /// Through the guest agent.
        Agent = "agent",
    }
}

/// How a guest is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Shutdown {
    /// Cut its power if it still runs after this time. Without it, it is asked once and the call returns: wait for the state.
    #[serde(default)]
    pub power_off_after: Option<Duration>,
    /// How it is asked.
    pub via: ShutdownVia,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { power_off_after: None, via: ShutdownVia::Auto }
    }
}

impl Shutdown {
    /// Ask once, as the backend thinks best.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt power_off_after: Duration; val via: ShutdownVia; }
}

/// A power verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PowerAction {
    /// Power on, or wake a hibernated guest.
    Start,
    /// Ask the guest to power off.
    Shutdown(Shutdown),
    /// Cut its power.
    PowerOff,
    /// Ask the guest to restart.
    Reboot,
    /// Restart it at once.
    Reset,
    /// Freeze its CPUs.
    Pause,
    /// Let it go on.
    Resume,
    /// Save its memory to disk and power it off.
    Hibernate,
}

impl PowerAction {
    /// The operation that this is.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Start => Operation::StartVm,
            Self::Shutdown(_) => Operation::ShutdownVm,
            Self::PowerOff => Operation::PowerOffVm,
            Self::Reboot => Operation::RebootVm,
            Self::Reset => Operation::ResetVm,
            Self::Pause => Operation::PauseVm,
            Self::Resume => Operation::ResumeVm,
            Self::Hibernate => Operation::HibernateVm,
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self {
            Self::Shutdown(shutdown) => {
                let mut needs = Vec::new();
                if shutdown.power_off_after.is_some() {
                    needs.push(Feature::ShutdownTimeout);
                }
                if shutdown.via == ShutdownVia::Agent {
                    needs.push(Feature::AgentShutdown);
                }
                needs
            }
            _ => Vec::new(),
        }
    }

    /// Whether the verb makes sense in this state; the same on every backend.
    ///
    /// # Errors
    /// `InvalidState` saying which states would do.
    pub fn check_state(&self, state: &VmState) -> Result<()> {
        use VmState::{Crashed, Hibernated, Paused, Running, Stopped};
        let allowed: &[VmState] = match self {
            Self::Start => &[Stopped, Hibernated, Crashed],
            Self::Shutdown(_) | Self::Reboot | Self::Pause | Self::Hibernate => &[Running],
            Self::Resume => &[Paused],
            Self::PowerOff | Self::Reset => &[Running, Paused, Crashed],
        };
        // States of transition and unknown ones are the backend's to judge.
        if allowed.contains(state) || !matches!(state, Running | Paused | Stopped | Hibernated | Crashed) {
            return Ok(());
        }
        let allowed: Vec<&str> = allowed.iter().map(VmState::as_str).collect();
        let message = format!("it is {state}, but must be {}", allowed.join(" or "));
        Err(Error::invalid_state(message).with_operation(self.operation()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_know_their_states() {
        assert!(PowerAction::Start.check_state(&VmState::Stopped).is_ok());
        assert!(PowerAction::Start.check_state(&VmState::Hibernated).is_ok());
        let error = PowerAction::Start.check_state(&VmState::Running).unwrap_err();
        assert_eq!(error.operation(), Some(Operation::StartVm));
        assert!(PowerAction::Resume.check_state(&VmState::Running).is_err());
        assert!(PowerAction::PowerOff.check_state(&VmState::Unknown("odd".into())).is_ok());
    }
}
