//! NICs of a guest.

use serde::{Deserialize, Serialize};

use super::capability::Feature;
use super::id::{NetworkId, NicId};
use super::mac::MacAddr;
use super::macros::{open_enum, setters};
use super::validate;
use crate::error::{Error, Result};

/// What a NIC is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NicSource {
    /// A network that the backend manages.
    Network(NetworkId),
    /// A bridge of the host.
    Bridge(String),
    /// The host process's own network, without privileges; the guest cannot be reached from outside.
    User,
    /// A network card of the host, by its name there, on which the guest has an address of its own (macvtap): the guest reaches what the card
    /// is plugged into, but not the host itself. Only libvirt has it.
    Direct(String),
    /// Something that the SDK has no word for, in the backend's own: libvirt's `hostdev` (a card of the host's that is the guest's alone),
    /// `vdpa`, `vhostuser`, `ethernet`, `udp` and so on. It is read only: what names it is `InvalidInput`. A change that names no source
    /// keeps it.
    Other(String),
    /// Nothing.
    Disconnected,
}

open_enum! {
    /// The card that the guest sees.
    NicModel {
        /// Paravirtual.
        Virtio = "virtio",
        /// Intel e1000.
        E1000 = "e1000",
        /// Intel e1000e.
        E1000e = "e1000e",
        /// Realtek 8139.
        Rtl8139 = "rtl8139",
        /// VMware's paravirtual card.
        Vmxnet3 = "vmxnet3",
    }
}

/// A NIC for a new guest, or one to attach.
///
/// ```
/// use hypervisor_core::model::NicSpec;
/// let nic = NicSpec::network("default").mac("52:54:00:12:34:56".parse()?);
/// assert!(nic.validate("nics[0]").is_ok());
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct NicSpec {
    /// What it is plugged into.
    pub source: NicSource,
    /// The card; without it the backend's best.
    #[serde(default)]
    pub model: Option<NicModel>,
    /// Its address; without it one that is made up.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// Its VLAN, 1 to 4094.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The cable is unplugged.
    #[serde(default)]
    pub link_down: bool,
}

impl NicSpec {
    /// A NIC plugged into this.
    #[must_use]
    pub fn new(source: NicSource) -> Self {
        Self { source, model: None, mac: None, vlan: None, link_down: false }
    }

    /// A NIC in a network that the backend manages.
    pub fn network(network: impl Into<NetworkId>) -> Self {
        Self::new(NicSource::Network(network.into()))
    }

    /// A NIC on a bridge of the host.
    pub fn bridge(bridge: impl Into<String>) -> Self {
        Self::new(NicSource::Bridge(bridge.into()))
    }

    /// A NIC on the host process's own network.
    #[must_use]
    pub fn user() -> Self {
        Self::new(NicSource::User)
    }

    setters! { opt model: NicModel; opt mac: MacAddr; opt vlan: u16; val link_down: bool; }

    /// Checks what holds on every backend. `field` is the path of this NIC in the whole input, `nics[0]`.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self, field: &str) -> Result<()> {
        source_is_valid(&self.source, field)?;
        validate::vlan(&format!("{field}.vlan"), self.vlan)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.vlan.is_some() { vec![Feature::NicVlan] } else { Vec::new() }
    }
}

fn source_is_valid(source: &NicSource, field: &str) -> Result<()> {
    match source {
        NicSource::Bridge(bridge) => validate::name(&format!("{field}.bridge"), bridge),
        NicSource::Direct(card) => validate::name(&format!("{field}.direct"), card),
        NicSource::Other(kind) => {
            let why = format!("`{kind}` is what a backend has said of a NIC; it cannot be asked for");
            Err(Error::invalid(format!("{field}.source"), why))
        }
        NicSource::Network(network) if network.as_str().is_empty() => {
            Err(Error::invalid(format!("{field}.network"), "must not be empty"))
        }
        _ => Ok(()),
    }
}

/// A NIC of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct NicInfo {
    /// Its id.
    pub id: NicId,
    /// What it is plugged into.
    pub source: NicSource,
    /// The card.
    pub model: NicModel,
    /// Its address.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// Its VLAN.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The cable is unplugged.
    #[serde(default)]
    pub link_down: bool,
}

impl NicInfo {
    /// A NIC of which nothing else is known.
    pub fn new(id: impl Into<NicId>, source: NicSource, model: NicModel) -> Self {
        Self { id: id.into(), source, model, mac: None, vlan: None, link_down: false }
    }

    setters! { opt mac: MacAddr; opt vlan: u16; val link_down: bool; }
}

/// What is to change on a NIC; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct NicChange {
    /// Plug it into this.
    pub source: Option<NicSource>,
    /// Plug or unplug the cable.
    pub link_down: Option<bool>,
    /// Its VLAN.
    pub vlan: Option<u16>,
}

impl NicChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt source: NicSource; opt link_down: bool; opt vlan: u16; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        if let Some(source) = &self.source {
            source_is_valid(source, "nic")?;
        }
        validate::vlan("nic.vlan", self.vlan)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.vlan.is_some() { vec![Feature::NicVlan] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<()>) -> String {
        result.unwrap_err().fields().keys().next().cloned().unwrap_or_default()
    }

    #[test]
    fn wrong_nics_are_refused_by_field() {
        assert_eq!(field(NicSpec::network("default").vlan(4095).validate("nics[0]")), "nics[0].vlan");
        assert_eq!(field(NicSpec::bridge("").validate("nics[0]")), "nics[0].bridge");
        let source = |source: NicSource| field(NicSpec::new(source).validate("nics[0]"));
        assert_eq!(source(NicSource::Direct(String::new())), "nics[0].direct");
        assert_eq!(source(NicSource::Other("vdpa".into())), "nics[0].source");
    }
}
