//! Making a backup.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{
    BackupId, BackupMode, BackupSpec, ByteSize, PoolId, Started, VmId, VmState, VolumeFormat, VolumeSpec,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt_sys as sys;

use super::manifest::{self, Found, Manifest, Place, SavedDisk};
use crate::backend::Inner;
use crate::blocking::CallError as _;
use crate::compute::clone::{is_copied, lasting};
use crate::compute::volumes::{Made, capacity, handle_at_path, resolve};
use crate::compute::{halted, lookup};
use crate::error::{Fail, Outcome, named};
use crate::ffi;
use crate::storage::{find_pool, make_volume, usable_pool};
use crate::tasks::{Running, cancelled};
use crate::xml::Element;
use crate::xml::backup::{DiskTarget, backup, checkpoint};
use crate::xml::device::{is_own, source_path, unread};
use crate::xml::storage::{Backing, volume_id};

const OPERATION: Operation = Operation::CreateBackup;
/// The first pause between two looks at a backup; it doubles up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);
/// After how many looks in a row that fail the backup counts as failed.
const FAILED_LOOKS: usize = 20;

/// Backs a guest up, as a task.
pub(super) async fn create(
    inner: &Arc<Inner>,
    vm: &VmId,
    spec: BackupSpec,
) -> Result<Started<Option<BackupId>>> {
    let (id, mode, pool) = (vm.clone(), spec.mode, inner.config.pool.clone());
    // Refused here rather than in the task, where nobody may look.
    let plan = inner.call_slow(OPERATION, move |conn| Plan::make(conn, &id, &spec, &pool)).await?;
    let backup = plan.place.id();
    let own = Arc::clone(inner);
    let task = inner.tasks.spawn_watched(OPERATION, Some(vm), |running| async move {
        let plan = Arc::new(plan);
        let restart = mode == BackupMode::Stop && shut_down(&own, &plan).await?;
        let outcome = carry_out(&own, &plan, &running).await;
        if restart {
            let vm = plan.place.vm();
            let start = own.call(OPERATION, move |conn| Ok(lookup::domain(conn, &vm)?.create()?)).await;
            if let Err(error) = start {
                running.warn(format!("the guest could not be started again: {error}"));
            }
        }
        outcome
    });
    Ok(Started::running(Some(backup), task))
}

/// What is to be done.
struct Plan {
    place: Place,
    manifest: Manifest,
    disks: Vec<Planned>,
    /// Slots of disks that are left out.
    others: Vec<String>,
    suspend: bool,
}

/// A disk to be backed up.
struct Planned {
    saved: SavedDisk,
    since: Option<String>,
    backing: Option<String>,
}

/// What was begun, and has to be ended.
#[derive(Debug, Clone, Default)]
struct Begun {
    /// QEMU was brought up for it.
    halted: bool,
    suspended: bool,
    checkpoint: bool,
    /// There is a job to wait for.
    job: bool,
    /// How large the disks are, as far as it is known.
    capacities: Vec<u64>,
}

impl Plan {
    fn make(conn: &Connect, vm: &VmId, spec: &BackupSpec, default_pool: &str) -> Outcome<Self> {
        let domain = lookup::domain(conn, vm)?;
        let state = lookup::state(&domain)?;
        if !matches!(state, VmState::Running | VmState::Paused | VmState::Stopped | VmState::Crashed) {
            let why = format!("it is {state}, but must be running, paused or stopped");
            return Err(Error::invalid_state(why).with_target(VmId::NOUN, vm).into());
        }
        let pool = match &spec.pool {
            Some(pool) => pool.to_string(),
            None => usual_pool(conn, &domain, default_pool)?,
        };
        let pool = pool.as_str();
        if usable_pool(conn, pool)?.1.is_none() {
            let why = format!("pool `{pool}` holds devices, but backups are files");
            return Err(Error::invalid("pool", why).with_target(PoolId::NOUN, pool).into());
        }
        let uuid = Uuid::parse_str(&domain.get_uuid_string()?).map_err(|_| vm.not_found())?;
        let place = Place::new(pool, uuid);
        let parent = spec.since.as_ref().map(|since| parent(conn, &domain, since, uuid)).transpose()?;
        let definition = lookup::whole_definition(&domain)?;
        let mut manifest = Manifest::new(domain.get_name()?, definition.to_string());
        manifest.protected = spec.protected;
        manifest.description = spec.description.clone().filter(|text| !text.is_empty());
        manifest.parent.clone_from(&spec.since);
        let mut shown = if state.is_active() { lookup::live(&domain)? } else { definition };
        let persistent = domain.is_persistent()?;
        resolve(conn, &mut shown)?;
        refuse_unread(&shown, vm)?;
        let (mut disks, mut others) = (Vec::new(), Vec::new());
        for disk in shown.all("devices/disk") {
            let Some(slot) = disk.attr_at("target", "dev") else { continue };
            if !is_own(disk) {
                others.push(slot.to_owned());
                continue;
            }
            disks.push(planned(conn, &domain, disk, slot, &place, parent.as_ref(), persistent)?);
        }
        if disks.iter().any(|disk| disk.saved.tracked) {
            manifest.checkpoint = Some(place.checkpoint());
        }
        manifest.disks = disks.iter().map(|disk| disk.saved.clone()).collect();
        let suspend = spec.mode == BackupMode::Suspend && state == VmState::Running;
        Ok(Self { place, manifest, disks, others, suspend })
    }

