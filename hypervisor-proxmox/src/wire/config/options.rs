//! What only Proxmox can be told about a new guest.

use std::collections::BTreeMap;
use std::fmt;

use hypervisor_core::model::BackendOptions;
use serde::{Deserialize, Serialize};

use super::CloudInitOptions;

/// Settings beyond the shared model, for [`VmSpec::with`](hypervisor_core::model::VmSpec::with). `Debug` shows no values of
/// secrets and of raw keys.
///
/// ```
/// use hypervisor_core::model::VmSpec;
/// use hypervisor_proxmox::wire::config::VmOptions;
/// let more = VmOptions::new().storage("fast").device("scsi0", "iothread=1").key("ostype", "l26");
/// let spec = VmSpec::new("web-1").with(&more)?;
/// assert_eq!(spec.options.options::<VmOptions>()?, more);
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct VmOptions {
    /// The storage of the volumes that no pool is named for: disks, the UEFI variables, the TPM, the cloud-init drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// The template that a container's root file system is made of: `local:vztmpl/debian-13….tar.zst`. A first disk that is a copy
    /// of such a volume says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The password of a container's root, at least five characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Public SSH keys of a container's root, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// What the drive for cloud-init is to say, of virtual machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInitOptions>,
    /// More properties of devices: slot -> `iothread=1,discard=on`. Of a container's `mp0` this tells the path: `mp=/data`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, String>,
    /// More keys of the configuration, sent as they are: `ostype`, `scsihw`, `hostpci0`, …
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

impl BackendOptions for VmOptions {
    const BACKEND: &'static str = crate::BACKEND;
}

impl VmOptions {
    /// Nothing beyond the spec.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the storage of volumes that no pool is named for.
    #[must_use]
    pub fn storage(mut self, storage: impl Into<String>) -> Self {
        self.storage = Some(storage.into());
        self
    }

    /// Sets the template of a container.
    #[must_use]
    pub fn template(mut self, volume: impl Into<String>) -> Self {
        self.template = Some(volume.into());
        self
    }

    /// Sets the password of a container's root.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a public SSH key of a container's root.
    #[must_use]
    pub fn ssh_key(mut self, key: impl Into<String>) -> Self {
        self.ssh_keys.push(key.into());
        self
    }

    /// Sets what the drive for cloud-init says.
    #[must_use]
    pub fn cloud_init(mut self, options: CloudInitOptions) -> Self {
        self.cloud_init = Some(options);
        self
    }

    /// Adds properties of the device in a slot.
    #[must_use]
    pub fn device(mut self, slot: impl Into<String>, properties: impl Into<String>) -> Self {
        self.devices.insert(slot.into(), properties.into());
        self
    }

    /// Adds a key of the configuration.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

impl fmt::Debug for VmOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmOptions")
            .field("storage", &self.storage)
            .field("template", &self.template)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("ssh_keys", &self.ssh_keys.len())
            .field("cloud_init", &self.cloud_init)
            .field("devices", &self.devices)
            .field("config", &self.config.keys().collect::<Vec<_>>())
            .finish()
    }
}
