//! Moving a guest to another daemon.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hypervisor_core::model::{ByteSize, Feature, HostId, MigrateSpec, PoolId, Started, VmId, VmState};
use hypervisor_core::traits::Storage;
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt_sys as sys;

use super::{Shared, lookup};
use crate::backend::Libvirt;
use crate::blocking::Lane;
use crate::config::{LibvirtConfig, MigrationWay};
use crate::error::{Fail, Outcome, named};
use crate::ffi::{self, JobInfo, Migration};
use crate::jobs;
use crate::storage::COPY_LIMIT;
use crate::tasks::Running;
use crate::xml::Element;
use crate::xml::device::source_path;

const OPERATION: Operation = Operation::MigrateVm;

/// Moves a guest, as a task.
pub(super) async fn migrate(inner: &Shared, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
    let target = target(&spec.host).map_err(named(OPERATION))?;
    let (id, wanted) = (vm.clone(), spec.clone());
    // Refused here rather than in the task, where nobody may look.
    let plan = inner.call(OPERATION, move |conn| plan(conn, &id, &wanted)).await?;
    inner.require(
        OPERATION,
        &[if plan.active { Feature::LiveMigration } else { Feature::OfflineMigration }],
    )?;
    let way = match target.migration.or(inner.config.migration).unwrap_or_default() {
        // The source's daemon has no way to be told a password.
        MigrationWay::Auto if target.credentials.is_some() => MigrationWay::Direct,
        way => way,
    };
    let job = Job {
        inner: Arc::clone(inner),
        vm: vm.clone(),
        spec: spec.clone(),
        target,
        way,
        plan,
        begun: AtomicBool::new(false),
    };
    let task = inner.tasks.spawn_watched(OPERATION, Some(vm), |running| async move {
        job.carry_out(&running).await.map_err(named(OPERATION))
    });
    Ok(Started::running((), task))
}

/// The daemon that a guest is to move to.
fn target(host: &HostId) -> Result<LibvirtConfig> {
    let config = LibvirtConfig::new(host.as_str()).map_err(|error| {
        let why =
            format!("must be the other daemon's URI, such as qemu+ssh://host/system: {}", error.message());
        Error::invalid("host", why)
    })?;
    if config.is_test() {
        return Err(Error::invalid("host", "libvirt's test driver takes no guests in"));
    }
    Ok(config)
}

/// What is to be moved.
#[derive(Debug, Clone)]
struct Plan {
    active: bool,
    live: bool,
    persistent: bool,
    memory: ByteSize,
    /// The files that are copied, where disks are.
    disks: Vec<String>,
}

fn plan(conn: &Connect, vm: &VmId, spec: &MigrateSpec) -> Outcome<Plan> {
    let domain = lookup::domain(conn, vm)?;
    let state = lookup::state(&domain)?;
    let refuse = |why: String| Err(Error::invalid_state(why).with_target(VmId::NOUN, vm).into());
    if state == VmState::Hibernated {
        return refuse("it is hibernated: libvirt leaves the saved memory behind".into());
    }
    let active = lookup::is_active(&domain)?;
    if !active && spec.live == Some(true) {
        return refuse(format!("it is {state} and cannot be moved live"));
    }
    let definition = if active { lookup::live(&domain)? } else { lookup::whole_definition(&domain)? };
    let disks: Vec<_> = definition.all("devices/disk").into_iter().filter(|disk| is_copied(disk)).collect();
    let disks: Vec<_> = disks.into_iter().filter_map(source_path).collect();
    if spec.with_disks && !active && !disks.is_empty() {
        let why = "libvirt copies the disks of running guests only";
        return Err(Error::unsupported(Feature::OfflineMigration, why).with_target(VmId::NOUN, vm).into());
    }
    if spec.pool.is_some() && !spec.with_disks {
        return Err(Error::invalid("pool", "is for disks that are copied: ask for `with_disks` too").into());
    }
    Ok(Plan {
        active,
        live: active && spec.live != Some(false),
        persistent: domain.is_persistent()?,
        memory: ByteSize::kib(domain.get_info()?.max_mem),
        disks,
    })
}

/// Whether a migration copies a disk: what nobody writes to, or many do, stays where it is.
fn is_copied(disk: &Element) -> bool {
    let hard_disk = disk.attr("device").is_none_or(|device| device == "disk");
    hard_disk && disk.child("readonly").is_none() && disk.child("shareable").is_none()
}

/// What a migration failed with. A lost connection is the one to the other side while ours lives.
fn failed(conn: &Connect, vm: &VmId, error: ffi::LibvirtError) -> Fail {
    if error.is_disconnect() && conn.is_alive().unwrap_or(false) {
        let ours = Error::new(ErrorKind::HostUnreachable, error.message.clone());
        return Fail::Ours(ours.with_target(VmId::NOUN, vm).with_source(error));
    }
    lookup::named(vm)(error.into())
}