    /// Makes the files and lets QEMU begin. What fails leaves nothing behind.
    fn begin(&self, conn: &Connect) -> Outcome<Begun> {
        let mut begun = Begun::default();
        if self.disks.is_empty() {
            return Ok(begun);
        }
        let domain = lookup::domain(conn, &self.place.vm())?;
        let pool = find_pool(conn, &self.place.pool.as_str().into())?;
        let mut made = Made::default();
        let outcome = self.start(conn, &domain, &pool, &mut made, &mut begun);
        match outcome {
            Ok(()) => Ok(begun),
            Err(fail) => Err(calm(&domain, &begun, made.undo(fail))),
        }
    }

    fn start(
        &self,
        conn: &Connect,
        domain: &Domain,
        pool: &StoragePool,
        made: &mut Made,
        begun: &mut Begun,
    ) -> Outcome<()> {
        let active = lookup::is_active(domain)?;
        // Of a disk that is no file of the host, only QEMU knows how large it is.
        if !active && self.disks.iter().any(|disk| disk.saved.capacity == 0) {
            halted::bring_up(domain)?;
            begun.halted = true;
        }
        let mut targets = Vec::new();
        for disk in &self.disks {
            let capacity = match disk.saved.capacity {
                0 => domain.get_block_info(&disk.saved.slot, 0)?.capacity,
                known => known,
            };
            begun.capacities.push(capacity);
            let capacity = ByteSize::bytes(capacity);
            let spec = VolumeSpec::new(self.place.pool.as_str(), &disk.saved.file, capacity);
            let backing = disk.backing.clone().map(|path| Backing { path, format: VolumeFormat::Qcow2 });
            let volume = make_volume(pool, &spec, Some(&VolumeFormat::Qcow2), backing.as_ref(), None)?;
            let path = volume.get_path();
            made.push(volume_id(&self.place.pool, &disk.saved.file), volume);
            targets.push(DiskTarget {
                slot: disk.saved.slot.clone(),
                path: path?,
                since: disk.since.clone(),
            });
        }
        if !active && !begun.halted {
            halted::bring_up(domain)?;
            begun.halted = true;
        } else if active && self.suspend {
            domain.suspend()?;
            begun.suspended = true;
        }
        sweep(conn, domain, self.place.vm)?;
        let backup = backup(&targets, &self.others).to_string();
        let checkpoint = self.manifest.checkpoint.as_ref().map(|name| self.checkpoint(name).to_string());
        let mut outcome = ffi::backup_begin(domain, &backup, checkpoint.as_deref());
        begun.checkpoint = checkpoint.is_some();
        if let Err(error) = &outcome
            && checkpoint.is_some()
            && self.manifest.parent.is_none()
            && error.message.contains("bitmap")
        {
            // A file of the older layout that no pool told of: everything can be backed up, but nothing followed.
            tracing::debug!(%error, "the backup is made without a checkpoint");
            outcome = ffi::backup_begin(domain, &backup, None);
            begun.checkpoint = false;
        }
        outcome.map_err(|error| {
            let error = Error::from(Fail::from(error));
            let lost = error.message().contains("bitmap") || error.message().contains("heckpoint");
            let hint = "Nothing follows what changes of its disks any more: make a full backup";
            let error = if lost && self.manifest.parent.is_some() {
                Error::invalid_state(error.message().to_owned()).with_hint(hint)
            } else {
                error
            };
            Fail::Ours(error.with_target(VmId::NOUN, self.place.vm()))
        })?;
        begun.job = true;
        Ok(())
    }

