//! What is asked of a block job.

use hypervisor_core::model::{ByteSize, PoolId, VolumeFormat};

/// Setters of fields: `some` for those that may be absent.
macro_rules! setters {
    ($type:ident: $($how:ident $field:ident: $of:ty),+) => {
        impl $type {
            $(
                #[doc = concat!("Sets `", stringify!($field), "`.")]
                #[must_use]
                pub fn $field(mut self, $field: $of) -> Self {
                    self.$field = setters!(@$how $field);
                    self
                }
            )+
        }
    };
    (@plain $field:ident) => { $field };
    (@some $field:ident) => { Some($field.into()) };
}

/// How a disk is copied while its guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCopy {
    /// The pool that the copy is made in.
    pub pool: PoolId,
    /// The copy's name there; without it, one made of the guest's and the disk's.
    pub name: Option<String>,
    /// The copy's format; the disk's own without it.
    pub format: Option<VolumeFormat>,
    /// Whether the guest goes on with the copy. Without it the copy is what the disk was at the end, and nobody's.
    pub pivot: bool,
    /// At most so many bytes a second.
    pub bandwidth: Option<ByteSize>,
}

impl BlockCopy {
    /// Into this pool; the guest then goes on with the copy.
    pub fn to(pool: impl Into<PoolId>) -> Self {
        Self { pool: pool.into(), name: None, format: None, pivot: true, bandwidth: None }
    }
}

/// How upper files of a disk's chain are merged into a lower one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCommit {
    /// The path of the file that the others are merged into; the lowest of the chain without it.
    pub base: Option<String>,
    /// The path of the uppermost file that is merged; the one that the guest writes to without it.
    pub top: Option<String>,
    /// Delete the merged files, where a pool knows them.
    pub delete: bool,
    /// At most so many bytes a second.
    pub bandwidth: Option<ByteSize>,
}

impl BlockCommit {
    /// The whole chain into its lowest file.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }
}

/// How a disk's uppermost file is filled with what it lacks, so that it needs the lower ones no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockPull {
    /// The path of the lower file that it goes on to need; none without it.
    pub base: Option<String>,
    /// At most so many bytes a second.
    pub bandwidth: Option<ByteSize>,
}

impl BlockPull {
    /// From all lower files.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }
}

setters!(BlockCopy: some name: impl Into<String>, some format: VolumeFormat, plain pivot: bool, some bandwidth: ByteSize);
setters!(BlockCommit: some base: impl Into<String>, some top: impl Into<String>, plain delete: bool, some bandwidth: ByteSize);
setters!(BlockPull: some base: impl Into<String>, some bandwidth: ByteSize);
