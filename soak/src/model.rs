//! What a worker was told of the guests that it has made.

use std::collections::{BTreeMap, BTreeSet};

use hypervisor_core::model::{SnapshotId, VmId};

/// A guest as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) id: VmId,
    /// Where the server tells.
    pub(crate) cpus: Option<u32>,
    pub(crate) running: bool,
    pub(crate) snapshots: BTreeSet<SnapshotId>,
}

/// The guests of one worker, by name. Names are not used again.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) guests: BTreeMap<String, Guest>,
    /// Names of guests that are gone, or never were.
    pub(crate) gone: BTreeSet<String>,
}

impl Model {
    pub(crate) fn remove(&mut self, name: &str) {
        self.guests.remove(name);
        self.gone.insert(name.to_owned());
    }
}