    /// The manifest of what was begun.
    fn told(&self, begun: &Begun) -> Manifest {
        let mut manifest = self.manifest.clone();
        for (disk, capacity) in manifest.disks.iter_mut().zip(&begun.capacities) {
            disk.capacity = *capacity;
        }
        if !begun.checkpoint {
            manifest.checkpoint = None;
            manifest.disks.iter_mut().for_each(|disk| disk.tracked = false);
        }
        manifest
    }

    fn checkpoint(&self, name: &str) -> Element {
        let slots = |tracked: bool| {
            let wanted = self.disks.iter().filter(move |disk| disk.saved.tracked == tracked);
            wanted.map(|disk| disk.saved.slot.clone()).collect::<Vec<_>>()
        };
        let others: Vec<_> = slots(false).into_iter().chain(self.others.iter().cloned()).collect();
        checkpoint(name, &slots(true), &others)
    }

    /// Ends what was begun: with a manifest if all went well, else without a trace.
    fn finish(&self, conn: &Connect, begun: &Begun, outcome: Outcome<()>) -> Outcome<()> {
        let domain = lookup::domain(conn, &self.place.vm());
        let fail = match outcome.and_then(|()| self.told(begun).write(conn, &self.place)) {
            Ok(()) => None,
            Err(fail) => {
                if let (Some(name), Ok(domain)) = (&self.manifest.checkpoint, &domain)
                    && begun.checkpoint
                {
                    let active = domain.is_active().unwrap_or_default();
                    if let Err(error) = ffi::delete_checkpoint(domain, name, !active) {
                        tracing::warn!(checkpoint = %name, %error, "the checkpoint of a failed backup stays");
                    }
                }
                let mut made = Made::default();
                let pool = find_pool(conn, &self.place.pool.as_str().into())?;
                for disk in &self.disks {
                    if let Ok(volume) = virt::storage_vol::StorageVol::lookup_by_name(&pool, &disk.saved.file)
                    {
                        made.push(volume_id(&self.place.pool, &disk.saved.file), volume);
                    }
                }
                Some(made.undo(fail))
            }
        };
        let calmed = domain.and_then(|domain| settle(&domain, begun));
        match (fail, calmed) {
            (Some(fail), _) => Err(fail),
            // The guest is gone or has powered off by itself; the backup is whole.
            (None, Err(fail)) if matches!(fail.kind(), ErrorKind::NotFound | ErrorKind::InvalidState) => {
                Ok(())
            }
            (None, calmed) => calmed,
        }
    }
}

/// Refuses a guest with a disk that a backup would have to leave out.
fn refuse_unread(definition: &Element, vm: &VmId) -> Outcome<()> {
    let memory = || definition.all("devices/memory").into_iter().find_map(lasting);
    match definition.all("devices/disk").into_iter().find_map(unread).or_else(memory) {
        Some(why) => Err(Error::invalid_state(why).with_target(VmId::NOUN, vm).into()),
        None => Ok(()),
    }
}

/// The pool of backups whose spec names none: the configured one, and where there is none of that name, the one that
/// the guest's first disk lies in.
fn usual_pool(conn: &Connect, domain: &Domain, configured: &str) -> Outcome<String> {
    match find_pool(conn, &configured.into()) {
        Err(fail) if fail.kind() == ErrorKind::NotFound => {}
        other => return other.map(|_| configured.to_owned()),
    }
    let mut definition = lookup::whole_definition(domain)?;
    resolve(conn, &mut definition)?;
    for disk in definition.all("devices/disk") {
        let path = source_path(disk).filter(|_| is_copied(disk));
        if let Some(volume) = path.map(|path| handle_at_path(conn, &path)).transpose()?.flatten() {
            return Ok(StoragePool::lookup_by_volume(&volume)?.get_name()?);
        }
    }
    Ok(configured.to_owned())
}

