//! What a guest is doing, as a number (libvirt's code) or as a word.

use hypervisor_core::model::VmState;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A state as it came: 361abbe and the document send libvirt's number, later servers a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireState {
    /// `virDomainState`.
    Code(i64),
    /// A word, as it came.
    Word(String),
}

impl WireState {
    /// What it means; nothing where it says that nobody knows.
    pub(crate) fn known(&self) -> Option<VmState> {
        match self {
            Self::Code(code) => match code {
                // No state: libvirt itself does not know.
                0 => None,
                // Blocked on a resource, which is running.
                1 | 2 => Some(VmState::Running),
                // Suspended by its own operating system: in memory, and woken without a start.
                3 | 7 => Some(VmState::Paused),
                4 => Some(VmState::Stopping),
                5 => Some(VmState::Stopped),
                6 => Some(VmState::Crashed),
                other => Some(VmState::Unknown(other.to_string())),
            },
            Self::Word(word) => match word.to_ascii_uppercase().as_str() {
                "" | "UNKNOWN" | "NOSTATE" => None,
                "ACTIVE" | "RUNNING" | "BLOCKED" => Some(VmState::Running),
                "PAUSED" | "SUSPENDED" | "PMSUSPENDED" => Some(VmState::Paused),
                "STOPPED" | "SHUTOFF" => Some(VmState::Stopped),
                "SHUTDOWN" => Some(VmState::Stopping),
                "CRASHED" => Some(VmState::Crashed),
                "INITIALIZED" => Some(VmState::Provisioning),
                _ => Some(VmState::Unknown(word.clone())),
            },
        }
    }
}

impl<'de> Deserialize<'de> for WireState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Null => Ok(Self::Word(String::new())),
            Value::Number(number) => number
                .as_i64()
                .map(Self::Code)
                .ok_or_else(|| D::Error::custom(format!("a state is expected, not {number}"))),
            Value::String(word) => Ok(match word.trim().parse() {
                Ok(code) => Self::Code(code),
                Err(_) => Self::Word(word),
            }),
            _ => Err(D::Error::custom("a state is a number or a word")),
        }
    }
}

impl Serialize for WireState {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Code(code) => to.serialize_i64(*code),
            Self::Word(word) => to.serialize_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_mean_the_same() {
        let read = |json: &str| serde_json::from_str::<WireState>(json).unwrap().known();
        for (json, state) in [
            ("1", Some(VmState::Running)),
            ("\"1\"", Some(VmState::Running)),
            ("\"ACTIVE\"", Some(VmState::Running)),
            ("3", Some(VmState::Paused)),
            ("\"PAUSED\"", Some(VmState::Paused)),
            ("5", Some(VmState::Stopped)),
            ("\"stopped\"", Some(VmState::Stopped)),
            ("6", Some(VmState::Crashed)),
            ("0", None),
            ("null", None),
            ("\"UNKNOWN\"", None),
            ("99", Some(VmState::Unknown("99".into()))),
            ("\"ERROR\"", Some(VmState::Unknown("ERROR".into()))),
        ] {
            assert_eq!(read(json), state, "{json}");
        }
        assert!(serde_json::from_str::<WireState>("[]").is_err());
        assert!(serde_json::from_str::<WireState>("1.5").is_err());
    }
}
