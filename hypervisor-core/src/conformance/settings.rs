use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::model::macros::setters;
use crate::model::{BackendInfo, ByteSize, HostId, NetworkId, PoolId, VolumeId};

/// A setting without which some cases cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// [`Settings::pool`]
    Pool,
    /// [`Settings::network`]
    Network,
    /// [`Settings::bridge`]
    Bridge,
    /// [`Settings::image`]
    Image,
    /// [`Settings::template`]
    Template,
    /// [`Settings::host`]
    Host,
    /// [`Settings::kernel`]
    Kernel,
    /// [`Settings::initrd`]
    Initrd,
    /// [`Settings::serial_dir`]
    SerialDir,
    /// [`Settings::directory`]
    Directory,
}

impl Setting {
    /// The environment variable that [`Settings::from_env`] reads it from.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Pool => "HYPERVISOR_TEST_POOL",
            Self::Network => "HYPERVISOR_TEST_NETWORK",
            Self::Bridge => "HYPERVISOR_TEST_BRIDGE",
            Self::Image => "HYPERVISOR_TEST_IMAGE",
            Self::Template => "HYPERVISOR_TEST_TEMPLATE",
            Self::Host => "HYPERVISOR_TEST_HOST",
            Self::Kernel => "HYPERVISOR_TEST_KERNEL",
            Self::Initrd => "HYPERVISOR_TEST_INITRD",
            Self::SerialDir => "HYPERVISOR_TEST_SERIAL_DIR",
            Self::Directory => "HYPERVISOR_TEST_DIR",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.variable())
    }
}

/// What the suite uses of the backend that it is run against.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How the name of everything that this run makes begins. Different for every run, so that a run can be swept away by it.
    pub prefix: String,
    /// The pool for volumes; without it the first active one.
    pub pool: Option<PoolId>,
    /// A network that is up, for NICs; without it the first active one.
    pub network: Option<NetworkId>,
    /// A bridge of the host, for NICs that are plugged into one.
    pub bridge: Option<String>,
    /// A bootable volume.
    pub image: Option<VolumeId>,
    /// A volume that containers are made of; without it the bootable one.
    pub template: Option<VolumeId>,
    /// Another host that guests can be moved to; without it the second of the list.
    pub host: Option<HostId>,
    /// The path on the host of a kernel that writes `GUEST-READY` to its first serial port once it is up.
    pub kernel: Option<String>,
    /// The path on the host of its initial RAM disk.
    pub initrd: Option<String>,
    /// A directory on the host that this process can read too, for the logs of serial ports.
    pub serial_dir: Option<String>,
    /// A directory on the host in which pools and exports may be made.
    pub directory: Option<String>,
    /// What the backend counts the sizes of volumes in: the cases make volumes of whole multiples of it.
    pub volume_unit: ByteSize,
    /// Whether every network of the cases hands out addresses, for a backend that makes no other.
    pub always_dhcp: bool,
    /// How long one wait may take: for a task, a state, an answer.
    pub deadline: Duration,
    /// How long one case may take.
    pub case_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let (short, _) = id.split_at(6);
        Self {
            prefix: format!("hvt-{short}"),
            pool: None,
            network: None,
            bridge: None,
            image: None,
            template: None,
            host: None,
            kernel: None,
            initrd: None,
            serial_dir: None,
            directory: None,
            volume_unit: ByteSize::mib(1),
            always_dhcp: false,
            deadline: Duration::from_secs(60),
            case_deadline: Duration::from_secs(180),
        }
    }
}

impl Settings {
    /// Only what the backend itself tells, and a new prefix.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the `HYPERVISOR_TEST_…` variables say; see [`Setting::variable`]. `HYPERVISOR_TEST_PREFIX` is the beginning of the names.
    #[must_use]
    pub fn from_env() -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let setting = |setting: Setting| read(setting.variable());
        let new = Self::new();
        Self {
            prefix: read("HYPERVISOR_TEST_PREFIX").unwrap_or(new.prefix),
            pool: setting(Setting::Pool).map(PoolId::from),
            network: setting(Setting::Network).map(NetworkId::from),
            bridge: setting(Setting::Bridge),
            image: setting(Setting::Image).map(VolumeId::from),
            template: setting(Setting::Template).map(VolumeId::from),
            host: setting(Setting::Host).map(HostId::from),
            kernel: setting(Setting::Kernel),
            initrd: setting(Setting::Initrd),
            serial_dir: setting(Setting::SerialDir),
            directory: setting(Setting::Directory).or_else(|| setting(Setting::SerialDir)),
            ..new
        }
    }

    setters! {
        into prefix: String; opt_into pool: PoolId; opt_into network: NetworkId; opt_into bridge: String;
        opt_into image: VolumeId; opt_into template: VolumeId; opt_into host: HostId; opt_into kernel: String; opt_into initrd: String;
        opt_into serial_dir: String; opt_into directory: String; val volume_unit: ByteSize;
        val always_dhcp: bool; val deadline: Duration; val case_deadline: Duration;
    }

    /// What the backend says of itself decides where it takes less than these settings would ask for.
    #[must_use]
    pub(crate) fn suited_to(mut self, backend: &BackendInfo) -> Self {
        self.volume_unit = backend.volume_unit.map_or(self.volume_unit, |unit| unit.max(self.volume_unit));
        self.always_dhcp |= backend.networks_need_dhcp;
        self
    }

    /// Whether this setting is there.
    #[must_use]
    pub fn has(&self, setting: Setting) -> bool {
        match setting {
            Setting::Pool => self.pool.is_some(),
            Setting::Network => self.network.is_some(),
            Setting::Bridge => self.bridge.is_some(),
            Setting::Image => self.image.is_some(),
            Setting::Template => self.template.is_some(),
            Setting::Host => self.host.is_some(),
            Setting::Kernel => self.kernel.is_some(),
            Setting::Initrd => self.initrd.is_some(),
            Setting::SerialDir => self.serial_dir.is_some(),
            Setting::Directory => self.directory.is_some(),
        }
    }
}