/// The backup that only the changes since are wanted of.
fn parent(conn: &Connect, domain: &Domain, since: &BackupId, vm: Uuid) -> Outcome<Found> {
    let found = Found::by_id(conn, since)?;
    if found.place.vm != vm {
        return Err(Error::invalid("since", format!("backup `{since}` is of another guest")).into());
    }
    let known = ffi::checkpoints(domain)?;
    if found.manifest.checkpoint.as_ref().is_none_or(|name| !known.contains(name)) {
        let why = format!("nothing follows what has changed of its disks since backup `{since}`");
        let error = Error::invalid_state(why).with_target(VmId::NOUN, domain.get_uuid_string()?);
        let hint = "Make a full backup. Changes are followed in disks of format qcow2 (version 3), and until the guest \
                    is reverted, restored, or takes a snapshot while it is off";
        return Err(error.with_hint(hint).into());
    }
    Ok(found)
}

fn planned(
    conn: &Connect,
    domain: &Domain,
    disk: &Element,
    slot: &str,
    place: &Place,
    parent: Option<&Found>,
    persistent: bool,
) -> Outcome<Planned> {
    let format = disk.attr_at("driver", "type").unwrap_or("raw").to_owned();
    let path = source_path(disk);
    let volume = path.as_deref().map(|path| handle_at_path(conn, path)).transpose()?.flatten();
    let capacity = match capacity(domain, slot, volume.as_ref()) {
        // libvirt itself looks at files only; QEMU knows, once it is up.
        Err(fail) if path.is_none() && !fail.is_disconnect() => 0,
        other => other?,
    };
    // A file that no pool knows was made by libvirt itself, on top of another; QEMU makes those in the newer layout.
    let old = match &volume {
        Some(volume) => Element::parse(&volume.get_xml_desc(0)?)?
            .text_at("target/compat")
            .is_none_or(|text| text == "0.10"),
        None => false,
    };
    let pool = volume.map(|volume| StoragePool::lookup_by_volume(&volume)?.get_name()).transpose()?;
    let tracked = persistent && format == "qcow2" && !old;
    let mut planned = Planned {
        saved: SavedDisk { slot: slot.to_owned(), file: place.disk(slot), capacity, format, pool, tracked },
        since: None,
        backing: None,
    };
    let before = parent.and_then(|parent| {
        let disk = parent.manifest.disks.iter().find(|disk| disk.slot == slot && disk.tracked)?;
        Some((parent, disk, parent.manifest.checkpoint.clone()?))
    });
    if let Some((parent, before, checkpoint)) = before.filter(|_| tracked) {
        planned.backing = Some(parent.whole(before)?.get_path()?);
        planned.since = Some(checkpoint);
    }
    Ok(planned)
}

/// Removes the checkpoints of backups that were deleted while the guest was off, when libvirt could not.
fn sweep(conn: &Connect, domain: &Domain, vm: Uuid) -> Outcome<()> {
    let stale: Vec<_> = ffi::checkpoints(domain)?.into_iter().filter(|name| super::is_ours(name)).collect();
    if stale.is_empty() {
        return Ok(());
    }
    // A backup in a pool that is down is not seen, and is not gone.
    if !conn.list_all_storage_pools(sys::VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE)?.is_empty() {
        return Ok(());
    }
    let needed = manifest::all(conn, None, Some(vm))?;
    let needed: Vec<_> = needed.into_iter().filter_map(|found| found.manifest.checkpoint).collect();
    for name in stale.iter().filter(|name| !needed.contains(name)) {
        if let Err(error) = ffi::delete_checkpoint(domain, name, false) {
            tracing::debug!(checkpoint = %name, %error, "the checkpoint of a deleted backup stays");
        }
    }
    Ok(())
}

/// Takes back what was done to the guest itself.
fn settle(domain: &Domain, begun: &Begun) -> Outcome<()> {
    if begun.halted {
        halted::take_down(domain)?;
    }
    if begun.suspended && lookup::state(domain)? == VmState::Paused {
        domain.resume()?;
    }
    Ok(())
}

/// The same on the way out of a failure, which is returned.
fn calm(domain: &Domain, begun: &Begun, fail: Fail) -> Fail {
    match settle(domain, begun) {
        Ok(()) => fail,
        Err(left) => {
            let hint = format!("The guest could not be brought back to the state that it was in: {left}");
            Fail::Ours(Error::from(fail).with_effect(Effect::Partial).with_hint(hint))
        }
    }
}

