//! What Proxmox has beyond the traits, or does otherwise than other backends, as cases for a live server: they make only what bears the
//! run's prefix, and remove it. On the fake they show that they can fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hypervisor_core::conformance::{Outcome, Settings};
use hypervisor_core::model::{
    ByteSize, ByteStream, DeleteVm, GroupChange, GroupSpec, HostState, NetworkSpec, PageRequest, PoolInfo,
    PoolQuery, Started, TaskQuery, TaskState, UploadVolume, VmChange, VmId, VmQuery, VmSpec, VolumeId,
    VolumeSpec,
};
use hypervisor_core::traits::{Compute as _, Network as _, Storage as _, Tasks as _};
use hypervisor_core::{Error, ErrorKind, Hypervisor as _, Operation};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Checksum, FirewallScope, Proxmox, ProxmoxConfig, Resources};
use sha2::Digest as _;

/// How a case ends that does not hold, or cannot be tried.
pub(crate) enum Stop {
    Failed(String),
    Skipped(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

type Check<T = ()> = Result<T, Stop>;
type Ran<'a> = Pin<Box<dyn Future<Output = Check> + Send + 'a>>;

/// What a case works with.
pub(crate) struct Run {
    proxmox: Proxmox,
    config: ProxmoxConfig,
    prefix: String,
    deadline: Duration,
}

/// A fact about a Proxmox server.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pub(crate) name: &'static str,
    run: for<'a> fn(&'a Run) -> Ran<'a>,
}

macro_rules! own {
    ($($name:ident),+ $(,)?) => {
        vec![$(Own { name: stringify!($name), run: |run| Box::pin($name(run)) }),+]
    };
}

/// All of them.
pub(crate) fn all() -> Vec<Own> {
    own![
        the_server_says_what_it_is_and_what_we_may,
        every_read_of_the_seed_is_understood,
        an_image_is_uploaded_compared_and_deleted,
        a_group_is_made_filled_and_deleted,
        a_stale_revision_is_a_conflict,
        a_log_is_read_in_parts,
        what_is_written_and_not_applied_is_seen,
        packed_answers_say_the_same,
    ]
}

impl Own {
    /// Runs it, and removes what it has made.
    pub(crate) async fn run(
        &self,
        proxmox: &Proxmox,
        config: &ProxmoxConfig,
        settings: &Settings,
    ) -> Outcome {
        let initials: String = self.name.split('_').filter_map(|word| word.chars().next()).collect();
        let run = Run {
            proxmox: proxmox.clone(),
            config: config.clone(),
            prefix: format!("{}-{initials}-", settings.prefix),
            deadline: settings.deadline,
        };
        let ended = match tokio::time::timeout(settings.case_deadline, (self.run)(&run)).await {
            Ok(ended) => ended,
            Err(_) => Err(Stop::Failed(format!("it took longer than {:?}", settings.case_deadline))),
        };
        match ended {
            Ok(()) => Outcome::Passed,
            Err(Stop::Failed(why)) => Outcome::Failed(why),
            Err(Stop::Skipped(why)) => Outcome::Skipped(why),
        }
    }
}

macro_rules! hold {
    ($what:expr, $($why:tt)+) => {
        if !$what {
            return Err(Stop::Failed(format!($($why)+)));
        }
    };
}