struct Job {
    inner: Shared,
    vm: VmId,
    spec: MigrateSpec,
    target: LibvirtConfig,
    way: MigrationWay,
    plan: Plan,
    /// Whether anything was sent to the other side.
    begun: AtomicBool,
}

impl Job {
    async fn carry_out(&self, running: &Running) -> Result<()> {
        let outcome = self.attempt(running).await;
        self.inner.forget_facts(self.vm.as_str());
        match &outcome {
            Ok(()) => self.tell_what_stays(running),
            Err(_) => self.tell_where_it_is(running).await,
        }
        outcome
    }

    async fn attempt(&self, running: &Running) -> Result<()> {
        running.stage(format!("connects to {}", self.target.uri()));
        if self.plan.active {
            running.progress(0.0);
        }
        let mut how = self.how();
        // The source's daemon connects by itself; we do where we have to know the other side.
        let mut destination = None;
        if self.way == MigrationWay::Direct || self.spec.pool.is_some() {
            destination = Some(self.connect().await?);
        }
        if let (Some(destination), Some(pool)) = (&destination, &self.spec.pool) {
            self.rewrite(destination, pool, &mut how).await?;
        }
        if self.way == MigrationWay::Direct {
            return self.directly(running, destination.as_ref(), how).await;
        }
        match self.by_peer(running, how.clone()).await {
            Err(error)
                if self.way == MigrationWay::Auto
                    && error.kind() == ErrorKind::HostUnreachable
                    && !self.begun.load(Ordering::Acquire) =>
            {
                running.say(format!("the source's daemon cannot reach the other one: {}", error.message()));
                self.directly(running, destination.as_ref(), how).await
            }
            other => other,
        }
    }

    fn how(&self) -> Migration {
        let mut flags = 0;
        if !self.plan.active {
            flags |= sys::VIR_MIGRATE_OFFLINE;
        }
        if self.plan.live {
            flags |= sys::VIR_MIGRATE_LIVE;
        }
        if self.plan.persistent {
            flags |= sys::VIR_MIGRATE_PERSIST_DEST | sys::VIR_MIGRATE_UNDEFINE_SOURCE;
        }
        if self.copies() {
            flags |= sys::VIR_MIGRATE_NON_SHARED_DISK;
        }
        let uri = self.target.migrate_uri.clone();
        // A socket takes one stream: the disks need one of their own.
        let beside = |uri: &String| uri.starts_with("unix:").then(|| format!("{uri}.disks"));
        let disks_uri = self.target.disks_uri.clone().or_else(|| uri.as_ref().and_then(beside));
        // Rounded up: zero would be no limit at all.
        let bandwidth = self.spec.bandwidth.map(|limit| limit.as_bytes().div_ceil(1 << 20).max(1));
        Migration {
            flags,
            uri,
            disks_uri: disks_uri.filter(|_| self.copies()),
            bandwidth: bandwidth.filter(|_| self.plan.active),
            ..Migration::default()
        }
    }

    fn copies(&self) -> bool {
        self.spec.with_disks && !self.plan.disks.is_empty()
    }

    async fn connect(&self) -> Result<Libvirt> {
        Libvirt::connect(self.target.clone()).await.map_err(|error| {
            let text = format!("cannot reach {}: {}", self.target.uri(), error.message());
            Error::new(ErrorKind::HostUnreachable, text).with_effect(Effect::None).with_source(error)
        })
    }

