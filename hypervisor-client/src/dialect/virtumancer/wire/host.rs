//! Hosts.

use std::fmt;

use hypervisor_core::model::{ByteSize, HostInfo, HostState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;
use crate::dialect::virtumancer::BACKEND;

/// A host as the gateway keeps it. The older generation and the document know `id`, `uri` and at most `created_at`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostRecord {
    /// Its id, which is part of the ids of its guests.
    pub id: String,
    /// How the gateway reaches its libvirt: `qemu:///system`, `qemu+ssh://user@host/system`.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub uri: String,
    /// The name that somebody gave it.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// `CONNECTED`, `DISCONNECTED`, `ERROR`, …; the older generation does not tell.
    #[serde(default, deserialize_with = "lenient::text")]
    pub state: Option<String>,
    /// What the gateway is doing with it, as a word.
    #[serde(default, deserialize_with = "lenient::text")]
    pub task_state: Option<String>,
    /// Whether the gateway is connected to it; only the newer generation's list tells.
    #[serde(default, deserialize_with = "lenient::maybe_flag")]
    pub connected: Option<bool>,
    /// Whether the gateway has been told not to connect again by itself.
    #[serde(default, deserialize_with = "lenient::maybe_flag")]
    pub auto_reconnect_disabled: Option<bool>,
    /// When it was added, as RFC 3339.
    #[serde(default, deserialize_with = "lenient::text")]
    pub created_at: Option<String>,
    /// When it was changed, as RFC 3339.
    #[serde(default, deserialize_with = "lenient::text")]
    pub updated_at: Option<String>,
    /// What a newer server says beyond this.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Without a password that somebody may have put into the URI.
impl fmt::Debug for HostRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostRecord")
            .field("id", &self.id)
            .field("uri", &shown_uri(&self.uri))
            .field("state", &self.state)
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

/// A libvirt URI without a password that somebody may have put into it.
pub(crate) fn shown_uri(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    match rest.split_once('@') {
        Some((user, host)) if user.contains(':') && !user.contains('/') => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        _ => uri.to_owned(),
    }
}

impl HostRecord {
    /// Whether the gateway is connected to it, where it tells.
    #[must_use]
    pub fn is_connected(&self) -> Option<bool> {
        let of_state = || match self.state.as_deref()?.to_ascii_uppercase().as_str() {
            "CONNECTED" => Some(true),
            "DISCONNECTED" | "ERROR" => Some(false),
            _ => None,
        };
        self.connected.or_else(of_state)
    }

    /// Why it cannot be asked, in the server's words.
    pub(crate) fn trouble(&self) -> String {
        let state = self.state.as_deref().unwrap_or("disconnected");
        format!("the gateway is not connected to it: its state is {state}")
    }

    pub(crate) fn to_info(&self, facts: Option<&HostFacts>, online: bool) -> HostInfo {
        let state = if online { HostState::Online } else { HostState::Offline };
        let mut info = HostInfo::new(self.id.as_str(), state);
        if let Some(facts) = facts {
            info.cpus = facts.cpus();
            info.memory = facts.memory.map(ByteSize::bytes);
            info.memory_used = facts.memory_used.map(ByteSize::bytes);
            // What it does not know it calls 0.
            info.uptime = facts.uptime.filter(|uptime| *uptime > 0).map(std::time::Duration::from_secs);
            if let Some(hostname) = &facts.hostname {
                info.extra.insert(BACKEND, "hostname", hostname.as_str());
            }
        }
        info.extra.insert(BACKEND, "uri", shown_uri(&self.uri));
        for (key, value) in [("name", &self.name), ("state", &self.state), ("task_state", &self.task_state)] {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        info
    }
}

/// What libvirt says of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HostFacts {
    /// Its host name.
    #[serde(deserialize_with = "lenient::text")]
    pub hostname: Option<String>,
    /// Its logical CPUs.
    #[serde(deserialize_with = "lenient::number")]
    pub cpu: Option<u64>,
    /// Its memory in bytes.
    #[serde(deserialize_with = "lenient::number")]
    pub memory: Option<u64>,
    /// How much of it is in use, in bytes; the newer generation only.
    #[serde(deserialize_with = "lenient::number")]
    pub memory_used: Option<u64>,
    /// How long it has been up, in seconds; the newer generation only, and 0 where it does not know.
    #[serde(deserialize_with = "lenient::number")]
    pub uptime: Option<u64>,
    /// Cores of each socket.
    #[serde(deserialize_with = "lenient::number")]
    pub cores: Option<u64>,
    /// Threads of each core.
    #[serde(deserialize_with = "lenient::number")]
    pub threads: Option<u64>,
}

impl HostFacts {
    fn cpus(&self) -> Option<u32> {
        self.cpu.and_then(|cpus| u32::try_from(cpus).ok()).filter(|cpus| *cpus > 0)
    }
}

/// The answer about one host: bare facts, or wrapped with whether it is connected.
#[derive(Debug, Deserialize)]
#[serde(from = "Answered")]
pub(crate) struct Info {
    pub(crate) connected: bool,
    pub(crate) facts: Option<HostFacts>,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default, deserialize_with = "lenient::maybe_flag")]
    connected: Option<bool>,
    #[serde(default)]
    info: Option<HostFacts>,
    #[serde(flatten)]
    bare: HostFacts,
}

