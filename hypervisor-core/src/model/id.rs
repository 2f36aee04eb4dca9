//! Opaque ids: what a backend addresses an object by. Compare and store them; never take them apart.
//!
//! They are made of `&str` and `String`, and compared with text by [`as_str`](VmId::as_str): an id that equals text, or can be looked up by it,
//! would make `id == "7".into()` and `map.get(&"7".into())` ambiguous for the compiler.

use std::sync::Arc;

use serde::Serialize;

use crate::model::macros::read_text;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident $noun:literal;)*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What an object with such an id is called in errors.
            pub const NOUN: &'static str = $noun;

            /// The id as the backend gave it.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The error for an id that the backend does not know.
            #[must_use]
            pub fn not_found(&self) -> crate::Error {
                crate::Error::not_found($noun, self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read_text(deserializer, |id| Self(id.into()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl From<&String> for $name {
            fn from(id: &String) -> Self {
                Self(id.as_str().into())
            }
        }

        impl From<&$name> for $name {
            fn from(id: &$name) -> Self {
                id.clone()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(id: &str) -> Result<Self, Self::Err> {
                Ok(id.into())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )* };
}

ids! {
    /// A guest. libvirt: its UUID; Proxmox: its VMID. Never contains the host, because machines move.
    VmId "vm";
    /// A host of the cluster. Proxmox: the node's name; libvirt: the host's name.
    HostId "host";
    /// A storage pool. Its name on libvirt; Proxmox's storage id.
    PoolId "pool";
    /// A volume, unique in the backend. libvirt: `pool/name`; Proxmox: the volid.
    VolumeId "volume";
    /// A network. libvirt: its name; Proxmox: the bridge or vnet.
    NetworkId "network";
    /// A NIC of one guest. libvirt: its MAC; Proxmox: `net0`.
    NicId "nic";
    /// A disk of one guest. libvirt: the target device, `vda`; Proxmox: `scsi0`.
    DiskId "disk";
    /// A snapshot of one guest: its name.
    SnapshotId "snapshot";
    /// A backup. Proxmox: the volid of the archive.
    BackupId "backup";
    /// A long-running task. Proxmox: the UPID. May be stored and waited for by another process.
    TaskId "task";
    /// A resource group. Proxmox calls it a pool.
    GroupId "group";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_as_text() {
        let id = VmId::from("42");
        assert_eq!("42".parse::<VmId>(), Ok(id.clone()));
        assert_eq!(VmId::from(&"42".to_owned()), id);
        assert_eq!(String::from(id), "42");
    }

    #[test]
    fn an_id_is_plain_text_on_the_wire() {
        let id = VmId::from("42");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"42\"");
        assert_eq!(serde_json::from_str::<VmId>("\"42\"").unwrap(), id);
        assert_eq!(id.not_found().to_string(), "vm `42`: not found");
    }
}
