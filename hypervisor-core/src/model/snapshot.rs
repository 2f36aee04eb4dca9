//! Snapshots, which form a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::capability::{Feature, asked};
use super::extra::Extra;
use super::id::SnapshotId;
use super::macros::setters;
use super::validate;
use super::vm::VmState;
use crate::error::{Error, Result};

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its id, which is its name.
    pub id: SnapshotId,
    /// The snapshot that it was taken on top of.
    #[serde(default)]
    pub parent: Option<SnapshotId>,
    /// Whether the guest's present state stands on top of it.
    #[serde(default)]
    pub current: bool,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// When it was taken.
    #[serde(default)]
    pub created: Option<SystemTime>,
    /// What the guest was doing.
    #[serde(default)]
    pub state: Option<VmState>,
    /// Whether it holds the memory too.
    #[serde(default)]
    pub memory: bool,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl SnapshotInfo {
    /// A snapshot of which nothing else is known.
    pub fn new(id: impl Into<SnapshotId>) -> Self {
        Self {
            id: id.into(),
            parent: None,
            current: false,
            description: None,
            created: None,
            state: None,
            memory: false,
            extra: Extra::default(),
        }
    }

    setters! {
        opt_into parent: SnapshotId; val current: bool; opt_into description: String; opt created: SystemTime;
        opt state: VmState; val memory: bool; val extra: Extra;
    }
}

/// A guest's snapshots with their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SnapshotTree(Vec<SnapshotInfo>);

impl SnapshotTree {
    /// A tree of these snapshots, sorted so that parents come before their children.
    #[must_use]
    pub fn new(snapshots: Vec<SnapshotInfo>) -> Self {
        let mut all = snapshots;
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let mut children: BTreeMap<SnapshotId, Vec<usize>> = BTreeMap::new();
        let ids: BTreeSet<&SnapshotId> = all.iter().map(|item| &item.id).collect();
        let mut ready = BTreeSet::new();
        for (at, item) in all.iter().enumerate() {
            match item.parent.as_ref().filter(|parent| **parent != item.id && ids.contains(parent)) {
                Some(parent) => children.entry(parent.clone()).or_default().push(at),
                None => {
                    ready.insert(at);
                }
            }
        }
        let mut left: BTreeMap<usize, SnapshotInfo> = all.into_iter().enumerate().collect();
        let mut sorted = Vec::with_capacity(left.len());
        // Parents in a circle can only come from a broken server; the first is then taken as it is.
        while let Some(at) = ready.pop_first().or_else(|| left.keys().next().copied()) {
            if let Some(item) = left.remove(&at) {
                ready.extend(children.remove(&item.id).unwrap_or_default());
                sorted.push(item);
            }
        }
        Self(sorted)
    }

    /// All snapshots, parents before their children.
    pub fn iter(&self) -> std::slice::Iter<'_, SnapshotInfo> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: &SnapshotId) -> Option<&SnapshotInfo> {
        self.0.iter().find(|item| item.id == *id)
    }

    /// The one that the guest's present state stands on.
    #[must_use]
    pub fn current(&self) -> Option<&SnapshotInfo> {
        self.0.iter().find(|item| item.current)
    }

    /// Those without a parent in the tree.
    pub fn roots(&self) -> impl Iterator<Item = &SnapshotInfo> {
        self.0.iter().filter(|item| item.parent.as_ref().is_none_or(|parent| self.get(parent).is_none()))
    }

    /// Those taken directly on top of this one.
    pub fn children<'a>(&'a self, id: &'a SnapshotId) -> impl Iterator<Item = &'a SnapshotInfo> {
        self.0.iter().filter(move |item| item.parent.as_ref() == Some(id))
    }
}

impl IntoIterator for SnapshotTree {
    type Item = SnapshotInfo;
    type IntoIter = std::vec::IntoIter<SnapshotInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a SnapshotTree {
    type Item = &'a SnapshotInfo;
    type IntoIter = std::slice::Iter<'a, SnapshotInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// How a snapshot is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SnapshotSpec {
    /// Its name.
    pub name: String,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether the memory of a running guest is kept too; without it as the backend does usually. A stopped guest has none.
    #[serde(default)]
    pub memory: Option<bool>,
    /// Freeze the file systems meanwhile, through the guest agent.
    #[serde(default)]
    pub quiesce: bool,
}

impl SnapshotSpec {
    /// A snapshot of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: None, memory: None, quiesce: false }
    }

    setters! { opt_into description: String; opt memory: bool; val quiesce: bool; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        if self.quiesce && self.memory == Some(true) {
            return Err(Error::invalid("quiesce", "makes sense only without the memory"));
        }
        validate::description(self.description.as_deref())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.memory == Some(true), Feature::MemorySnapshot),
            (self.memory == Some(false), Feature::DiskOnlySnapshot),
            (self.quiesce, Feature::QuiescedSnapshot),
        ])
    }
}

/// How a guest is taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct RevertSnapshot {
    /// Start it afterwards, also if the snapshot was taken of a stopped guest.
    pub start: bool,
}

impl RevertSnapshot {
    /// To the state that the snapshot was taken in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { val start: bool; }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.start { vec![Feature::RevertAndStart] } else { Vec::new() }
    }
}

/// How a snapshot is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DeleteSnapshot {
    /// Delete all that were taken on top of it too; otherwise these become children of its parent.
    pub children: bool,
}

impl DeleteSnapshot {
    /// Only this one.
    #[must_use]
    pub fn only() -> Self {
        Self { children: false }
    }

    /// With all that were taken on top of it.
    #[must_use]
    pub fn with_children() -> Self {
        Self { children: true }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.children { vec![Feature::SnapshotChildren] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_children_even_from_a_broken_server() {
        let tree = SnapshotTree::new(vec![
            SnapshotInfo::new("c").parent("b"),
            SnapshotInfo::new("b").parent("a"),
            SnapshotInfo::new("a").parent("gone"),
        ]);
        let ids: Vec<_> = tree.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(tree.roots().count(), 1);
        assert_eq!(tree.children(&"a".into()).count(), 1);
        let circle =
            SnapshotTree::new(vec![SnapshotInfo::new("x").parent("y"), SnapshotInfo::new("y").parent("x")]);
        assert_eq!(circle.len(), 2);
    }
}