    async fn by_peer(&self, running: &Running, how: Migration) -> Result<()> {
        let (vm, uri) = (self.vm.clone(), self.target.uri().to_owned());
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            ffi::migrate_by_peer(&domain, &uri, &how).map_err(|error| failed(conn, &vm, error))
        };
        self.watch(running, self.inner.run(OPERATION, Lane::Slow, COPY_LIMIT, work)).await
    }

    async fn directly(&self, running: &Running, known: Option<&Libvirt>, how: Migration) -> Result<()> {
        let opened = match known {
            Some(_) => None,
            None => Some(self.connect().await?),
        };
        let Some(destination) = known.or(opened.as_ref()) else { return Ok(()) };
        let to = destination.with_connection(|conn| Ok(ffi::Connection::share(conn))).await?;
        let vm = self.vm.clone();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            ffi::migrate_directly(&domain, &to, &how).map_err(|error| failed(conn, &vm, error))
        };
        self.watch(running, self.inner.run(OPERATION, Lane::Slow, COPY_LIMIT, work)).await
    }

    async fn watch(&self, running: &Running, work: impl Future<Output = Result<()>>) -> Result<()> {
        jobs::watch(&self.inner, running, &self.vm, work, |job| self.tell(running, job)).await
    }

    fn tell(&self, running: &Running, job: &JobInfo) {
        if job.total == 0 {
            running.stage("prepares");
            return;
        }
        self.begun.store(true, Ordering::Release);
        // While disks are being copied, libvirt does not count the memory yet.
        let to_come = if job.memory_total == 0 { self.plan.memory.as_bytes() } else { 0 };
        let total = job.total.saturating_add(to_come);
        running.bytes(total.saturating_sub(job.remaining.saturating_add(to_come)), total);
        running.stage(if job.disk_remaining > 0 || job.memory_total == 0 {
            "copies the disks".to_owned()
        } else {
            format!("copies the memory, pass {}", job.memory_passes.max(1))
        });
    }

    fn tell_what_stays(&self, running: &Running) {
        if self.copies() {
            for path in &self.plan.disks {
                running.warn(format!("the original of the copied disk is left at {path}"));
            }
        }
    }

    async fn tell_where_it_is(&self, running: &Running) {
        let vm = self.vm.clone();
        let work = move |conn: &Connect| lookup::state(&lookup::domain(conn, &vm)?);
        match self.inner.call(Operation::GetVm, work).await {
            Ok(state) => running.say(format!("the guest is still here, and {state}")),
            Err(error) => running.say(format!("where the guest is cannot be told: {}", error.message())),
        }
    }

    /// Puts the copied disks into a pool of the other host.
    async fn rewrite(&self, destination: &Libvirt, pool: &PoolId, how: &mut Migration) -> Result<()> {
        let found = destination.get_pool(pool).await?;
        let folder = found.path.filter(|_| found.active).ok_or_else(|| {
            Error::invalid("pool", format!("`{pool}` is not active over there, or keeps no files"))
        })?;
        let (vm, persistent) = (self.vm.clone(), self.plan.persistent);
        let work = move |conn: &Connect| -> Outcome<(String, Option<String>)> {
            let domain = lookup::domain(conn, &vm)?;
            let secure = sys::VIR_DOMAIN_XML_MIGRATABLE | sys::VIR_DOMAIN_XML_SECURE;
            let text = |flags| -> Outcome<String> {
                let mut xml = Element::parse(&domain.get_xml_desc(flags)?)?;
                move_disks(&mut xml, &folder);
                Ok(xml.to_string())
            };
            let inactive = persistent.then(|| text(secure | sys::VIR_DOMAIN_XML_INACTIVE)).transpose()?;
            Ok((text(secure)?, inactive))
        };
        let (live, inactive) = self.inner.call(OPERATION, work).await?;
        (how.live_xml, how.persistent_xml) = (Some(live), inactive);
        Ok(())
    }
}

fn move_disks(domain: &mut Element, folder: &str) {
    for disk in domain.ensure("devices").elements_mut().filter(|item| item.name == "disk" && is_copied(item))
    {
        let Some(path) = source_path(disk) else { continue };
        let name = path.rsplit('/').next().unwrap_or(&path);
        disk.set_attr("type", "file");
        let source = disk.ensure("source");
        source.remove_attr("dev");
        source.set_attr("file", format!("{}/{name}", folder.trim_end_matches('/')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_another_daemons_uri() {
        for host in
            ["", "kvm2", "https://kvm2", "test:///default", "qemu+ssh://kvm2/system?hv_migrate=pigeon"]
        {
            let error = target(&host.into()).unwrap_err();
            assert!(error.fields().contains_key("host"), "{error}");
        }
        let found = target(
            &"qemu+unix:///system?socket=/b/sock&hv_migrate=direct&hv_migrate_uri=unix:///b/m&hv_disks_uri=unix:///b/d"
                .into(),
        );
        let found = found.unwrap();
        assert_eq!(found.uri(), "qemu+unix:///system?socket=/b/sock");
        assert_eq!(found.migration, Some(MigrationWay::Direct));
        assert_eq!(found.migrate_uri.as_deref(), Some("unix:///b/m"));
        assert_eq!(found.disks_uri.as_deref(), Some("unix:///b/d"));
        let secret = target(&"qemu+tcp://ann:canary@kvm2/system?hv_nonsense=1".into()).unwrap_err();
        assert!(!format!("{secret} {secret:?}").contains("canary"));
    }

    #[test]
    fn copied_disks_go_into_the_other_folder() {
        let mut domain = Element::parse(
            "<domain><devices><disk type='file' device='disk'><source file='/a/x.qcow2'/></disk>\
             <disk type='block' device='disk'><source dev='/dev/vg/y'/></disk>\
             <disk type='file' device='cdrom'><source file='/a/cd.iso'/></disk>\
             <disk type='file' device='disk'><source file='/a/ro.img'/><readonly/></disk></devices></domain>",
        )
        .unwrap();
        move_disks(&mut domain, "/b/");
        let paths: Vec<_> = domain.all("devices/disk").into_iter().filter_map(source_path).collect();
        assert_eq!(paths, ["/b/x.qcow2", "/b/y", "/a/cd.iso", "/a/ro.img"]);
    }
}
