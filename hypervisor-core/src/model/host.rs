//! Hosts, the cluster, and what a connection is connected to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::extra::Extra;
use super::id::{GroupId, HostId, PoolId, VmId};
use super::macros::{open_enum, setters};
use super::units::ByteSize;
use super::validate;
use crate::error::{Error, Result};

open_enum! {
    /// Whether a host answers.
    HostState {
        /// It does.
        Online = "online",
        /// It does not.
        Offline = "offline",
        /// It takes no new guests.
        Maintenance = "maintenance",
    }
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HostInfo {
    /// Its id.
    pub id: HostId,
    /// Whether it answers.
    pub state: HostState,
    /// Its logical CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Its processor's name.
    #[serde(default)]
    pub cpu_model: Option<String>,
    /// Its architecture (`x86_64`).
    #[serde(default)]
    pub architecture: Option<String>,
    /// Its memory.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// How much of it is in use.
    #[serde(default)]
    pub memory_used: Option<ByteSize>,
    /// How busy its CPUs are, 0.0 to 1.0.
    #[serde(default)]
    pub cpu_usage: Option<f64>,
    /// How long it has been up.
    #[serde(default)]
    pub uptime: Option<Duration>,
    /// The version of what runs the guests.
    #[serde(default)]
    pub version: Option<String>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl HostInfo {
    /// A host of which nothing else is known.
    pub fn new(id: impl Into<HostId>, state: HostState) -> Self {
        Self {
            id: id.into(),
            state,
            cpus: None,
            cpu_model: None,
            architecture: None,
            memory: None,
            memory_used: None,
            cpu_usage: None,
            uptime: None,
            version: None,
            extra: Extra::default(),
        }
    }

    setters! {
        opt cpus: u32; opt_into cpu_model: String; opt_into architecture: String; opt memory: ByteSize;
        opt memory_used: ByteSize; opt cpu_usage: f64; opt uptime: Duration; opt_into version: String; val extra: Extra;
    }
}

/// The hosts together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ClusterInfo {
    /// Its name; `None` for a single host.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether enough hosts see one another to change anything.
    pub quorate: bool,
    /// Its hosts.
    pub hosts: Vec<HostInfo>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl ClusterInfo {
    /// A cluster of these hosts.
    #[must_use]
    pub fn new(hosts: Vec<HostInfo>) -> Self {
        Self { name: None, quorate: true, hosts, extra: Extra::default() }
    }

    setters! { opt_into name: String; val quorate: bool; val extra: Extra; }
}

/// What a connection is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BackendInfo {
    /// The backend's name: `memory`, `libvirt`, `proxmox`, `hypersdk`, …
    pub backend: String,
    /// The version of the server.
    #[serde(default)]
    pub version: Option<String>,
    /// Where it is, without credentials.
    pub endpoint: String,
    /// What it counts the capacities of volumes in, where that is coarser than usual: what is asked for is rounded up to whole ones.
    #[serde(default)]
    pub volume_unit: Option<ByteSize>,
    /// Whether each network that it makes hands out addresses: a spec without a range is `InvalidInput`.
    #[serde(default)]
    pub networks_need_dhcp: bool,
}

impl BackendInfo {
    /// A backend at this endpoint.
    pub fn new(backend: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            backend: backend.into(),
            version: None,
            endpoint: endpoint.into(),
            volume_unit: None,
            networks_need_dhcp: false,
        }
    }

    setters! { opt_into version: String; opt volume_unit: ByteSize; val networks_need_dhcp: bool; }
}

/// A resource group: guests and pools under one name, for permissions and order. Proxmox calls it a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its id.
    pub id: GroupId,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Its guests; empty in a list, where asking for them would cost a call each.
    #[serde(default)]
    pub vms: Vec<VmId>,
    /// Its pools; empty in a list.
    #[serde(default)]
    pub pools: Vec<PoolId>,
}

impl GroupInfo {
    /// An empty group.
    pub fn new(id: impl Into<GroupId>) -> Self {
        Self { id: id.into(), description: None, vms: Vec::new(), pools: Vec::new() }
    }

    setters! { opt_into description: String; val vms: Vec<VmId>; val pools: Vec<PoolId>; }
}

/// How a resource group is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct GroupSpec {
    /// Its name, which becomes its id.
    pub name: String,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
}

impl GroupSpec {
    /// An empty group of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: None }
    }

    setters! { opt_into description: String; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        validate::description(self.description.as_deref())
    }
}

/// What is to change in a resource group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct GroupChange {
    /// What somebody wants to say about it; empty removes it.
    pub description: Option<String>,
    /// Guests to add; they leave the group that they were in.
    pub add_vms: Vec<VmId>,
    /// Guests to remove.
    pub remove_vms: Vec<VmId>,
    /// Pools to add.
    pub add_pools: Vec<PoolId>,
    /// Pools to remove.
    pub remove_pools: Vec<PoolId>,
}

impl GroupChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        opt_into description: String; val add_vms: Vec<VmId>; val remove_vms: Vec<VmId>; val add_pools: Vec<PoolId>;
        val remove_pools: Vec<PoolId>;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        if let Some(both) = self.add_vms.iter().find(|vm| self.remove_vms.contains(vm)) {
            return Err(Error::invalid("add_vms", format!("vm `{both}` is also to be removed")));
        }
        if let Some(both) = self.add_pools.iter().find(|pool| self.remove_pools.contains(pool)) {
            return Err(Error::invalid("add_pools", format!("pool `{both}` is also to be removed")));
        }
        validate::description(self.description.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_come_and_go_at_once_is_refused_by_field() {
        let vms = GroupChange::new().add_vms(vec!["1".into()]).remove_vms(vec!["1".into()]);
        let pools = GroupChange::new().add_pools(vec!["p".into()]).remove_pools(vec!["p".into()]);
        for (change, field) in [(vms, "add_vms"), (pools, "add_pools")] {
            assert!(change.validate().unwrap_err().fields().contains_key(field));
        }
    }
}
