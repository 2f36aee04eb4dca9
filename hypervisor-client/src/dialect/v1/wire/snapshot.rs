//! Snapshots. The document shows what a create takes; what a list gives is read as its other objects are.

use hypervisor_core::model::{SnapshotInfo, SnapshotSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lenient;
use super::vm_body::put_some;
use crate::dialect::names::by_one_name;
use crate::dialect::v1::BACKEND;

/// A snapshot. Its id may be missing: then it is its name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, remote = "Self")]
#[non_exhaustive]
pub struct SnapshotRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient::maybe_id")]
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What somebody wrote about it.
    pub description: Option<String>,
    /// Whether it holds the memory.
    pub include_memory: Option<bool>,
    /// When it was taken.
    pub created_at: Option<String>,
    /// The one that it was taken on top of.
    #[serde(deserialize_with = "lenient::maybe_id")]
    pub parent: Option<String>,
    /// Whether the machine stands on it.
    pub current: Option<bool>,
    /// The job that takes it.
    #[serde(deserialize_with = "lenient::maybe_id")]
    pub job_id: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(SnapshotRecord {
    "id": "snapshot_id";
    "parent": "parent_id";
    "job_id": "creation_job_id";
});

impl SnapshotRecord {
    /// What the gateway addresses it by.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.id.as_deref().or(self.name.as_deref())
    }

    /// What the SDK knows it by: its name.
    #[must_use]
    pub fn known_as(&self) -> Option<&str> {
        self.name.as_deref().or(self.id.as_deref())
    }

    /// In the words of the SDK; `None` where it has neither id nor name.
    #[must_use]
    pub fn to_info(&self) -> Option<SnapshotInfo> {
        let mut info = SnapshotInfo::new(self.known_as()?);
        info.parent = self.parent.as_deref().map(Into::into);
        info.current = self.current.unwrap_or(false);
        info.description = self.description.clone().filter(|description| !description.is_empty());
        info.memory = self.include_memory.unwrap_or(false);
        info.created = lenient::at(self.created_at.as_ref());
        if let Some(id) = &self.id {
            info.extra.insert(BACKEND, "id", id.as_str());
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        Some(info)
    }
}

/// The documented body of a create.
pub(crate) fn create_body(spec: &SnapshotSpec) -> Value {
    let mut body = json!({ "name": spec.name });
    put_some(&mut body, "description", spec.description.clone());
    put_some(&mut body, "include_memory", spec.memory);
    body
}
