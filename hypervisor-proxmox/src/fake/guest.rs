//! A guest of the fake: what is kept of it, and how it reads over the API.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::agent::Agent;
use super::clock::Clock;
use super::reply::Refusal;
use crate::wire::property::{self, Properties};

/// Settings of a guest as text, by key.
pub(super) type Config = BTreeMap<String, String>;

/// Which of the two kinds of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Qemu,
    Lxc,
}

impl Kind {
    /// The part of a path that the kind has.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }

    /// How messages call such a guest.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Qemu => "VM",
            Self::Lxc => "CT",
        }
    }

    /// The directory of the configuration files.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-server",
            Self::Lxc => "lxc",
        }
    }

    /// The type of a task: `qmstart` and `vzstart`.
    pub(super) fn task(self, verb: &str) -> String {
        match self {
            Self::Qemu => format!("qm{verb}"),
            Self::Lxc => format!("vz{verb}"),
        }
    }

    /// The key of the guest's name.
    pub(super) fn name_key(self) -> &'static str {
        match self {
            Self::Qemu => "name",
            Self::Lxc => "hostname",
        }
    }
}

/// Whether a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Stopped,
    Running,
    Paused,
}

/// A snapshot.
#[derive(Debug, Clone)]
pub(super) struct Snap {
    pub(super) config: Config,
    pub(super) parent: Option<String>,
    pub(super) description: Option<String>,
    pub(super) time: u64,
    pub(super) vmstate: bool,
}

/// A guest.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) vmid: u32,
    pub(super) kind: Kind,
    pub(super) host: String,
    pub(super) config: Config,
    /// What takes effect with the next start; `None` removes a key.
    pub(super) pending: BTreeMap<String, Option<String>>,
    pub(super) power: Power,
    /// When it was started.
    pub(super) since: Duration,
    pub(super) pid: u32,
    pub(super) snapshots: BTreeMap<String, Snap>,
    /// The snapshot that the present state stands on.
    pub(super) parent: Option<String>,
    /// The task that holds the lock file.
    pub(super) holder: Option<String>,
    pub(super) agent: Agent,
    /// Whether the guest does what the power button asks for.
    pub(super) obeys: bool,
    /// Whether high availability starts and stops it.
    pub(super) managed: bool,
    pub(super) created: Duration,
}

