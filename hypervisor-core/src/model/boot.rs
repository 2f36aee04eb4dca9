//! How a guest starts, and what it is reached by: firmware, boot order, screen, serial port, the seed of cloud-init.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::macros::{named_enum, open_enum, setters};
use super::validate;
use crate::error::Result;

named_enum! {
    /// What starts the guest.
    Firmware {
        /// SeaBIOS.
        Bios = "bios",
        /// UEFI.
        Uefi = "uefi",
        /// UEFI that boots only signed code.
        SecureBoot = "secure_boot",
    }
}

named_enum! {
    /// What a guest may boot from.
    BootDevice {
        /// The first hard disk.
        Disk = "disk",
        /// The CD drive.
        Cdrom = "cdrom",
        /// The network.
        Network = "network",
    }
}

/// A kernel that lies on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DirectBoot {
    /// The path of the kernel on the host.
    pub kernel: String,
    /// The path of the initial RAM disk on the host.
    #[serde(default)]
    pub initrd: Option<String>,
    /// The kernel's command line.
    #[serde(default)]
    pub cmdline: Option<String>,
}

impl DirectBoot {
    /// This kernel.
    pub fn new(kernel: impl Into<String>) -> Self {
        Self { kernel: kernel.into(), initrd: None, cmdline: None }
    }

    setters! { opt_into initrd: String; opt_into cmdline: String; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::host_path("direct_boot.kernel", &self.kernel)?;
        if let Some(initrd) = &self.initrd {
            validate::host_path("direct_boot.initrd", initrd)?;
        }
        self.cmdline.as_deref().map_or(Ok(()), |cmdline| validate::text("direct_boot.cmdline", cmdline))
    }
}

/// How a guest starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct Boot {
    /// The firmware; without it the backend's default.
    pub firmware: Option<Firmware>,
    /// What is tried, in this order; empty is the backend's default.
    pub order: Vec<BootDevice>,
    /// A kernel on the host instead of a boot device.
    pub direct: Option<DirectBoot>,
}

impl Boot {
    /// As the backend does usually.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt firmware: Firmware; val order: Vec<BootDevice>; opt direct: DirectBoot; }
}

open_enum! {
    /// How a guest's screen is served.
    GraphicsKind {
        /// VNC.
        Vnc = "vnc",
        /// SPICE.
        Spice = "spice",
    }
}

/// A serial port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct SerialSpec {
    /// A file on the host to which all that the guest writes is added.
    pub log: Option<String>,
}

impl SerialSpec {
    /// A port without a log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt_into log: String; }
}

/// The documents that cloud-init reads at the first boot. `Debug` shows their sizes only: they often carry passwords.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct CloudInit {
    /// `user-data`.
    pub user_data: Option<String>,
    /// `meta-data`; without it one with the guest's name.
    pub meta_data: Option<String>,
    /// `network-config`.
    pub network_config: Option<String>,
}

impl CloudInit {
    /// This `user-data`.
    pub fn user_data(text: impl Into<String>) -> Self {
        Self { user_data: Some(text.into()), ..Self::default() }
    }

    setters! { opt_into meta_data: String; opt_into network_config: String; }
}

impl fmt::Debug for CloudInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |text: &Option<String>| text.as_ref().map(|text| format!("{} bytes", text.len()));
        f.debug_struct("CloudInit")
            .field("user_data", &size(&self.user_data))
            .field("meta_data", &size(&self.meta_data))
            .field("network_config", &size(&self.network_config))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_stays_out_of_debug() {
        let seed = CloudInit::user_data("password: hunter2");
        assert!(!format!("{seed:?}").contains("hunter2"));
        assert!(format!("{seed:?}").contains("17 bytes"));
    }
    #[test]
    fn a_kernel_is_an_absolute_path() {
        let error = DirectBoot::new("vmlinuz").validate().unwrap_err();
        assert!(error.fields().keys().eq(["direct_boot.kernel"]));
    }
}
