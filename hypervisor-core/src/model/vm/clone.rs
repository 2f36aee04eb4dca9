//! How a guest is copied, and made from a template.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::boot::CloudInit;
use crate::model::capability::{Feature, asked};
use crate::model::id::{GroupId, HostId, NetworkId, PoolId, SnapshotId, VmId};
use crate::model::macros::setters;
use crate::model::units::ByteSize;
use crate::model::validate;

/// How a guest is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CloneSpec {
    /// The name of the copy.
    pub name: String,
    /// The id that it should get, where the backend lets the caller choose.
    #[serde(default)]
    pub id: Option<VmId>,
    /// Share the original's disks and keep only the differences, rather than copy them.
    #[serde(default)]
    pub linked: bool,
    /// The pool of the new disks; without it those of the original's.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// The host of the copy.
    #[serde(default)]
    pub host: Option<HostId>,
    /// The snapshot that is copied rather than the present state.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
    /// The resource group of the copy.
    #[serde(default)]
    pub group: Option<GroupId>,
    /// Whether the copy is started.
    #[serde(default)]
    pub start: bool,
    /// A mark by which a clone of unknown outcome is found again.
    #[serde(default)]
    pub client_token: Option<String>,
}

impl CloneSpec {
    /// A full copy of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            linked: false,
            pool: None,
            host: None,
            snapshot: None,
            description: None,
            group: None,
            start: false,
            client_token: None,
        }
    }

    setters! {
        opt_into id: VmId; val linked: bool; opt_into pool: PoolId; opt_into host: HostId; opt_into snapshot: SnapshotId;
        opt_into description: String; opt_into group: GroupId; val start: bool; opt_into client_token: String;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        self.client_token.as_deref().map_or(Ok(()), |token| validate::name("client_token", token))?;
        validate::description(self.description.as_deref())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.linked, Feature::LinkedClone),
            (!self.linked, Feature::FullClone),
            (self.snapshot.is_some(), Feature::CloneSnapshot),
            (self.id.is_some(), Feature::RequestedId),
            (self.client_token.is_some(), Feature::ClientToken),
        ])
    }
}

/// How a guest is copied many times: `prefix-1` to `prefix-n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CloneMany {
    /// How the names begin.
    pub prefix: String,
    /// How many.
    pub count: u32,
    /// The number of the first, 1 unless it is said.
    #[serde(default = "CloneMany::usual_first")]
    pub first: u32,
    /// What the copies have in common; its name and id are not used.
    #[serde(default = "CloneMany::usual_each")]
    pub each: CloneSpec,
    /// How many are made at a time, 2 unless it is said.
    #[serde(default = "CloneMany::usual_concurrency")]
    pub concurrency: u32,
}

impl CloneMany {
    /// `count` full copies, `prefix-1` to `prefix-count`.
    pub fn new(prefix: impl Into<String>, count: u32) -> Self {
        let prefix = prefix.into();
        Self {
            each: CloneSpec::new(prefix.clone()),
            prefix,
            count,
            first: Self::usual_first(),
            concurrency: Self::usual_concurrency(),
        }
    }

    const fn usual_first() -> u32 {
        1
    }

    fn usual_each() -> CloneSpec {
        CloneSpec::new("each")
    }

    const fn usual_concurrency() -> u32 {
        2
    }

    setters! { val first: u32; val each: CloneSpec; val concurrency: u32; }

    /// The most copies that one call makes.
    pub const MOST: u32 = 10_000;

    /// The single clones.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn specs(&self) -> Result<Vec<CloneSpec>> {
        if !(1..=Self::MOST).contains(&self.count) {
            return Err(Error::invalid("count", format!("must be from 1 to {}", Self::MOST)));
        }
        let last = self.first.checked_add(self.count - 1);
        let last = last.ok_or_else(|| Error::invalid("count", "the last number would not fit 32 bits"))?;
        let named = (self.first..=last).map(|number| {
            let mut spec =
                CloneSpec { name: format!("{}-{number}", self.prefix), id: None, ..self.each.clone() };
            spec.client_token = spec.client_token.map(|token| format!("{token}-{number}"));
            let wrong = |error: Error| match error.fields().get("name") {
                Some(why) => Error::invalid("prefix", format!("makes no valid names: {why}")),
                None => error,
            };
            spec.validate().map_err(wrong)?;
            Ok(spec)
        });
        named.collect()
    }
}

/// How a template is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TemplateSpec {
    /// The name of a template that is made from a copy; without it the guest itself becomes the template.
    #[serde(default)]
    pub name: Option<String>,
    /// Remove what identifies the guest first: host keys, machine id, logs.
    #[serde(default)]
    pub seal: bool,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
}

impl TemplateSpec {
    /// The guest itself becomes the template.
    #[must_use]
    pub fn in_place() -> Self {
        Self { name: None, seal: false, description: None }
    }

    /// A copy of this name becomes the template.
    pub fn copy(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::in_place() }
    }

    setters! { val seal: bool; opt_into description: String; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), |name| validate::name("name", name))?;
        validate::description(self.description.as_deref())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.seal { vec![Feature::SealTemplate] } else { Vec::new() }
    }
}

/// How a guest is made from a template: a clone, and what is then set on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeploySpec {
    /// The copy; its `start` starts the guest at the end.
    pub clone: CloneSpec,
    /// CPUs, if others than the template's.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory, if other than the template's.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// The network of its first NIC.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// What cloud-init reads at the first boot.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
}

impl DeploySpec {
    /// A full copy of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            clone: CloneSpec::new(name),
            cpus: None,
            memory: None,
            network: None,
            autostart: false,
            cloud_init: None,
        }
    }

    setters! {
        val clone: CloneSpec; opt cpus: u32; opt memory: ByteSize; opt_into network: NetworkId; val autostart: bool;
        opt cloud_init: CloudInit;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        self.clone.validate()?;
        self.cpus.map_or(Ok(()), validate::cpus)?;
        self.memory.map_or(Ok(()), validate::memory)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        let mut needs = self.clone.needs();
        if self.autostart {
            needs.push(Feature::Autostart);
        }
        if self.cloud_init.is_some() {
            needs.push(Feature::CloudInit);
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<()>) -> String {
        result.unwrap_err().fields().keys().next().cloned().unwrap_or_default()
    }

    #[test]
    fn many_clones_have_their_numbers() {
        let names: Vec<_> =
            CloneMany::new("web", 3).specs().unwrap().into_iter().map(|spec| spec.name).collect();
        assert_eq!(names, ["web-1", "web-2", "web-3"]);
        assert!(CloneMany::new("web", 0).specs().is_err());
        let wrong = |many: CloneMany| field(many.specs().map(drop));
        assert_eq!(wrong(CloneMany::new("--web", 2)), "prefix");
        assert_eq!(wrong(CloneMany::new("web", 2).first(u32::MAX)), "count");
        assert_eq!(wrong(CloneMany::new("web", u32::MAX)), "count");
        let bell = CloneSpec::new("").description("\u{7}");
        assert_eq!(wrong(CloneMany::new("web", 2).each(bell)), "description");
    }
}