impl Guest {
    pub(super) fn new(vmid: u32, kind: Kind, host: &str) -> Self {
        Self {
            vmid,
            kind,
            host: host.to_owned(),
            config: Config::new(),
            pending: BTreeMap::new(),
            power: Power::Stopped,
            since: Duration::ZERO,
            pid: 0,
            snapshots: BTreeMap::new(),
            parent: None,
            holder: None,
            agent: Agent::default(),
            obeys: true,
            managed: false,
            created: Duration::ZERO,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.config.insert(key.to_owned(), value.into());
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    pub(super) fn is_template(&self) -> bool {
        self.flag("template")
    }

    pub(super) fn is_running(&self) -> bool {
        self.power != Power::Stopped
    }

    /// The name, or what the server makes up for a guest that has none.
    pub(super) fn name(&self) -> String {
        let name = self.get(self.kind.name_key()).map(str::to_owned);
        name.unwrap_or_else(|| format!("{}{}", self.kind.noun(), self.vmid))
    }

    /// `VM is locked (backup)`, where it is.
    pub(super) fn locked(&self) -> Option<String> {
        Some(format!("{} is locked ({})", self.kind.noun(), self.get("lock")?))
    }

    /// # Errors
    /// A refusal where the configuration says that an operation is under way.
    pub(super) fn check_lock(&self) -> Result<(), Refusal> {
        self.locked().map_or(Ok(()), |text| Err(Refusal::die(text)))
    }

    /// What the server says when it cannot get the lock file in time.
    pub(super) fn lock_file_message(&self) -> String {
        let vmid = self.vmid;
        match self.kind {
            Kind::Qemu => {
                format!("can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout")
            }
            Kind::Lxc => format!("can't lock file '/run/lock/lxc/pve-config-{vmid}.lock' - got timeout"),
        }
    }

    /// # Errors
    /// A refusal where a task holds the lock file.
    pub(super) fn check_free(&self) -> Result<(), Refusal> {
        if self.holder.is_some() { Err(Refusal::busy(self.lock_file_message())) } else { Ok(()) }
    }

    /// The settings, with those that wait for a start where `pending` asks for them.
    pub(super) fn effective(&self, pending: bool) -> Config {
        let mut config = self.config.clone();
        if pending {
            for (key, value) in &self.pending {
                match value {
                    Some(value) => {
                        config.insert(key.clone(), value.clone());
                    }
                    None => {
                        config.remove(key);
                    }
                }
            }
        }
        config
    }

    /// Forty digits that change with the configuration.
    pub(super) fn digest(&self) -> String {
        let mut text: String = self.config.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        for (key, value) in &self.pending {
            text.push_str(&format!("[PENDING]{key}: {value:?}\n"));
        }
        for (name, snap) in &self.snapshots {
            text.push_str(&format!("[{name}]{:?}\n", snap.time));
        }
        digest(&text)
    }

    /// Disks of the configuration: key and property string.
    pub(super) fn disks(&self) -> Vec<(String, Properties)> {
        disks_of(self.kind, &self.config)
    }

    /// The size of the disk that the guest starts from.
    pub(super) fn main_disk_size(&self) -> u64 {
        let wanted = match self.kind {
            Kind::Lxc => Some("rootfs".to_owned()),
            Kind::Qemu => {
                let boot = property::parse(self.get("boot").unwrap_or_default());
                let first = boot.list("order").find(|key| is_disk_key(self.kind, key)).map(str::to_owned);
                first.or_else(|| self.disks().first().map(|(key, _)| key.clone()))
            }
        };
        let disk = wanted.and_then(|key| self.get(&key).map(property::parse));
        disk.and_then(|disk| disk.get("size").and_then(parse_size)).unwrap_or(0)
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> u64 {
        let text = self.get("memory").unwrap_or("512");
        let current = property::parse(text).get_or_bare("current").and_then(|text| text.parse::<u64>().ok());
        current.unwrap_or(512).saturating_mul(1 << 20)
    }

    /// The CPUs that the guest sees; a container without a limit has those of the host.
    pub(super) fn cpus(&self, host_cpus: u64) -> u64 {
        match self.kind {
            Kind::Qemu => {
                self.number("cores").unwrap_or(1).saturating_mul(self.number("sockets").unwrap_or(1))
            }
            Kind::Lxc => self.number("cores").unwrap_or(host_cpus),
        }
    }

    /// The agent's switch: `1`, `enabled=1,fstrim_cloned_disks=1`.
    pub(super) fn has_agent(&self) -> bool {
        property::parse(self.get("agent").unwrap_or("0")).get_or_bare("enabled") == Some("1")
    }

    /// MAC addresses by NIC.
    pub(super) fn macs(&self) -> Vec<(String, String)> {
        let nics = self.config.iter().filter(|(key, _)| is_indexed(key, "net"));
        nics.filter_map(|(key, value)| Some((key.clone(), mac_of(&property::parse(value))?))).collect()
    }

    /// One number between 0 and 1 that stays the same for a guest within a minute.
    pub(super) fn load(&self, clock: &Clock) -> f64 {
        let mix = (clock.unix() / 60).wrapping_add(u64::from(self.vmid)).wrapping_mul(2_654_435_761) % 1_000;
        f64::from(u16::try_from(mix).unwrap_or(0)) / 1_000.0
    }

    /// What the lists and `status/current` have in common.
    pub(super) fn figures(&self, clock: &Clock, host_cpus: u64) -> Map<String, Value> {
        let running = self.is_running();
        let uptime = if running { clock.now().saturating_sub(self.since).as_secs() } else { 0 };
        let memory = self.memory();
        let used = if running { memory / 2 } else { 0 };
        let traffic = uptime.saturating_mul(1_000);
        let mut row = Map::new();
        let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
        put("vmid", self.vmid.into());
        put("name", self.name().into());
        put("status", if running { "running" } else { "stopped" }.into());
        put("cpu", if running { json!(self.load(clock)) } else { json!(0) });
        put("cpus", self.cpus(host_cpus).into());
        put("mem", used.into());
        put("memhost", used.into());
        put("maxmem", memory.into());
        put("disk", 0.into());
        put("maxdisk", self.main_disk_size().into());
        put("uptime", uptime.into());
        put("netin", traffic.into());
        put("netout", (traffic / 2).into());
        if running {
            put("pid", self.pid.into());
            for what in ["cpusome", "cpufull", "iosome", "iofull", "memorysome", "memoryfull"] {
                put(&format!("pressure{what}"), 0.into());
            }
        }
        let texts = [("tags", self.get("tags")), ("lock", self.get("lock"))];
        for (key, text) in texts {
            if let Some(text) = text {
                put(key, text.into());
            }
        }
        if self.is_template() {
            put("template", 1.into());
        }
        row
    }
}

/// Whether a key is a family's name with a number behind it.
pub(super) fn is_indexed(key: &str, family: &str) -> bool {
    key.strip_prefix(family)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a key names a disk.
pub(super) fn is_disk_key(kind: Kind, key: &str) -> bool {
    match kind {
        Kind::Qemu => {
            ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"].iter().any(|bus| is_indexed(key, bus))
        }
        Kind::Lxc => key == "rootfs" || is_indexed(key, "mp"),
    }
}

/// The disks of a configuration that stand for a volume.
pub(super) fn disks_of(kind: Kind, config: &Config) -> Vec<(String, Properties)> {
    let of_disk = |key: &str| is_disk_key(kind, key) || is_indexed(key, "unused");
    let all = config.iter().filter(|(key, _)| of_disk(key));
    let parsed = all.map(|(key, value)| (key.clone(), property::parse(value)));
    parsed.filter(|(_, disk)| disk_volume(disk).is_some()).collect()
}

/// The volume that a disk stands for.
pub(super) fn disk_volume(disk: &Properties) -> Option<&str> {
    let volume = disk.get("file").or_else(|| disk.get("volume")).or_else(|| disk.first_bare())?;
    volume.contains(':').then_some(volume)
}

/// The MAC address of a NIC of either kind.
pub(super) fn mac_of(nic: &Properties) -> Option<String> {
    let explicit = nic.get("hwaddr").or_else(|| nic.get("macaddr"));
    let by_model = || nic.iter().find(|entry| entry.value.matches(':').count() == 5);
    explicit.map(str::to_owned).or_else(|| by_model().map(|entry| entry.value.clone()))
}

/// `32G`, `512M`, `64K`, `4096`: bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B').to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let factor = 1_u64 << shift;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor),
        Some((whole, part)) => {
            let base = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
            let part = part.parse::<u64>().ok()?.checked_mul(factor)? / base;
            whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part)
        }
    }
}

/// Bytes in the largest unit that loses nothing, as disks carry their size.
pub(super) fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("T", 40), ("G", 30), ("M", 20), ("K", 10)] {
        let factor = 1_u64 << shift;
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// Forty hex digits of a text. No cryptography: it has to change when the text does.
pub(super) fn digest(text: &str) -> String {
    let round = |seed: u64| {
        text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    let (a, b, c) =
        (round(0xcbf2_9ce4_8422_2325), round(0x9e37_79b9_7f4a_7c15), round(0x2545_f491_4f6c_dd1d));
    format!("{a:016x}{b:016x}{:08x}", c & 0xffff_ffff)
}

/// Keys whose values are numbers over the API; everything else is text.
const NUMBERS: &[&str] = &[
    "acpi",
    "autostart",
    "balloon",
    "cores",
    "cpuunits",
    "debug",
    "freeze",
    "kvm",
    "localtime",
    "migrate_speed",
    "numa",
    "onboot",
    "protection",
    "reboot",
    "shares",
    "snaptime",
    "sockets",
    "swap",
    "tablet",
    "tdf",
    "template",
    "tty",
    "unprivileged",
    "vcpus",
    "console",
    "ciupgrade",
];

/// A setting as it stands in JSON.
pub(super) fn typed(kind: Kind, key: &str, value: &str) -> Value {
    let numeric = NUMBERS.contains(&key) || (kind == Kind::Lxc && key == "memory");
    match value.parse::<i64>() {
        Ok(number) if numeric => number.into(),
        _ if key == "cipassword" => "**********".into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("1G", 1 << 30), ("64M", 64 << 20), ("1.5K", 1536), ("7", 7), ("4T", 4 << 40)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        assert_eq!(parse_size("1X"), None);
        assert_eq!((format_size(1 << 30), format_size(1_536 << 20)), ("1G".to_owned(), "1536M".to_owned()));
    }

    #[test]
    fn values_are_typed_as_recorded() {
        assert_eq!(typed(Kind::Qemu, "memory", "512"), json!("512"));
        assert_eq!(typed(Kind::Lxc, "memory", "128"), json!(128));
        assert_eq!(typed(Kind::Qemu, "cores", "2"), json!(2));
        assert_eq!(typed(Kind::Qemu, "agent", "1"), json!("1"));
    }
}
