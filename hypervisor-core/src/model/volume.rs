//! Volumes.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::capability::{Feature, asked};
use super::extra::Extra;
use super::id::{PoolId, VmId, VolumeId};
use super::macros::{named_enum, open_enum, setters};
use super::units::ByteSize;
use super::validate;
use crate::error::{Error, Result};

open_enum! {
    /// How a volume's content is laid out.
    VolumeFormat {
        /// Byte for byte.
        Raw = "raw",
        /// QEMU's format with snapshots and backing volumes.
        Qcow2 = "qcow2",
        /// VMware's.
        Vmdk = "vmdk",
        /// Hyper-V's.
        Vhdx = "vhdx",
        /// A CD image.
        Iso = "iso",
        /// An archive of a container's file system.
        Tar = "tar" | "tgz",
        /// A directory.
        Dir = "dir" | "subvol",
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Its id.
    pub id: VolumeId,
    /// Its pool.
    pub pool: PoolId,
    /// Its name in the pool.
    pub name: String,
    /// How large it looks to a guest.
    pub capacity: ByteSize,
    /// How much of the pool it takes.
    #[serde(default)]
    pub allocation: Option<ByteSize>,
    /// Its format.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// What it is for, in the backend's words (`images`, `iso`, `backup`, …).
    #[serde(default)]
    pub content: Option<String>,
    /// Where it lies on the host.
    #[serde(default)]
    pub path: Option<String>,
    /// The file or volume whose content it starts from.
    #[serde(default)]
    pub backing: Option<String>,
    /// The guest that owns it, where the backend knows.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// When it was made.
    #[serde(default)]
    pub created: Option<SystemTime>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl VolumeInfo {
    /// A volume of which nothing else is known.
    pub fn new(
        id: impl Into<VolumeId>,
        pool: impl Into<PoolId>,
        name: impl Into<String>,
        capacity: ByteSize,
    ) -> Self {
        Self {
            id: id.into(),
            pool: pool.into(),
            name: name.into(),
            capacity,
            allocation: None,
            format: None,
            content: None,
            path: None,
            backing: None,
            vm: None,
            created: None,
            extra: Extra::default(),
        }
    }

    setters! {
        opt allocation: ByteSize; opt format: VolumeFormat; opt_into content: String; opt_into path: String;
        opt_into backing: String; opt_into vm: VmId; opt created: SystemTime; val extra: Extra;
    }
}

/// How a volume is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VolumeSpec {
    /// The pool that it is made in.
    pub pool: PoolId,
    /// Its name there. Where the format has a usual ending (`.qcow2`), it is the caller's to add.
    pub name: String,
    /// How large it looks to a guest.
    pub capacity: ByteSize,
    /// Its format; without it the pool's usual one.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// The volume whose content it starts from.
    #[serde(default)]
    pub backing: Option<VolumeId>,
    /// Reserve all its space now.
    #[serde(default)]
    pub preallocate: bool,
    /// The guest that it is for; Proxmox puts its number into the name.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// What it is for, in the backend's words; without it a guest's disk.
    #[serde(default)]
    pub content: Option<String>,
}

impl VolumeSpec {
    /// An empty volume.
    pub fn new(pool: impl Into<PoolId>, name: impl Into<String>, capacity: ByteSize) -> Self {
        Self {
            pool: pool.into(),
            name: name.into(),
            capacity,
            format: None,
            backing: None,
            preallocate: false,
            vm: None,
            content: None,
        }
    }

    setters! {
        opt format: VolumeFormat; opt_into backing: VolumeId; val preallocate: bool; opt_into vm: VmId;
        opt_into content: String;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        if self.pool.as_str().is_empty() {
            return Err(Error::invalid("pool", "must not be empty"));
        }
        if self.capacity == ByteSize::ZERO {
            return Err(Error::invalid("capacity", "must be more than nothing"));
        }
        Ok(())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.backing.is_some(), Feature::VolumeBacking),
            (self.preallocate, Feature::VolumePreallocation),
        ])
    }
}

/// How a volume is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CloneVolume {
    /// The name of the copy.
    pub name: String,
    /// Its pool; without it that of the original.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// Its format; without it that of the original.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
}

