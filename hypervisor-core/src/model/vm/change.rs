//! What is to change in a guest, and what has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::Revision;
use crate::model::boot::BootDevice;
use crate::model::capability::{Feature, asked};
use crate::model::extra::Extra;
use crate::model::macros::{named_enum, setters};
use crate::model::units::ByteSize;
use crate::model::validate;

named_enum! {
    /// Where a change is made.
    ApplyPolicy {
        /// In the configuration, and in the running guest as far as that can be; the rest waits for the next power cycle.
        AllowPending = "allow_pending",
        /// In both at once, or not at all.
        LiveOnly = "live_only",
        /// In the configuration only.
        NextBoot = "next_boot",
    }
}

impl ApplyPolicy {
    const fn usual() -> Self {
        Self::AllowPending
    }
}

/// What is to change in a guest; what is `None` stays.
///
/// ```
/// use hypervisor_core::model::{ByteSize, VmChange};
/// let change = VmChange::new().memory(ByteSize::gib(8)).add_tag("resized");
/// assert!(change.validate().is_ok());
/// assert!(VmChange::new().cpus(0).validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VmChange {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Its memory.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// What somebody wants to say about it; empty removes it.
    #[serde(default)]
    pub description: Option<String>,
    /// Tags to add.
    #[serde(default)]
    pub add_tags: BTreeSet<String>,
    /// Tags to remove.
    #[serde(default)]
    pub remove_tags: BTreeSet<String>,
    /// Metadata to set; an empty value removes the key.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// What is booted from.
    #[serde(default)]
    pub boot_order: Option<Vec<BootDevice>>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// Whether it has a channel for the guest agent.
    #[serde(default)]
    pub agent: Option<bool>,
    /// Where the change is made.
    #[serde(default = "ApplyPolicy::usual")]
    pub apply: ApplyPolicy,
    /// Refused when the configuration is no longer this one.
    #[serde(default)]
    pub if_revision: Option<Revision>,
    /// Refused when the guest has another uid.
    #[serde(default)]
    pub expected_uid: Option<String>,
    /// Options that only one backend knows.
    #[serde(default)]
    pub options: Extra,
}

impl Default for VmChange {
    fn default() -> Self {
        Self {
            name: None,
            cpus: None,
            memory: None,
            description: None,
            add_tags: BTreeSet::new(),
            remove_tags: BTreeSet::new(),
            metadata: BTreeMap::new(),
            boot_order: None,
            autostart: None,
            agent: None,
            apply: ApplyPolicy::usual(),
            if_revision: None,
            expected_uid: None,
            options: Extra::default(),
        }
    }
}

impl VmChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        opt_into name: String; opt cpus: u32; opt memory: ByteSize; opt_into description: String;
        opt boot_order: Vec<BootDevice>; opt autostart: bool; opt agent: bool; val apply: ApplyPolicy;
        opt if_revision: Revision; opt_into expected_uid: String; val options: Extra;
    }

    /// Adds a tag.
    #[must_use]
    pub fn add_tag(mut self, tag: impl Into<String>) -> Self {
        self.add_tags.insert(tag.into());
        self
    }

    /// Removes a tag.
    #[must_use]
    pub fn remove_tag(mut self, tag: impl Into<String>) -> Self {
        self.remove_tags.insert(tag.into());
        self
    }

    /// Sets an entry of the metadata; an empty value removes it.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { apply: self.apply, if_revision: None, expected_uid: None, ..Self::default() }
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), |name| validate::name("name", name))?;
        self.cpus.map_or(Ok(()), validate::cpus)?;
        self.memory.map_or(Ok(()), validate::memory)?;
        validate::description(self.description.as_deref())?;
        self.add_tags.iter().try_for_each(|tag| validate::tag("add_tags", tag))?;
        validate::metadata(&self.metadata)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (!(self.add_tags.is_empty() && self.remove_tags.is_empty()), Feature::Tags),
            (!self.metadata.is_empty(), Feature::Metadata),
            (self.autostart.is_some(), Feature::Autostart),
            (self.agent == Some(true), Feature::GuestAgent),
            (self.if_revision.is_some(), Feature::RevisionCheck),
        ])
    }
}

named_enum! {
    /// What it takes for pending changes to come into force.
    RestartNeed {
        /// Nothing: all is in force.
        None = "none",
        /// Power off and on. A reboot from inside the guest is not enough on most backends.
        PowerCycle = "power_cycle",
    }
}

/// What an update has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct UpdateOutcome {
    /// The fields that are in force.
    pub applied: Vec<String>,
    /// The fields that wait.
    pub pending: Vec<String>,
    /// What it takes to bring them into force.
    pub needs: RestartNeed,
}

impl UpdateOutcome {
    /// These fields are in force, those wait for a power cycle.
    #[must_use]
    pub fn new(applied: Vec<String>, pending: Vec<String>) -> Self {
        let needs = if pending.is_empty() { RestartNeed::None } else { RestartNeed::PowerCycle };
        Self { applied, pending, needs }
    }
}