/// Asks a running guest to power off, and says whether it had to.
async fn shut_down(inner: &Arc<Inner>, plan: &Plan) -> Result<bool> {
    let deadline = tokio::time::Instant::now() + inner.config.slow_timeout;
    let vm = plan.place.vm();
    let asked = {
        let vm = vm.clone();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            let active = lookup::is_active(&domain)?;
            if active {
                domain.shutdown().map_err(|error| lookup::named(&vm)(error.into()))?;
            }
            Ok(active)
        };
        inner.call_slow(OPERATION, work).await?
    };
    if !asked {
        return Ok(false);
    }
    loop {
        let id = vm.clone();
        if !inner.call(OPERATION, move |conn| lookup::is_active(&lookup::domain(conn, &id)?)).await? {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= deadline {
            let why = format!("the guest did not power off within {:?}", inner.config.slow_timeout);
            return Err(named(OPERATION)(Error::new(ErrorKind::Timeout, why).with_target(VmId::NOUN, &vm)));
        }
        tokio::time::sleep(LAST_LOOK).await;
    }
}

async fn carry_out(inner: &Arc<Inner>, plan: &Arc<Plan>, running: &Running) -> Result<()> {
    running.stage("begins");
    let own = Arc::clone(plan);
    let begun = inner.call_slow(OPERATION, move |conn| own.begin(conn)).await?;
    let outcome = if begun.job { follow(inner, &plan.place.vm(), running).await } else { Ok(()) };
    running.stage("ends");
    let own = Arc::clone(plan);
    let finish = move |conn: &Connect| own.finish(conn, &begun, outcome.map_err(Fail::from));
    inner.call_slow(OPERATION, finish).await
}

/// How a backup is doing.
enum Look {
    Busy { done: u64, total: u64 },
    Ended(ffi::JobEnd),
}

fn look(conn: &Connect, vm: &VmId) -> Outcome<Look> {
    let domain = lookup::domain(conn, vm)?;
    let job = ffi::job_info(&domain)?;
    if job.active {
        return Ok(Look::Busy { done: job.processed, total: job.total });
    }
    Ok(Look::Ended(ffi::job_end(&domain)?))
}

/// Waits for QEMU to end, and ends it when that is wanted. A look that fails is not a failed backup.
async fn follow(inner: &Arc<Inner>, vm: &VmId, running: &Running) -> Result<()> {
    let mut pause = FIRST_LOOK;
    let mut failed = 0_usize;
    let mut asked = false;
    running.stage("copies disks");
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = running.cancelled(), if !asked => {
                let id = vm.clone();
                let abort = move |conn: &Connect| Ok(ffi::abort_job(&lookup::domain(conn, &id)?)?);
                if let Err(error) = inner.call_slow(OPERATION, abort).await {
                    running.say(format!("it could not be ended: {error}"));
                }
                asked = true;
                pause = FIRST_LOOK;
            }
        }
        pause = (pause * 2).min(LAST_LOOK);
        let id = vm.clone();
        let look = inner.call(OPERATION, move |conn| look(conn, &id)).await;
        let ended = match look {
            Ok(Look::Busy { done, total }) => {
                failed = 0;
                running.bytes(done, total);
                continue;
            }
            Ok(Look::Ended(ended)) => ended,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidState) => {
                let why = format!("the guest powered off during its backup: {}", error.message());
                return Err(Error::new(ErrorKind::TaskFailed, why).with_target(VmId::NOUN, vm));
            }
            Err(error) => {
                failed = failed.saturating_add(1);
                if failed >= FAILED_LOOKS {
                    return Err(error);
                }
                continue;
            }
        };
        return match ended.kind {
            sys::VIR_DOMAIN_JOB_COMPLETED => Ok(()),
            sys::VIR_DOMAIN_JOB_CANCELLED if asked => Err(cancelled()),
            sys::VIR_DOMAIN_JOB_CANCELLED => {
                Err(Error::new(ErrorKind::Cancelled, "somebody else has ended it"))
            }
            _ => {
                let why = ended.error.unwrap_or_else(|| "libvirt does not say how the backup ended".into());
                Err(Error::new(ErrorKind::TaskFailed, why).with_target(VmId::NOUN, vm))
            }
        };
    }
}