impl Run {
    async fn ended<T>(&self, started: Started<T>) -> Check<T> {
        let Some(task) = started.task else { return Ok(started.output) };
        let until = Instant::now() + self.deadline;
        loop {
            let info = self.proxmox.get_task(&task, None).await?;
            match info.state {
                TaskState::Succeeded => return Ok(started.output),
                state if state.is_final() => {
                    let why = info.error.unwrap_or_default();
                    return Err(Stop::Failed(format!("{task} is {state}: {why}")));
                }
                _ if Instant::now() > until => return Err(Stop::Failed(format!("{task} does not end"))),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn vm(&self) -> Check<VmId> {
        let spec = VmSpec::new(format!("{}vm", self.prefix)).memory(ByteSize::mib(64));
        self.ended(self.proxmox.create_vm(&spec).await?).await
    }

    async fn remove(&self, vm: &VmId) -> Check {
        self.ended(self.proxmox.delete_vm(vm, &DeleteVm::with_disks().power_off(true)).await?).await
    }

    /// A storage that takes such content.
    async fn storage(&self, content: &str) -> Check<PoolInfo> {
        let pools = self.proxmox.list_pools(&PoolQuery::all(), &PageRequest::first()).await?.items;
        let fits = pools.into_iter().find(|pool| pool.active && pool.content.contains(content));
        fits.ok_or_else(|| {
            Stop::Skipped(format!(
                "no storage takes `{content}`: add it to the content of one (Datacenter, Storage)"
            ))
        })
    }
}

async fn the_server_says_what_it_is_and_what_we_may(run: &Run) -> Check {
    let info = run.proxmox.info();
    let version = info.version.clone().unwrap_or_default();
    hold!(version.split('.').count() >= 2, "the version is `{version}`");
    let answer = run.proxmox.api().get("/version").await?;
    hold!(answer["version"] == *version, "the probe says {version}, the server {answer}");
    let permissions = run.proxmox.permissions().await?;
    hold!(permissions.is_object(), "the permissions are {permissions}");
    let error = run.proxmox.api().get("/no/such/call").await.expect_err("a call that there is not");
    hold!(error.kind() == ErrorKind::Unsupported, "a call that there is not is {error}");
    let wrong = Form::new().text("type", "no-such-type");
    let error =
        run.proxmox.api().get_with("/cluster/resources", &wrong).await.expect_err("a wrong parameter");
    hold!(error.fields().contains_key("type"), "a wrong parameter is {error}");
    Ok(())
}

async fn every_read_of_the_seed_is_understood(run: &Run) -> Check {
    let proxmox = &run.proxmox;
    let page = &PageRequest::first();
    let cluster = proxmox.get_cluster().await?;
    hold!(!cluster.hosts.is_empty(), "the cluster has no hosts");
    for which in [Resources::All, Resources::Guests, Resources::Hosts, Resources::Pools, Resources::Networks]
    {
        proxmox.cluster_resources(which).await?;
    }
    let hosts = proxmox.list_hosts(page).await?.items;
    let host = hosts.iter().find(|host| host.state == HostState::Online);
    let host = host.ok_or_else(|| Stop::Failed(format!("no host is online: {hosts:?}")))?;
    let told = proxmox.get_host(&host.id).await?;
    hold!(told.memory.is_some() && told.cpus.is_some() && told.version.is_some(), "the host says {told:?}");
    let vm = run.vm().await?;
    let read = async {
        let listed = proxmox.list_vms(&VmQuery::all().host(host.id.clone()), page).await?.items;
        let one = proxmox.get_vm(&vm).await?;
        hold!(one.uid.is_some() && one.cpus == Some(1), "the machine says {one:?}");
        hold!(
            one.host.as_ref() != Some(&host.id) || listed.iter().any(|info| info.id == vm),
            "it is not listed"
        );
        let config = proxmox.get_vm_config(&vm).await?;
        hold!(config.revision.is_some(), "its configuration has no digest");
        proxmox.migration_check(&vm, None).await?;
        proxmox.firewall_rules(&FirewallScope::Vm(vm.clone())).await?;
        hold!(
            proxmox.firewall_options(&FirewallScope::Vm(vm.clone())).await?.is_object(),
            "no firewall options"
        );
        Ok::<_, Stop>(())
    };
    let read = read.await;
    run.remove(&vm).await?;
    read?;
    proxmox.firewall_rules(&FirewallScope::Cluster).await?;
    proxmox.firewall_rules(&FirewallScope::Host(host.id.clone())).await?;
    for pool in proxmox.storage_config().await? {
        let content = proxmox.list_volumes(&pool.id, page).await;
        // A storage that is switched off, or that its host cannot reach, has no content.
        hold!(
            content.is_ok() || !pool.active || !proxmox.get_pool(&pool.id).await?.active,
            "{}: {content:?}",
            pool.id
        );
    }
    proxmox.list_networks(page).await?;
    proxmox.list_groups(page).await?;
    let tasks = proxmox.list_tasks(&TaskQuery::all(), page).await?.items;
    hold!(tasks.iter().any(|task| task.vm.as_ref() == Some(&vm)), "the task of the create is not listed");
    let recent = proxmox.recent_tasks().await?;
    hold!(!recent.is_empty(), "the cluster has no recent tasks");
    Ok(())
}

async fn an_image_is_uploaded_compared_and_deleted(run: &Run) -> Check {
    let pool = run.storage("iso").await?;
    let content = Bytes::from(vec![0x5a; 300_000]);
    let name = format!("{}image.iso", run.prefix);
    let spec = VolumeSpec::new(pool.id.clone(), &name, ByteSize::bytes(300_000));
    let target = UploadVolume::Create(spec);
    let stream = || ByteStream::from_bytes(content.clone());
    let wrong = Checksum::sha256("00".repeat(32));
    let started = run.proxmox.upload_with_checksum(&target, stream(), &wrong).await?;
    hold!(run.ended(started).await.is_err(), "a file with another checksum was kept");
    let sum: String = sha2::Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let right = Checksum::sha256(sum);
    let started = run.proxmox.upload_with_checksum(&target, stream(), &right).await?;
    let volume = run.ended(started).await?;
    hold!(volume == VolumeId::from(format!("{}:iso/{name}", pool.id)), "the image is `{volume}`");
    let info = run.proxmox.get_volume(&volume).await?;
    hold!(info.capacity.as_bytes() == 300_000, "it has {}", info.capacity);
    run.ended(run.proxmox.delete_volume(&volume).await?).await?;
    let gone = run.proxmox.get_volume(&volume).await;
    hold!(gone.as_ref().is_err_and(Error::is_not_found), "it is still there: {gone:?}");
    Ok(())
}

async fn a_group_is_made_filled_and_deleted(run: &Run) -> Check {
    let group =
        run.ended(run.proxmox.create_group(&GroupSpec::new(format!("{}group", run.prefix))).await?).await?;
    let vm = run.vm().await?;
    let work = async {
        run.ended(run.proxmox.update_group(&group, &GroupChange::new().add_vms(vec![vm.clone()])).await?)
            .await?;
        let info = run.proxmox.get_group(&group).await?;
        hold!(info.vms == [vm.clone()], "the group has {:?}", info.vms);
        let full = run.proxmox.delete_group(&group).await;
        hold!(
            full.is_err_and(|error| error.kind() == ErrorKind::InvalidState),
            "a group with a guest was deleted"
        );
        Ok::<_, Stop>(())
    };
    let work = work.await;
    run.remove(&vm).await?;
    run.ended(run.proxmox.delete_group(&group).await?).await?;
    work
}

async fn a_stale_revision_is_a_conflict(run: &Run) -> Check {
    let vm = run.vm().await?;
    let work = async {
        let before = run.proxmox.get_vm_config(&vm).await?.revision;
        let before = before.ok_or_else(|| Stop::Failed("the configuration has no digest".to_owned()))?;
        let mut change = VmChange::new().description("one");
        run.ended(run.proxmox.update_vm(&vm, &change).await?).await?;
        change.if_revision = Some(before);
        let late = run.proxmox.update_vm(&vm, &change).await;
        hold!(
            late.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict),
            "a stale change: {late:?}"
        );
        Ok(())
    };
    let work: Check = work.await;
    run.remove(&vm).await?;
    work
}

async fn a_log_is_read_in_parts(run: &Run) -> Check {
    let spec = VmSpec::new(format!("{}vm", run.prefix)).memory(ByteSize::mib(64));
    let started = run.proxmox.create_vm(&spec).await?;
    let task = started.task.clone().ok_or_else(|| Stop::Failed("the create has no task".to_owned()))?;
    let vm = run.ended(started).await?;
    let log = run.proxmox.get_task_log(&task, 0, 1).await;
    run.remove(&vm).await?;
    let log = log?;
    hold!(log.lines.len() == 1, "of one line asked for there are {}", log.lines.len());
    let rest = run.proxmox.get_task_log(&task, log.next, 500).await?;
    hold!(rest.complete, "the log of a task that has ended is not complete");
    let cancelled = run.proxmox.cancel_task(&task).await;
    hold!(
        cancelled.is_err_and(|error| error.kind() == ErrorKind::InvalidState),
        "what has ended was cancelled"
    );
    Ok(())
}

/// Nothing is applied: what is written is dropped again.
async fn what_is_written_and_not_applied_is_seen(run: &Run) -> Check {
    if !run.proxmox.capabilities().has(Operation::CreateNetwork) {
        return Err(Stop::Skipped("the caller may not change networks (Sys.Modify on /nodes)".to_owned()));
    }
    let cidr = "10.213.77.1/24".parse().map_err(|_| Stop::Failed("no cidr".to_owned()))?;
    let spec = NetworkSpec::isolated(format!("{}net", run.prefix), cidr);
    let network = match run.proxmox.create_network(&spec).await {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            return Err(Stop::Skipped(format!("apply or revert what waits on the host first: {error}")));
        }
        made => run.ended(made?).await?,
    };
    let info = run.proxmox.get_network(&network).await;
    run.ended(run.proxmox.delete_network(&network).await?).await?;
    let info = info?;
    hold!(info.name == spec.name && !info.active && info.cidr == Some(cidr), "the network is {info:?}");
    let gone = run.proxmox.get_network(&network).await;
    hold!(gone.as_ref().is_err_and(Error::is_not_found), "it is still there: {gone:?}");
    Ok(())
}

async fn packed_answers_say_the_same(run: &Run) -> Check {
    // The list of what a call takes is long on any server.
    let plain = run.proxmox.api().get("/access/roles").await?;
    let packing = Proxmox::connect(run.config.clone().compression(true)).await?;
    let packed = packing.api().get("/access/roles").await?;
    let set = |roles: &serde_json::Value| {
        let rows = roles.as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["roleid"].to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    hold!(!set(&plain).is_empty() && set(&plain) == set(&packed), "packed it is {packed}, else {plain}");
    Ok(())
}
