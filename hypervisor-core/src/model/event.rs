//! What happens, as a stream.

use std::time::SystemTime;

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::extra::Extra;
use super::id::{HostId, NetworkId, PoolId, SnapshotId, TaskId, VmId, VolumeId};
use super::macros::setters;
use super::task::TaskState;
use super::vm::VmState;
use crate::error::Result;

/// Events until the connection ends. An `Err` item is the end and says why.
pub type EventStream = BoxStream<'static, Result<Event>>;

/// What happened, and when it was noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Event {
    /// When it was noticed.
    pub time: SystemTime,
    /// What happened.
    pub kind: EventKind,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl Event {
    /// This happened at that time.
    #[must_use]
    pub fn new(time: SystemTime, kind: EventKind) -> Self {
        Self { time, kind, extra: Extra::default() }
    }

    setters! { val extra: Extra; }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A guest was made.
    VmCreated(VmId),
    /// A guest's configuration was changed.
    VmUpdated(VmId),
    /// A guest is gone.
    VmDeleted(VmId),
    /// A guest does something else now.
    VmStateChanged {
        /// The guest.
        vm: VmId,
        /// What it does.
        state: VmState,
    },
    /// A guest is on another host.
    VmMigrated {
        /// The guest.
        vm: VmId,
        /// Where it is.
        host: HostId,
    },
    /// A guest's snapshots have changed.
    SnapshotsChanged {
        /// The guest.
        vm: VmId,
        /// The snapshot, where the backend tells.
        snapshot: Option<SnapshotId>,
    },
    /// A task is in another state.
    TaskChanged {
        /// The task.
        task: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// A volume was made, changed or deleted.
    VolumeChanged(VolumeId),
    /// A pool was made, changed or deleted.
    PoolChanged(PoolId),
    /// A network was made, changed or deleted.
    NetworkChanged(NetworkId),
    /// A host was added, has changed or is gone.
    HostChanged(HostId),
    /// Events were missed, and nobody knows how many (the connection broke, for example): read again what matters.
    Resync {
        /// Why.
        reason: String,
    },
    /// This reader was too slow for the bounded queue between it and the source: read again what matters.
    Lagged {
        /// How many events it has missed.
        missed: u64,
    },
    /// Something that only a newer server can tell, as it told it.
    #[serde(untagged)]
    Other(serde_json::Value),
}

impl EventKind {
    /// Whether events were missed before this one, so that what is known from events has to be read again.
    #[must_use]
    pub const fn is_gap(&self) -> bool {
        matches!(self, Self::Resync { .. } | Self::Lagged { .. })
    }

    /// The guest that it is about.
    #[must_use]
    pub const fn vm(&self) -> Option<&VmId> {
        match self {
            Self::VmCreated(vm)
            | Self::VmUpdated(vm)
            | Self::VmDeleted(vm)
            | Self::VmStateChanged { vm, .. }
            | Self::VmMigrated { vm, .. }
            | Self::SnapshotsChanged { vm, .. } => Some(vm),
            _ => None,
        }
    }
}

/// Which events are wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct EventQuery {
    /// About this guest.
    pub vm: Option<VmId>,
}

impl EventQuery {
    /// All events.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! { opt_into vm: VmId; }

    /// Whether the query wants this event. [Gaps](EventKind::is_gap) are always wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        match (&self.vm, &event.kind) {
            (None, _) => true,
            (_, kind) if kind.is_gap() => true,
            (Some(vm), kind) => kind.vm() == Some(vm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_server_tells_is_kept() {
        let json =
            r#"{"time":{"secs_since_epoch":1,"nanos_since_epoch":0},"kind":{"vm_teleported":{"vm":"7"}}}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        assert!(
            matches!(&event.kind, EventKind::Other(told) if told["vm_teleported"]["vm"] == "7"),
            "{event:?}"
        );
        assert_eq!(serde_json::from_str::<Event>(&serde_json::to_string(&event).unwrap()).unwrap(), event);
        let json = json.replace(r#"{"vm_teleported":{"vm":"7"}}"#, r#"{"vm_created":"7"}"#);
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap().kind, EventKind::VmCreated("7".into()));
    }
}
