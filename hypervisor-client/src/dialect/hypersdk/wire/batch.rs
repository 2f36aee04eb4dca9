//! Batches: one verb for many domains, with a result for each in the order asked.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{soft, time};

answers! {
    /// What became of a batch. The status of the answer is 200 even where all of it failed.
    BatchResult {
        may {
            /// The verb, in virsh's words: a stop is `shutdown` or `destroy`, a delete `undefine`, a pause `suspend`.
            operation: String,
            /// How many were asked for.
            total: u64,
            /// How many it worked for.
            successful: u64,
            /// How many it did not work for.
            failed: u64,
            /// One for each domain, in the order asked.
            results: Vec<BatchItemResult>,
            /// When it began.
            start_time: Option<SystemTime>,
            /// When it ended.
            end_time: Option<SystemTime>,
            /// How long it took, as Go prints it; see [`BatchResult::took`].
            duration: String,
        }
    }

    /// What became of one domain of a batch.
    BatchItemResult {
        must {
            /// The domain.
            domain: String,
        }
        may {
            /// Whether it worked.
            success: bool,
            /// Why not, in virsh's words.
            error: String,
        }
    }
}

impl BatchResult {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        time::duration(&self.duration)
    }
}

/// A snapshot of many domains (`POST /libvirt/batch/snapshot`). They are called `<prefix>-<domain>-<yyyymmdd-hhmmss>`, which the answer does not
/// repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchSnapshot {
    /// The domains.
    pub domains: Vec<String>,
    /// How the names of the snapshots begin.
    pub name_prefix: String,
    /// What is said about them.
    pub description: String,
    /// All disks of a domain or none.
    pub atomic: bool,
    /// Without the memory of running domains.
    pub disk_only: bool,
}

impl BatchSnapshot {
    /// Snapshots with the memory of running domains.
    pub fn new<D: Into<String>>(
        domains: impl IntoIterator<Item = D>,
        name_prefix: impl Into<String>,
    ) -> Self {
        Self {
            domains: domains.into_iter().map(Into::into).collect(),
            name_prefix: name_prefix.into(),
            description: String::new(),
            atomic: false,
            disk_only: false,
        }
    }

    chain! { description: String; atomic: bool; disk_only: bool; }
}

/// `POST /libvirt/batch/start`
#[derive(Debug, Serialize)]
pub(crate) struct BatchStart<'a> {
    pub(crate) domains: &'a [&'a str],
    pub(crate) paused: bool,
}

/// `POST /libvirt/batch/stop` and `/reboot`
#[derive(Debug, Serialize)]
pub(crate) struct BatchForce<'a> {
    pub(crate) domains: &'a [&'a str],
    pub(crate) force: bool,
}

/// `POST /libvirt/batch/delete`
#[derive(Debug, Serialize)]
pub(crate) struct BatchDelete<'a> {
    pub(crate) domains: &'a [&'a str],
    pub(crate) remove_storage: bool,
    pub(crate) snapshots_only: bool,
}

/// `POST /libvirt/batch/pause` and `/resume`
#[derive(Debug, Serialize)]
pub(crate) struct BatchDomains<'a> {
    pub(crate) domains: &'a [&'a str],
}
