//! Names of the environment variables between xtask, the tests and the examples. CONTRIBUTING.md explains each.

/// URL of the backend for `cargo xtask conformance`.
pub(crate) const URL: &str = "HYPERVISOR_TEST_URL";
/// URI of a libvirtd that tests may do anything to.
pub(crate) const LIBVIRT_URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";
/// The test guest's kernel.
pub(crate) const KERNEL: &str = "HYPERVISOR_TEST_KERNEL";
/// The test guest's initramfs.
pub(crate) const INITRD: &str = "HYPERVISOR_TEST_INITRD";
/// A folder that both the tests and the hypervisor reach under the same path, for serial logs and pools.
pub(crate) const SERIAL_DIR: &str = "HYPERVISOR_TEST_SERIAL_DIR";
/// Holds the process id of the private libvirtd, for tests that stop or kill it.
pub(crate) const LIBVIRTD_PID_FILE: &str = "HYPERVISOR_TEST_LIBVIRTD_PID_FILE";
/// The private libvirtd's own folder: `$HYPERVISOR_TEST_XTASK live restart --dir $HYPERVISOR_TEST_LIVE_DIR`.
pub(crate) const LIVE_DIR: &str = "HYPERVISOR_TEST_LIVE_DIR";
/// The xtask program.
pub(crate) const XTASK: &str = "HYPERVISOR_TEST_XTASK";
/// A PostgreSQL database that tests of the gateway may fill; without it they start a server of their own.
pub(crate) const POSTGRES_URL: &str = "HYPERVISOR_TEST_POSTGRES_URL";

/// Variables with their values, to be given to a child.
pub(crate) type Vars = Vec<(&'static str, String)>;
