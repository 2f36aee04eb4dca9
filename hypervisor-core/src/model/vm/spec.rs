//! How a guest is to be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::GuestKind;
use crate::model::boot::{Boot, BootDevice, CloudInit, DirectBoot, Firmware, GraphicsKind, SerialSpec};
use crate::model::capability::{Feature, asked};
use crate::model::disk::{DiskSource, DiskSpec};
use crate::model::extra::{BackendOptions, Extra};
use crate::model::id::{GroupId, HostId, VmId, VolumeId};
use crate::model::macros::{pushers, setters};
use crate::model::nic::NicSpec;
use crate::model::tags::Tags;
use crate::model::units::ByteSize;
use crate::model::validate;

/// How a guest is to be.
///
/// ```
/// use hypervisor_core::model::{ByteSize, DiskSpec, NicSpec, VmSpec};
/// let spec = VmSpec::new("web-1")
///     .cpus(2)
///     .memory(ByteSize::gib(4))
///     .disk(DiskSpec::new_volume(ByteSize::gib(20)))
///     .nic(NicSpec::network("default"))
///     .tag("web");
/// assert!(spec.validate().is_ok());
/// assert_eq!(VmSpec::new("web 1").validate().unwrap_err().fields().keys().next().unwrap(), "name");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VmSpec {
    /// Its name. Unique on libvirt; need not be on Proxmox.
    pub name: String,
    /// What it is.
    #[serde(default = "GuestKind::default_kind")]
    pub kind: GuestKind,
    /// The id that it should get, where the backend lets the caller choose. libvirt: a UUID; Proxmox: a VMID.
    #[serde(default)]
    pub id: Option<VmId>,
    /// The host that it should be made on; without it the backend chooses.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Its CPUs; one unless it is said.
    #[serde(default = "VmSpec::usual_cpus")]
    pub cpus: u32,
    /// Its memory; 512 MiB unless it is said.
    #[serde(default = "VmSpec::usual_memory")]
    pub memory: ByteSize,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Flat tags, in lower case.
    #[serde(default)]
    pub tags: Tags,
    /// A map of metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The resource group that it goes into.
    #[serde(default)]
    pub group: Option<GroupId>,
    /// Its disks, in order.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// Its NICs, in order.
    #[serde(default)]
    pub nics: Vec<NicSpec>,
    /// How it starts.
    #[serde(default)]
    pub boot: Boot,
    /// The machine type in the backend's words (`"q35"`, `"pc"`); without it the backend's default.
    #[serde(default)]
    pub machine: Option<String>,
    /// The CPU model in the backend's words (`"host-passthrough"`, `"qemu64"`); without it the backend's default.
    #[serde(default)]
    pub cpu_model: Option<String>,
    /// The screen, if any.
    #[serde(default)]
    pub graphics: Option<GraphicsKind>,
    /// The serial port, if any.
    #[serde(default)]
    pub serial: Option<SerialSpec>,
    /// Whether it has a channel for the guest agent.
    #[serde(default)]
    pub agent: bool,
    /// Whether it has a TPM.
    #[serde(default)]
    pub tpm: bool,
    /// What cloud-init reads at the first boot.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it vanishes when it powers off. Such a guest is started when it is made.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether it is started when it is made.
    #[serde(default)]
    pub start: bool,
    /// A mark by which a create of unknown outcome is found again; see [`VmQuery::client_token`](crate::model::VmQuery::client_token).
    #[serde(default)]
    pub client_token: Option<String>,
    /// Options that only one backend knows.
    #[serde(default)]
    pub options: Extra,
}

