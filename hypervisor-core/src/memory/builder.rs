//! How a [`Memory`] is set up: by a builder or by a URL.

use std::ops::Range;
use std::time::Duration;

use super::{FaultPlan, Memory};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, Capabilities, Feature, parse_duration};
use crate::operation::Operation;

/// As many hosts as a URL may ask for.
const MOST_HOSTS: u64 = 10_000;

#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) hosts: u32,
    pub(super) host_cpus: u32,
    pub(super) host_memory: ByteSize,
    pub(super) pools: Vec<(String, ByteSize)>,
    pub(super) task_time: Duration,
    pub(super) guest_time: Duration,
    pub(super) seed: u64,
    pub(super) latency: Range<Duration>,
    pub(super) faults: FaultPlan,
    pub(super) page_limit: u32,
    pub(super) event_buffer: usize,
}

/// Sets a [`Memory`] up. Made by [`Memory::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct MemoryBuilder {
    config: Config,
    capabilities: Capabilities,
}

impl MemoryBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: Config {
                hosts: 1,
                host_cpus: 32,
                host_memory: ByteSize::gib(256),
                pools: vec![("default".to_owned(), ByteSize::tib(1))],
                task_time: Duration::ZERO,
                guest_time: Duration::ZERO,
                seed: 0,
                latency: Duration::ZERO..Duration::ZERO,
                faults: FaultPlan::new(),
                page_limit: 1000,
                event_buffer: 1024,
            },
            capabilities: Capabilities::all_native()
                .emulated([Operation::SubmitBatch], "one call for each operation that is no power verb")
                .emulated([Operation::CloneVms], "one clone for each copy")
                .unsupported([Feature::SerialLog], "no kernel runs in it that could write one"),
        }
    }

    /// So many hosts, `host-1` to `host-n`; at least one, which is also what it is without this.
    pub fn hosts(mut self, n: u32) -> Self {
        self.config.hosts = n.max(1);
        self
    }

    /// What each host has; 32 CPUs and 256 GiB without this. A guest that asks for more, or is started when the memory is taken, is
    /// [`Exhausted`](ErrorKind::Exhausted). CPUs are shared.
    pub fn host_capacity(mut self, cpus: u32, memory: ByteSize) -> Self {
        self.config.host_cpus = cpus;
        self.config.host_memory = memory;
        self
    }

    /// Adds a directory pool of this size, or changes the size of `default`, which has 1 TiB without this.
    pub fn pool(mut self, name: impl Into<String>, capacity: ByteSize) -> Self {
        let name = name.into();
        self.config.pools.retain(|(other, _)| *other != name);
        self.config.pools.push((name, capacity));
        self
    }

    /// How long what is long on a real backend takes: copies, clones, migrations, backups, templates, exports, uploads, wipes and snapshots with
    /// memory. Such calls then start a task. Without this nothing takes time and there are no tasks.
    pub fn task_time(mut self, time: Duration) -> Self {
        self.config.task_time = time;
        self
    }

    /// How long a guest takes to follow a shutdown; [`Duration::MAX`] for guests that never do. Without this they follow at once.
    pub fn guest_time(mut self, time: Duration) -> Self {
        self.config.guest_time = time;
        self
    }

    /// The seed of uids, MAC addresses, latency and random faults: the same seed and the same calls give the same world.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// How long each call takes, by the dice of the seed. Without this calls answer at once.
    pub fn latency(mut self, latency: Range<Duration>) -> Self {
        self.config.latency = latency;
        self
    }

    /// What is to go wrong; see also [`Memory::inject`].
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.config.faults = plan;
        self
    }

    /// What it can do. Calls that need anything else are answered [`Unsupported`](ErrorKind::Unsupported). Without this it can do everything.
    ///
    /// ```
    /// use hypervisor_core::memory::Memory;
    /// use hypervisor_core::model::{Capabilities, Feature};
    /// let no_tpm = Capabilities::all_native().unsupported([Feature::Tpm], "no TPM for tests");
    /// let memory = Memory::builder().capabilities(no_tpm).build();
    /// ```
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// How many items a page has at most; 1000 without this.
    pub fn page_limit(mut self, limit: u32) -> Self {
        self.config.page_limit = limit.max(1);
        self
    }

    /// How many events a slow reader may be behind before it is told to
    /// [`Lagged`](crate::model::EventKind::Lagged); 1024 without this.
    pub fn event_buffer(mut self, events: usize) -> Self {
        self.config.event_buffer = events;
        self
    }

    /// The hypervisor.
    #[must_use]
    pub fn build(self) -> Memory {
        Memory::with(self.config, self.capabilities)
    }

    /// Reads `memory://?hosts=3&task_time=2s&guest_time=500ms&seed=42`.
    pub(super) fn from_url(url: &str) -> Result<Self> {
        let wrong = |message: String| Error::new(ErrorKind::Config, message);
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("memory") => rest,
            _ => return Err(wrong("this is not a memory URL; one looks like memory://?hosts=3".to_owned())),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !matches!(place, "" | "/") || query.contains('#') {
            return Err(wrong(
                "a memory URL has neither host nor path, only a query: memory://?hosts=3".to_owned(),
            ));
        }
        let mut builder = Self::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = |why: &str| wrong(format!("{key}: `{value}` {why}")).with_field(key, why);
            let number = || value.parse().map_err(|_| bad("is not a whole number"));
            let time = || parse_duration(value).ok_or_else(|| bad("is not a time like 500ms, 2s or 1m"));
            builder = match key {
                "hosts" => match number()? {
                    0 => return Err(bad("must be at least 1")),
                    hosts @ 1..=MOST_HOSTS => builder.hosts(u32::try_from(hosts).unwrap_or(u32::MAX)),
                    _ => return Err(bad("is too many")),
                },
                "seed" => builder.seed(number()?),
                "task_time" => builder.task_time(time()?),
                "guest_time" => builder.guest_time(time()?),
                _ => {
                    let known = "hosts, seed, task_time, guest_time";
                    return Err(bad("is unknown").with_hint(format!("Known are {known}.")));
                }
            };
        }
        Ok(builder)
    }
}

impl Config {
    /// How long the next call takes.
    pub(super) fn draw_latency(&self, rng: &mut fastrand::Rng) -> Duration {
        let Range { start, end } = self.latency;
        let spread = u64::try_from(end.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX);
        if spread == 0 { start } else { start + Duration::from_nanos(rng.u64(0..spread)) }
    }
}
