//! The configuration of guests: what `/config` and `/pending` say, and what creates and changes take.
//!
//! Reading and writing are the two halves of one thing: a spec that is read of a configuration makes the same guest
//! again, and what this version does not know stays. Unknown keys of property strings survive a change; unknown keys of
//! the configuration are in [`VmOptions::config`].
//!
//! ```
//! use hypervisor_core::model::{ByteSize, DiskSpec, NicSpec, VmSpec};
//! use hypervisor_proxmox::wire::config::{self, Defaults};
//! let spec = VmSpec::new("web-1").cpus(2).memory(ByteSize::gib(4))
//!     .disk(DiskSpec::new_volume(ByteSize::gib(20)).in_pool("local"))
//!     .nic(NicSpec::bridge("vmbr0"));
//! let create = config::encode_create(100, &spec, &Defaults::default())?;
//! assert_eq!(create.form.get("scsi0"), Some("local:20"));
//! assert_eq!(create.form.get("net0"), Some("virtio,bridge=vmbr0"));
//! # Ok::<(), hypervisor_core::Error>(())
//! ```

mod boot;
mod change;
mod cloud_init;
mod create;
mod decode;
mod devices;
mod disk;
mod nic;
mod options;
mod pending;
mod raw;

pub use change::{changed_fields, encode_change, encode_deploy, encode_mark};
pub use cloud_init::CloudInitOptions;
pub use create::{Create, Defaults, encode_create, host_name};
pub use decode::{decode, decode_ct, decode_vm, fill_in};
pub(crate) use devices::plugs;
pub use devices::{
    encode_attach_disk, encode_attach_nic, encode_detach_disk, encode_detach_nic, encode_drop_volume,
    encode_resize_disk, encode_update_nic, free_slot, lets_go_while_running, mentions, takes_while_running,
};
pub use options::VmOptions;
pub use pending::{PendingRow, decode_pending, places_of, waits};
pub use raw::Config;

#[cfg(test)]
mod tests;
