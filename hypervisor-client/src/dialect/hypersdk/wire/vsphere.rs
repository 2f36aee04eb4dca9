//! Machines of a vCenter, which the daemon exports from.

use serde::Serialize;

use super::soft;

answers! {
    /// A machine of a vCenter.
    VsphereVm {
        may {
            /// Its name.
            name: String,
            /// Its inventory path, by which the other calls know it.
            path: String,
            /// Its power state in vSphere's words.
            power_state: String,
            /// Its operating system.
            guest_os: String,
            /// Its memory in MiB.
            memory_mb: u64,
            /// Its CPUs.
            num_cpu: u32,
            /// The space that it takes, in bytes.
            storage_bytes: u64,
        }
    }
}

/// The body of the calls about one machine.
#[derive(Debug, Serialize)]
pub(crate) struct VmPath<'a> {
    pub(crate) vm_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<u64>,
}