impl CloneVolume {
    /// A copy of this name beside the original.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), pool: None, format: None }
    }

    setters! { opt_into pool: PoolId; opt format: VolumeFormat; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)
    }
}

/// How a volume's size is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ResizeVolume {
    /// How large it is to look to a guest.
    pub capacity: ByteSize,
    /// Allow it to become smaller, which cuts off what lies behind. Otherwise a smaller size is `InvalidInput`.
    #[serde(default)]
    pub allow_shrink: bool,
}

impl ResizeVolume {
    /// To this size, never smaller.
    #[must_use]
    pub fn grow_to(capacity: ByteSize) -> Self {
        Self { capacity, allow_shrink: false }
    }

    setters! { val allow_shrink: bool; }

    /// Checks what holds on every backend, `present` being the size now.
    ///
    /// # Errors
    /// `InvalidInput` naming `capacity`.
    pub fn validate(&self, present: Option<ByteSize>) -> Result<()> {
        if self.capacity == ByteSize::ZERO {
            return Err(Error::invalid("capacity", "must be more than nothing"));
        }
        match present {
            Some(present) if self.capacity < present && !self.allow_shrink => Err(Error::invalid(
                "capacity",
                format!(
                    "{} is less than the {present} that it has; shrinking has to be allowed",
                    self.capacity
                ),
            )),
            _ => Ok(()),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.allow_shrink { vec![Feature::ShrinkVolume] } else { Vec::new() }
    }
}

named_enum! {
    /// How a volume is overwritten. The names are those of libvirt and of `scrub`.
    WipeAlgorithm {
        /// Zeroes, once.
        Zero = "zero",
        /// NNSA NAP-14.1-C, four passes.
        Nnsa = "nnsa",
        /// DoD 5220.22-M, four passes.
        Dod = "dod",
        /// German BSI, nine passes.
        Bsi = "bsi",
        /// Gutmann, 35 passes.
        Gutmann = "gutmann",
        /// Schneier, seven passes.
        Schneier = "schneier",
        /// Pfitzner, seven passes.
        Pfitzner7 = "pfitzner7",
        /// Pfitzner, 33 passes.
        Pfitzner33 = "pfitzner33",
        /// One random pass.
        Random = "random",
    }
}

impl WipeAlgorithm {
    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(self) -> Vec<Feature> {
        if self == Self::Zero { Vec::new() } else { vec![Feature::WipeAlgorithms] }
    }
}

/// Where an upload goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UploadVolume {
    /// Into a volume that exists and is large enough.
    Into(VolumeId),
    /// Into a volume that is made for it; its capacity is raised to the length of the content where it is less.
    Create(VolumeSpec),
}

impl UploadVolume {
    /// Into a volume that exists.
    pub fn to(volume: impl Into<VolumeId>) -> Self {
        Self::Into(volume.into())
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Into(_) => Ok(()),
            Self::Create(spec) => spec.validate(),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self {
            Self::Into(_) => Vec::new(),
            Self::Create(spec) => {
                let mut needs = spec.needs();
                needs.push(Feature::UploadCreates);
                needs
            }
        }
    }
}

/// Which part of a volume is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DownloadVolume {
    /// Where it starts.
    pub offset: ByteSize,
    /// How much; without it to the end.
    pub length: Option<ByteSize>,
}

impl DownloadVolume {
    /// The whole volume.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! { val offset: ByteSize; opt length: ByteSize; }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if *self == Self::default() { Vec::new() } else { vec![Feature::DownloadRange] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_read_is_the_one_that_would_be_written() {
        // QEMU's `vpc` is VHD, which nothing that expects VHDX can read.
        for name in VolumeFormat::KNOWN.iter().map(VolumeFormat::as_str).chain(["vpc", "vdi", "qed"]) {
            assert_eq!(VolumeFormat::parse(name).as_str(), name);
        }
    }

    #[test]
    fn shrinking_has_to_be_asked_for() {
        let smaller = ResizeVolume::grow_to(ByteSize::gib(1));
        assert!(smaller.validate(Some(ByteSize::gib(2))).unwrap_err().fields().contains_key("capacity"));
        assert!(smaller.allow_shrink(true).validate(Some(ByteSize::gib(2))).is_ok());
    }
}