impl VmSpec {
    /// A virtual machine with one CPU, 512 MiB and nothing else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: GuestKind::Vm,
            id: None,
            host: None,
            cpus: Self::usual_cpus(),
            memory: Self::usual_memory(),
            description: None,
            tags: Tags::default(),
            metadata: BTreeMap::new(),
            group: None,
            disks: Vec::new(),
            nics: Vec::new(),
            boot: Boot::default(),
            machine: None,
            cpu_model: None,
            graphics: None,
            serial: None,
            agent: false,
            tpm: false,
            cloud_init: None,
            autostart: false,
            ephemeral: false,
            start: false,
            client_token: None,
            options: Extra::default(),
        }
    }

    const fn usual_cpus() -> u32 {
        1
    }

    const fn usual_memory() -> ByteSize {
        ByteSize::mib(512)
    }

    /// A container.
    pub fn container(name: impl Into<String>) -> Self {
        Self { kind: GuestKind::Container, ..Self::new(name) }
    }

    setters! {
        into name: String; opt_into id: VmId; opt_into host: HostId; val cpus: u32; val memory: ByteSize;
        opt_into description: String; opt_into group: GroupId; opt_into machine: String; opt_into cpu_model: String;
        opt graphics: GraphicsKind; opt serial: SerialSpec; val agent: bool; val tpm: bool; opt cloud_init: CloudInit;
        val autostart: bool; val ephemeral: bool; val start: bool; opt_into client_token: String; val boot: Boot;
        val options: Extra;
    }
    pushers! { disk => disks: DiskSpec; nic => nics: NicSpec; }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Adds an entry to the metadata.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets the firmware.
    #[must_use]
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.boot.firmware = Some(firmware);
        self
    }

    /// Sets what is booted from, first choice first.
    #[must_use]
    pub fn boot_order(mut self, order: impl IntoIterator<Item = BootDevice>) -> Self {
        self.boot.order = order.into_iter().collect();
        self
    }

    /// Boots a kernel that lies on the host.
    #[must_use]
    pub fn direct_boot(mut self, kernel: DirectBoot) -> Self {
        self.boot.direct = Some(kernel);
        self
    }

    /// Sets the options of one backend.
    ///
    /// # Errors
    /// `InvalidInput` where they cannot be written as JSON.
    pub fn with<O: BackendOptions>(mut self, options: &O) -> Result<Self> {
        self.options.set(options)?;
        Ok(self)
    }

    /// Checks what holds on every backend. Drivers call it before anything is sent.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        validate::cpus(self.cpus)?;
        validate::memory(self.memory)?;
        validate::description(self.description.as_deref())?;
        for tag in &self.tags {
            validate::tag("tags", tag)?;
        }
        validate::metadata(&self.metadata)?;
        for (index, disk) in self.disks.iter().enumerate() {
            disk.validate(&format!("disks[{index}]"))?;
        }
        let mut macs = BTreeSet::new();
        for (index, nic) in self.nics.iter().enumerate() {
            nic.validate(&format!("nics[{index}]"))?;
            if nic.mac.is_some_and(|mac| !macs.insert(mac)) {
                return Err(Error::invalid(
                    format!("nics[{index}].mac"),
                    "is the address of another NIC of this guest",
                ));
            }
        }
        if let Some(direct) = &self.boot.direct {
            direct.validate()?;
        }
        if let Some(log) = self.serial.as_ref().and_then(|serial| serial.log.as_ref()) {
            validate::host_path("serial.log", log)?;
        }
        for (field, word) in [("machine", &self.machine), ("cpu_model", &self.cpu_model)] {
            if let Some(word) = word {
                validate::name(field, word)?;
            }
        }
        self.client_token.as_deref().map_or(Ok(()), |token| validate::name("client_token", token))
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        let mut needs = asked([
            (self.kind == GuestKind::Container, Feature::Containers),
            (self.id.is_some(), Feature::RequestedId),
            (!self.tags.is_empty(), Feature::Tags),
            (!self.metadata.is_empty(), Feature::Metadata),
            (self.autostart, Feature::Autostart),
            (self.ephemeral, Feature::Ephemeral),
            (self.cloud_init.is_some(), Feature::CloudInit),
            (self.boot.direct.is_some(), Feature::DirectBoot),
            (self.boot.firmware == Some(Firmware::Uefi), Feature::Uefi),
            (self.boot.firmware == Some(Firmware::SecureBoot), Feature::SecureBoot),
            (self.tpm, Feature::Tpm),
            (self.agent, Feature::GuestAgent),
            (self.graphics.is_some(), Feature::Graphics),
            (self.serial.as_ref().is_some_and(|serial| serial.log.is_some()), Feature::SerialLog),
            (self.client_token.is_some(), Feature::ClientToken),
        ]);
        needs.extend(self.disks.iter().flat_map(DiskSpec::needs));
        needs.extend(self.nics.iter().flat_map(NicSpec::needs));
        needs
    }

    /// The volumes that its disks start from or use.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeId> {
        self.disks.iter().filter_map(|disk| match &disk.source {
            DiskSource::Volume(volume)
            | DiskSource::Copy { of: volume, .. }
            | DiskSource::Linked { backing: volume, .. } => Some(volume),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<()>) -> String {
        result.unwrap_err().fields().keys().next().cloned().unwrap_or_default()
    }

    use crate::model::MigrateSpec;

    #[test]
    fn wrong_specs_are_refused_by_field() {
        let spec = || VmSpec::new("web-1");
        assert_eq!(field(spec().name("").validate()), "name");
        assert_eq!(field(MigrateSpec::to("").validate()), "host");
        assert_eq!(field(MigrateSpec::to("h").bandwidth(ByteSize::ZERO).validate()), "bandwidth");
        assert_eq!(field(spec().cpus(0).validate()), "cpus");
        assert_eq!(field(spec().memory(ByteSize::kib(4)).validate()), "memory");
        assert_eq!(field(spec().tag("A B").validate()), "tags");
        assert_eq!(field(spec().metadata("Key", "v").validate()), "metadata");
        assert_eq!(field(spec().serial(SerialSpec::new().log("x")).validate()), "serial.log");
        let mac = "52:54:00:00:00:01".parse().unwrap();
        let twice = spec().nic(NicSpec::user().mac(mac)).nic(NicSpec::user().mac(mac));
        assert_eq!(field(twice.validate()), "nics[1].mac");
    }

    #[test]
    fn a_spec_survives_the_wire() {
        let spec = VmSpec::new("web-1")
            .disk(DiskSpec::copy_of("default/base.qcow2").size(ByteSize::gib(20)))
            .nic(NicSpec::bridge("br0").vlan(12))
            .firmware(Firmware::Uefi)
            .metadata("owner", "ops");
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<VmSpec>(&json).unwrap(), spec);
        let least: VmSpec = serde_json::from_str(r#"{"name":"a","cpus":1,"memory":536870912}"#).unwrap();
        assert_eq!(least, VmSpec::new("a"));
    }
}