impl From<Answered> for Info {
    fn from(answer: Answered) -> Self {
        match answer.connected {
            Some(connected) => Self { connected, facts: answer.info.filter(|_| connected) },
            None => Self { connected: true, facts: Some(answer.info.unwrap_or(answer.bare)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_every_generation_are_read() {
        let read = |json: &str| serde_json::from_str::<HostRecord>(json).unwrap();
        let document = read(
            r#"{"id":"kvmsrv","uri":"qemu+ssh://user@host/system","created_at":"2023-10-27T10:00:00Z"}"#,
        );
        assert_eq!((document.uri.as_str(), document.is_connected()), ("qemu+ssh://user@host/system", None));
        let old = read(r#"{"id":"kvmsrv","uri":"qemu:///system"}"#);
        assert_eq!(old.is_connected(), None);
        let new = read(
            r#"{"id":"bad","created_at":"2026-11-20T17:53:54.03Z","deleted_at":null,"uri":"foo://x/system","state":"ERROR","task_state":"","auto_reconnect_disabled":false,"connected":false}"#,
        );
        assert_eq!((new.is_connected(), new.task_state.as_deref()), (Some(false), None));
        assert!(new.rest.contains_key("deleted_at"));
        assert_eq!(read(r#"{"id":"x","state":"CONNECTED"}"#).is_connected(), Some(true));
        assert!(serde_json::from_str::<HostRecord>(r#"{"uri":"x"}"#).is_err(), "without an id it is no host");
    }

    #[test]
    fn a_password_in_a_uri_is_not_shown() {
        let host: HostRecord =
            serde_json::from_str(r#"{"id":"h","uri":"qemu+libssh2://root:hunter2@h/system"}"#).unwrap();
        let shown = format!("{host:?} {}", host.to_info(None, true).extra.get(BACKEND));
        assert!(shown.contains("root:***@h/system") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn facts_come_bare_and_wrapped() {
        let read = |json: &str| serde_json::from_str::<Info>(json).unwrap();
        let bare = read(r#"{"hostname":"vm","cpu":2,"memory":8952950784,"cores":2,"threads":1}"#);
        assert!(bare.connected);
        assert_eq!(bare.facts.unwrap().memory, Some(8_952_950_784));
        let wrapped = read(
            r#"{"connected":true,"info":{"hostname":"vm","cpu":2,"memory":1,"memory_used":1,"uptime":0,"cores":2,"threads":1}}"#,
        );
        let facts = wrapped.facts.unwrap();
        let host: HostRecord = serde_json::from_str(r#"{"id":"h","uri":"u"}"#).unwrap();
        let info = host.to_info(Some(&facts), true);
        assert_eq!((info.cpus, info.uptime), (Some(2), None));
        let gone = read(r#"{"connected":false,"info":null}"#);
        assert!(!gone.connected && gone.facts.is_none());
    }
}
