//! What the fake gateway has.

use serde_json::{Value, json};

use super::answer::{Call, NOW, Problem};

/// A machine of the fake gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FakeVm {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What somebody wrote about it.
    pub description: String,
    /// `running`, `stopped`, `paused` or `creating`.
    pub status: String,
    /// `production`, `development` or `staging`.
    pub environment: String,
    /// Its CPUs.
    pub cpu_cores: u64,
    /// Its memory in MiB.
    pub memory_mb: u64,
    /// Its disk in GiB.
    pub storage_gb: u64,
    /// Its address.
    pub ip_address: String,
    /// Its VLAN.
    pub vlan_id: u64,
    /// Its operating system.
    pub os_type: String,
    /// Its tags.
    pub tags: Vec<String>,
    pub(super) snapshots: Vec<Value>,
}

impl FakeVm {
    /// A stopped machine with four CPUs, 8 GiB of memory and 100 GiB of disk: the document's own.
    #[must_use]
    pub fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            description: String::new(),
            status: "stopped".to_owned(),
            environment: "production".to_owned(),
            cpu_cores: 4,
            memory_mb: 8192,
            storage_gb: 100,
            ip_address: "192.168.1.101".to_owned(),
            vlan_id: 100,
            os_type: "ubuntu-22.04".to_owned(),
            tags: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    /// It runs.
    #[must_use]
    pub fn running(mut self) -> Self {
        "running".clone_into(&mut self.status);
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }
}

/// Work that goes on.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) vm: Option<String>,
    pub(super) left: u32,
    pub(super) cancelled: bool,
}

impl Job {
    pub(super) fn ended(&self) -> bool {
        self.left == 0 || self.cancelled
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) vms: Vec<FakeVm>,
    pub(super) networks: Vec<Value>,
    pub(super) pools: Vec<Value>,
    pub(super) backups: Vec<Value>,
    pub(super) scans: Vec<Value>,
    pub(super) webhooks: Vec<Value>,
    pub(super) tokens: Vec<String>,
    pub(super) work: Vec<Job>,
    pub(super) token: Option<String>,
    pub(super) calls_left: u64,
    pub(super) job_length: u32,
    pub(super) requests: u64,
    made: u64,
}

impl Default for World {
    fn default() -> Self {
        let network = json!({
            "id": "net-001", "name": "production-vlan", "type": "vlan", "vlan_id": 100,
            "subnet": "192.168.1.0/24", "gateway": "192.168.1.1", "dns_servers": ["8.8.8.8", "8.8.4.4"],
            "dhcp_enabled": false,
            "firewall_rules": [
                { "id": "rule-001", "action": "allow", "protocol": "tcp", "port": 22, "source": "192.168.0.0/16" }
            ],
            "created_at": "2025-07-01T10:00:00Z",
        });
        let pool = json!({
            "id": "pool-001", "name": "ssd", "type": "zfs", "status": "active", "total_gb": 1000, "used_gb": 250.5,
            "available_gb": 749.5,
        });
        Self {
            vms: Vec::new(),
            networks: vec![network],
            pools: vec![pool],
            backups: Vec::new(),
            scans: Vec::new(),
            webhooks: Vec::new(),
            tokens: Vec::new(),
            work: Vec::new(),
            token: None,
            calls_left: 1_000_000,
            job_length: 2,
            requests: 0,
            made: 100,
        }
    }
}

impl World {
    /// A number that was never given before.
    pub(super) fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Begins a job.
    pub(super) fn begin(&mut self, kind: &'static str, vm: Option<&str>) -> String {
        let id = format!("job_{kind}_{}", self.number());
        let job =
            Job { id: id.clone(), kind, vm: vm.map(str::to_owned), left: self.job_length, cancelled: false };
        self.work.push(job);
        self.settle();
        id
    }

    /// Time passes.
    pub(super) fn pass(&mut self) {
        for job in self.work.iter_mut().filter(|job| !job.cancelled) {
            job.left = job.left.saturating_sub(1);
        }
        self.settle();
    }

    fn settle(&mut self) {
        for vm in self.vms.iter_mut().filter(|vm| vm.status == "creating") {
            let at_work = |job: &&Job| job.vm.as_deref() == Some(vm.id.as_str()) && !job.ended();
            if !self.work.iter().any(|job| at_work(&job)) {
                "stopped".clone_into(&mut vm.status);
            }
        }
    }

    pub(super) fn vm(&mut self, id: &str) -> Result<&mut FakeVm, Problem> {
        self.vms.iter_mut().find(|vm| vm.id == id).ok_or_else(|| Problem::not_found("virtual_machine", id))
    }

    pub(super) fn job(&self, job: &Job) -> Value {
        let status = match (job.cancelled, job.left) {
            (true, _) => "cancelled",
            (false, 0) => "completed",
            _ => "running",
        };
        let line = |message: &str| json!({ "timestamp": NOW, "level": "info", "message": message });
        let mut logs = vec![line("VM creation started")];
        if job.left < self.job_length {
            logs.push(line("Disk allocation completed"));
        }
        let mut shown = json!({
            "id": job.id, "type": job.kind, "status": status, "progress": if job.ended() { 100 } else { 65 },
            "started_at": NOW, "estimated_completion": "2025-07-29T12:10:00Z", "logs": logs,
        });
        if let (Value::Object(shown), Some(vm)) = (&mut shown, &job.vm) {
            shown.insert("vm_id".to_owned(), json!(vm));
        }
        if let (Value::Object(shown), true) = (&mut shown, job.ended()) {
            shown.insert("completed_at".to_owned(), json!(NOW));
        }
        shown
    }

    pub(super) fn jobs(&self) -> Vec<Value> {
        self.work.iter().map(|job| self.job(job)).collect()
    }

    /// Lets a call in.
    pub(super) fn admit(&mut self, call: &Call) -> Result<(), Problem> {
        if self.calls_left == 0 {
            return Err(Problem::new(429, "RATE_LIMIT_EXCEEDED", "API rate limit exceeded"));
        }
        self.calls_left -= 1;
        let Some(token) = &self.token else { return Ok(()) };
        let given = call.authorization.as_deref().unwrap_or_default();
        let wants_user = call.path.first().map(String::as_str) == Some("auth");
        if given == format!("Bearer {token}") || wants_user && given.starts_with("Basic ") {
            return Ok(());
        }
        Err(Problem::new(401, "INVALID_TOKEN", "API token is invalid or expired"))
    }
}
