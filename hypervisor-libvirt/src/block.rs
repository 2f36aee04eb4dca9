//! Block jobs: a running guest's disk is copied elsewhere, or its chain of files is made shorter.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{ByteSize, DiskId, PoolId, Started, VmId, VolumeFormat, VolumeId, VolumeSpec};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result, Retry};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt_sys as sys;

use crate::backend::{Inner, Libvirt};
use crate::compute::lookup;
use crate::compute::volumes::{Made, delete_all, handle_at_path};
use crate::error::{Fail, Outcome, named};
use crate::ffi::{self, BlockJobInfo};
use crate::storage;
use crate::tasks::{Running, cancelled};
use crate::xml::Element;
use crate::xml::device::{is_disk, source_path};
use crate::xml::storage::volume_id;

/// How long between two looks at a job.
const LOOK: Duration = Duration::from_millis(250);
/// How many looks may fail in a row: a failed look is no failed job.
const BLIND: u32 = 8;

/// How a disk is copied while its guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCopy {
    /// The pool that the copy is made in.
    pub pool: PoolId,
    /// The copy's name there; without it, one made of the guest's and the disk's.
    pub name: Option<String>,
    /// The copy's format; the disk's own without it.
    pub format: Option<VolumeFormat>,
    /// Whether the guest goes on with the copy. Without it the copy is what the disk was at the end, and nobody's.
    pub pivot: bool,
    /// At most so many bytes a second.
    pub bandwidth: Option<ByteSize>,
}

impl BlockCopy {
    /// Into this pool; the guest then goes on with the copy.
    pub fn to(pool: impl Into<PoolId>) -> Self {
        Self { pool: pool.into(), name: None, format: None, pivot: true, bandwidth: None }
    }

    /// Sets `name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets `format`.
    #[must_use]
    pub fn format(mut self, format: VolumeFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets `pivot`.
    #[must_use]
    pub fn pivot(mut self, pivot: bool) -> Self {
        self.pivot = pivot;
        self
    }

    /// Sets `bandwidth`.
    #[must_use]
    pub fn bandwidth(mut self, bandwidth: ByteSize) -> Self {
        self.bandwidth = Some(bandwidth);
        self
    }
}

/// How upper files of a disk's chain are merged into a lower one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCommit {
    /// The path of the file that the others are merged into; the lowest of the chain without it.
    pub base: Option<String>,
    /// The path of the uppermost file that is merged; the one that the guest writes to without it.
    pub top: Option<String>,
    /// Delete the merged files, where a pool knows them.
    pub delete: bool,
    /// At most so many bytes a second.
    pub bandwidth: Option<ByteSize>,
}

impl BlockCommit {
    /// The whole chain into its lowest file.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Sets `base`.
    #[must_use]
    pub fn base(mut self, path: impl Into<String>) -> Self {
        self.base = Some(path.into());
        self
    }

    /// Sets `top`.
    #[must_use]
    pub fn top(mut self, path: impl Into<String>) -> Self {
        self.top = Some(path.into());
        self
    }

    /// Sets `delete`.
    #[must_use]
    pub fn delete(mut self, delete: bool) -> Self {
        self.delete = delete;
        self
    }

    /// Sets `bandwidth`.
    #[must_use]
    pub fn bandwidth(mut self, bandwidth: ByteSize) -> Self {
        self.bandwidth = Some(bandwidth);
        self
    }
}

/// How a disk's uppermost file is filled with what it lacks, so that it needs the lower ones no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockPull {
    /// The path of the lower file that it goes on to need; none without it.
    pub base: Option<String>,
    /// At most so many bytes a second.
    pub bandwidth: Option<ByteSize>,
}

impl BlockPull {
    /// From all lower files.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Sets `base`.
    #[must_use]
    pub fn base(mut self, path: impl Into<String>) -> Self {
        self.base = Some(path.into());
        self
    }

    /// Sets `bandwidth`.
    #[must_use]
    pub fn bandwidth(mut self, bandwidth: ByteSize) -> Self {
        self.bandwidth = Some(bandwidth);
        self
    }
}

impl Libvirt {
    /// Copies a running guest's disk into another pool, as a task with progress that can be cancelled. By default the
    /// guest goes on with the copy; the original stays where it is.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `AlreadyExists` for a volume of that name.
    pub async fn block_copy(&self, vm: &VmId, disk: &DiskId, spec: &BlockCopy) -> Result<Started<VolumeId>> {
        let (inner, vm, disk, spec) = (Arc::clone(&self.inner), vm.clone(), disk.clone(), spec.clone());
        let operation = Operation::UpdateVm;
        inner.look(operation, &vm, &disk).await?;
        let (id, target) = inner.make_copy(operation, &vm, &disk, &spec).await?;
        let subject = vm.clone();
        let task = self.inner.tasks.spawn_watched(operation, Some(&subject), |running| async move {
            inner.carry_out_copy(operation, &running, &vm, &disk, &spec, target).await
        });
        Ok(Started::running(id, task))
    }

    /// Merges upper files of a running guest's disk into a lower one, as a task with progress that can be cancelled.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `InvalidInput` for a file that is not in the chain.
    pub async fn block_commit(&self, vm: &VmId, disk: &DiskId, spec: &BlockCommit) -> Result<Started<()>> {
        let (inner, vm, disk, spec) = (Arc::clone(&self.inner), vm.clone(), disk.clone(), spec.clone());
        let operation = Operation::UpdateVm;
        merged(&inner.look(operation, &vm, &disk).await?.chain, &spec).map_err(named(operation))?;
        let subject = vm.clone();
        let task = self.inner.tasks.spawn_watched(operation, Some(&subject), |running| async move {
            commit(&inner, operation, &running, &vm, &disk, &spec).await
        });
        Ok(Started::running((), task))
    }

    /// Fills the uppermost file of a running guest's disk, so that it needs the lower ones no more, as a task with
    /// progress that can be cancelled.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `InvalidInput` for a file that is not in the chain.
    pub async fn block_pull(&self, vm: &VmId, disk: &DiskId, spec: &BlockPull) -> Result<Started<()>> {
        let (inner, vm, disk, spec) = (Arc::clone(&self.inner), vm.clone(), disk.clone(), spec.clone());
        let operation = Operation::UpdateVm;
        pulled(&inner.look(operation, &vm, &disk).await?.chain, &spec).map_err(named(operation))?;
        let subject = vm.clone();
        let task = self.inner.tasks.spawn_watched(operation, Some(&subject), |running| async move {
            pull(&inner, operation, &running, &vm, &disk, &spec).await
        });
        Ok(Started::running((), task))
    }

    /// The files of a running guest's disk, from the one that it writes to down to the lowest.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` for a guest that does not run.
    pub async fn disk_chain(&self, vm: &VmId, disk: &DiskId) -> Result<Vec<String>> {
        self.inner.look(Operation::GetVmConfig, vm, disk).await.map(|look| look.chain)
    }
}

/// Merges upper files of a running guest's disk into a lower one.
pub(crate) async fn commit(
    inner: &Arc<Inner>,
    operation: Operation,
    running: &Running,
    vm: &VmId,
    disk: &DiskId,
    spec: &BlockCommit,
) -> Result<()> {
    let before = inner.look(operation, vm, disk).await?;
    let gone = merged(&before.chain, spec)?;
    let active = gone.first() == before.chain.first();
    // Without names libvirt takes the ends of the chain.
    let (base, top) = (spec.base.clone(), spec.top.clone().filter(|_| !active));
    let speed = spec.bandwidth.map_or(0, ByteSize::as_bytes);
    running.stage(format!("merges {} of {disk}", plural(gone.len())));
    let begin = move |domain: &Domain, slot: &str| {
        ffi::block_commit(domain, slot, base.as_deref(), top.as_deref(), active, speed)
    };
    let ending = if active { Ending::Pivot } else { Ending::Itself };
    let without = gone.clone();
    inner
        .block_job(operation, running, vm, disk, begin, ending, move |chain| {
            !without.iter().any(|path| chain.contains(path))
        })
        .await?;
    if spec.delete {
        let work = move |conn: &Connect| {
            refresh_around(conn, &gone)?;
            delete_all(conn, &gone)
        };
        inner.call_slow(operation, work).await?;
    }
    Ok(())
}

/// Fills the uppermost file of a running guest's disk.
pub(crate) async fn pull(
    inner: &Arc<Inner>,
    operation: Operation,
    running: &Running,
    vm: &VmId,
    disk: &DiskId,
    spec: &BlockPull,
) -> Result<()> {
    let before = inner.look(operation, vm, disk).await?;
    let gone = pulled(&before.chain, spec)?;
    running.stage(format!("takes {} of {disk} into the uppermost", plural(gone.len())));
    let (base, speed) = (spec.base.clone(), spec.bandwidth.map_or(0, ByteSize::as_bytes));
    let begin = move |domain: &Domain, slot: &str| ffi::block_pull(domain, slot, base.as_deref(), speed);
    inner
        .block_job(operation, running, vm, disk, begin, Ending::Itself, move |chain| {
            !gone.iter().any(|path| chain.contains(path))
        })
        .await
}

/// Lets pools look again whose folders hold files that they do not know: QEMU made them, not the pool.
fn refresh_around(conn: &Connect, paths: &[String]) -> Outcome<()> {
    for path in paths {
        if handle_at_path(conn, path)?.is_some() {
            continue;
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match StoragePool::lookup_by_target_path(conn, folder) {
            Ok(pool) => drop(pool.refresh(0)?),
            Err(error) => match Fail::from(error) {
                fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_POOL) => {}
                fail => return Err(fail),
            },
        }
    }
    Ok(())
}

fn plural(count: usize) -> String {
    if count == 1 { "one file".to_owned() } else { format!("{count} files") }
}

/// The files that a commit does away with.
fn merged(chain: &[String], spec: &BlockCommit) -> Result<Vec<String>> {
    let top = place(chain, "top", spec.top.as_deref())?.unwrap_or(0);
    let base = place(chain, "base", spec.base.as_deref())?.unwrap_or(chain.len().saturating_sub(1));
    match chain.get(top..base) {
        Some(gone) if !gone.is_empty() => Ok(gone.to_vec()),
        _ if chain.len() < 2 => {
            Err(Error::invalid_state("the disk has one file only: there is nothing to merge"))
        }
        _ => Err(Error::invalid("base", "must lie below `top`")),
    }
}

/// The files that a disk needs no more after a pull.
fn pulled(chain: &[String], spec: &BlockPull) -> Result<Vec<String>> {
    let base = place(chain, "base", spec.base.as_deref())?.unwrap_or(chain.len());
    match chain.get(1..base) {
        Some(gone) if !gone.is_empty() => Ok(gone.to_vec()),
        _ if chain.len() < 2 => {
            Err(Error::invalid_state("the disk has one file only: there is nothing to take in"))
        }
        _ => Err(Error::invalid("base", "must not be one of the two uppermost files")),
    }
}

fn place(chain: &[String], field: &str, path: Option<&str>) -> Result<Option<usize>> {
    let Some(path) = path else { return Ok(None) };
    let found = chain.iter().position(|file| file == path);
    found.map(Some).ok_or_else(|| Error::invalid(field, format!("`{path}` is no file of the disk")))
}

/// How a job ends that has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By itself.
    Itself,
    /// It mirrors until it is told that the guest goes on with the other side.
    Pivot,
    /// It mirrors until it is told to leave the other side alone.
    Leave,
}

/// A disk of a running guest, and what is being done with it.
#[derive(Debug, Clone)]
struct Look {
    job: Option<BlockJobInfo>,
    /// Both sides of a mirror are the same.
    ready: bool,
    chain: Vec<String>,
    format: Option<VolumeFormat>,
    capacity: u64,
    guest: String,
}

fn look(domain: &Domain, disk: &DiskId) -> Outcome<Look> {
    if !lookup::is_active(domain)? {
        return Err(
            Error::invalid_state("it does not run: QEMU works on the disks of running guests only").into()
        );
    }
    let job = ffi::block_job(domain, disk.as_str());
    let live = lookup::live(domain)?;
    let devices = live.child("devices");
    let element = devices.and_then(|all| all.elements().find(|item| is_disk(item, disk.as_str())));
    let element = element.ok_or_else(|| disk.not_found())?;
    let path =
        source_path(element).ok_or_else(|| Error::invalid_state(format!("the drive {disk} is empty")))?;
    Ok(Look {
        job: job?,
        ready: element.attr_at("mirror", "ready") == Some("yes"),
        format: element.attr_at("driver", "type").map(VolumeFormat::parse),
        capacity: domain.get_block_info(&path, 0).map_or(0, |info| info.capacity),
        chain: chain(element),
        guest: domain.get_name()?,
    })
}

/// The files of a disk from the uppermost down.
fn chain(disk: &Element) -> Vec<String> {
    let mut files = Vec::new();
    let mut level = Some(disk);
    while let Some(element) = level {
        files.extend(source_path(element));
        level = element.child("backingStore");
    }
    files
}

impl Inner {
    async fn look(&self, operation: Operation, vm: &VmId, disk: &DiskId) -> Result<Look> {
        let (vm, disk) = (vm.clone(), disk.clone());
        let work = move |conn: &Connect| look(&lookup::domain(conn, &vm)?, &disk).map_err(lookup::named(&vm));
        self.call(operation, work).await
    }

    /// Runs a block job to its end. `reached` looks at the chain and says whether the job did what it was to do.
    #[allow(clippy::too_many_arguments, reason = "each says another thing about the one job")]
    async fn block_job(
        &self,
        operation: Operation,
        running: &Running,
        vm: &VmId,
        disk: &DiskId,
        begin: impl FnOnce(&Domain, &str) -> std::result::Result<(), ffi::LibvirtError> + Send + 'static,
        ending: Ending,
        reached: impl Fn(&[String]) -> bool + Send,
    ) -> Result<()> {
        let (id, slot) = (vm.clone(), disk.clone());
        let start = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            begin(&domain, slot.as_str()).map_err(|error| lookup::named(&id)(error.into()))
        };
        running.progress(0.0);
        // Opening long chains takes QEMU a while.
        self.call_slow(operation, start).await?;
        let mut blind = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = running.cancelled() => {
                    self.end_block_job(operation, vm, disk, false).await?;
                    return Err(cancelled());
                }
            }
            let look = match self.look(operation, vm, disk).await {
                Err(error) if error.retry() != Retry::Never && blind < BLIND => {
                    blind += 1;
                    continue;
                }
                other => other?,
            };
            blind = 0;
            let Some(job) = look.job else {
                let done = ending == Ending::Itself && reached(&look.chain);
                return if done { Ok(()) } else { Err(broken(vm)) };
            };
            running.bytes(job.done, job.total);
            if !look.ready || ending == Ending::Itself {
                continue;
            }
            match self.end_block_job(operation, vm, disk, ending == Ending::Pivot).await {
                // What the guest has just written is not over there yet.
                Err(error) if error.kind() == ErrorKind::Locked => continue,
                other => other?,
            }
            let after = self.look(operation, vm, disk).await?;
            return if reached(&after.chain) { Ok(()) } else { Err(broken(vm)) };
        }
    }

    async fn end_block_job(&self, operation: Operation, vm: &VmId, disk: &DiskId, pivot: bool) -> Result<()> {
        let (vm, disk) = (vm.clone(), disk.clone());
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            match ffi::end_block_job(&domain, disk.as_str(), pivot) {
                // It has ended meanwhile.
                Err(error) if !pivot && error.code == sys::VIR_ERR_INVALID_ARG => Ok(()),
                other => other.map_err(|error| lookup::named(&vm)(error.into())),
            }
        };
        self.call_slow(operation, work).await
    }

    /// Makes the volume that a copy goes into.
    async fn make_copy(
        &self,
        operation: Operation,
        vm: &VmId,
        disk: &DiskId,
        spec: &BlockCopy,
    ) -> Result<(VolumeId, Target)> {
        let (vm, disk, spec) = (vm.clone(), disk.clone(), spec.clone());
        let work = move |conn: &Connect| -> Outcome<(VolumeId, Target)> {
            let found = look(&lookup::domain(conn, &vm)?, &disk)?;
            let (pool, usual) = storage::usable_pool(conn, spec.pool.as_str())?;
            let format = spec.format.clone().or(found.format.filter(|_| usual.is_some())).or(usual);
            let ending = if format == Some(VolumeFormat::Qcow2) { "qcow2" } else { "img" };
            let name = spec.name.clone().unwrap_or_else(|| format!("{}-{disk}-copy.{ending}", found.guest));
            storage::refuse_taken_volume(&pool, spec.pool.as_str(), &name)?;
            let capacity = ByteSize::bytes(found.capacity.max(1));
            let volume = VolumeSpec::new(spec.pool.clone(), &name, capacity);
            volume.validate()?;
            let made = storage::make_volume(&pool, &volume, format.as_ref(), None, None)?;
            let id = volume_id(spec.pool.as_str(), &name);
            let path = match made.get_path() {
                Ok(path) => path,
                Err(error) => {
                    let mut undo = Made::default();
                    undo.push(id, made);
                    return Err(undo.undo(error.into()));
                }
            };
            Ok((id.clone(), Target { id, path, format: format.unwrap_or(VolumeFormat::Raw) }))
        };
        self.call_slow(operation, work).await
    }

    async fn carry_out_copy(
        &self,
        operation: Operation,
        running: &Running,
        vm: &VmId,
        disk: &DiskId,
        spec: &BlockCopy,
        target: Target,
    ) -> Result<()> {
        running.stage(format!("copies {disk} to {}", target.id));
        let (xml, speed) = (target.element().to_string(), spec.bandwidth.map_or(0, ByteSize::as_bytes));
        let begin = move |domain: &Domain, slot: &str| ffi::block_copy(domain, slot, &xml, true, speed);
        let (pivot, path) = (spec.pivot, target.path.clone());
        let ending = if pivot { Ending::Pivot } else { Ending::Leave };
        let reached = move |chain: &[String]| !pivot || chain.first() == Some(&path);
        match self.block_job(operation, running, vm, disk, begin, ending, reached).await {
            Ok(()) if pivot => self.point_to(operation, vm, disk, &target).await,
            Ok(()) => Ok(()),
            Err(error) => Err(self.give_up_copy(operation, vm, disk, target, error).await),
        }
    }

    /// Deletes an unfinished copy, and returns the failure that led to this.
    async fn give_up_copy(
        &self,
        operation: Operation,
        vm: &VmId,
        disk: &DiskId,
        target: Target,
        error: Error,
    ) -> Error {
        let path = target.path.clone();
        // It may be what the guest now writes to: what cannot be told must not be deleted.
        let unused = self.look(operation, vm, disk).await;
        let unused = unused.is_ok_and(|look| look.job.is_none() && !look.chain.contains(&path));
        let doomed = target.id.clone();
        let undo = move |conn: &Connect| Ok(storage::find_volume(conn, &doomed)?.1.delete(0)?);
        let deleted = match unused {
            true => self.call(operation, undo).await,
            false => Err(Error::invalid_state("the guest may use it")),
        };
        match deleted {
            Ok(()) => error,
            Err(left) => {
                tracing::warn!(volume = %target.id, error = %left, "an unfinished copy was not deleted");
                let hint = format!("Unless the guest uses it, delete what was left behind: {}", target.id);
                error.with_effect(Effect::Partial).with_hint(hint)
            }
        }
    }

    /// Lets the definition say what the running guest now does.
    async fn point_to(&self, operation: Operation, vm: &VmId, disk: &DiskId, target: &Target) -> Result<()> {
        let (vm, disk, target) = (vm.clone(), disk.clone(), target.clone());
        let work = move |conn: &Connect| -> Outcome<()> {
            let domain = lookup::domain(conn, &vm)?;
            if !domain.is_persistent()? {
                return Ok(());
            }
            let mut definition = lookup::whole_definition(&domain)?;
            let mut devices = definition.ensure("devices").elements_mut();
            let Some(element) = devices.find(|item| is_disk(item, disk.as_str())) else { return Ok(()) };
            if source_path(element).as_deref() == Some(target.path.as_str()) {
                return Ok(());
            }
            let wanted = target.element();
            element.set_attr("type", wanted.attr("type").unwrap_or("file"));
            element.ensure("driver").set_attr("type", target.format.as_str());
            for name in ["source", "backingStore"] {
                element.remove(name);
            }
            element.push(wanted.child("source").cloned().unwrap_or_else(|| Element::new("source")));
            drop(devices);
            Domain::define_xml(conn, &definition.to_string()).map_err(Fail::from)?;
            Ok(())
        };
        self.call(operation, work).await
    }
}

/// Where a copy goes.
#[derive(Debug, Clone)]
struct Target {
    id: VolumeId,
    path: String,
    format: VolumeFormat,
}

impl Target {
    fn element(&self) -> Element {
        let block = self.path.starts_with("/dev/");
        let (kind, key) = if block { ("block", "dev") } else { ("file", "file") };
        Element::new("disk")
            .with_attr("type", kind)
            .with(Element::new("driver").with_attr("name", "qemu").with_attr("type", self.format.as_str()))
            .with(Element::new("source").with_attr(key, &self.path))
    }
}

/// The job is gone, but what it was to do is not done.
fn broken(vm: &VmId) -> Error {
    Error::new(ErrorKind::Backend, "QEMU ended the work on the disk before it was done")
        .with_target(VmId::NOUN, vm)
        .with_hint("QEMU's log on the host says why; somebody else may have ended it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_chain_is_read_from_the_top_down() {
        let disk = "<disk><source file='/c'/><backingStore type='file'><source file='/b'/><backingStore>\
                    <source file='/a'/><backingStore/></backingStore></backingStore></disk>";
        assert_eq!(chain(&Element::parse(disk).unwrap()), files(&["/c", "/b", "/a"]));
    }

    #[test]
    fn what_a_commit_does_away_with() {
        let chain = files(&["/c", "/b", "/a"]);
        assert_eq!(merged(&chain, &BlockCommit::all()).unwrap(), files(&["/c", "/b"]));
        assert_eq!(merged(&chain, &BlockCommit::all().base("/b")).unwrap(), files(&["/c"]));
        assert_eq!(merged(&chain, &BlockCommit::all().top("/b")).unwrap(), files(&["/b"]));
        for (spec, field) in [
            (BlockCommit::all().top("/a"), "base"),
            (BlockCommit::all().base("/z"), "base"),
            (BlockCommit::all().top("/z"), "top"),
        ] {
            assert!(merged(&chain, &spec).unwrap_err().fields().contains_key(field));
        }
        let alone = merged(&files(&["/a"]), &BlockCommit::all()).unwrap_err();
        assert_eq!(alone.kind(), ErrorKind::InvalidState);
    }

    #[test]
    fn what_a_pull_does_away_with() {
        let chain = files(&["/c", "/b", "/a"]);
        assert_eq!(pulled(&chain, &BlockPull::all()).unwrap(), files(&["/b", "/a"]));
        assert_eq!(pulled(&chain, &BlockPull::all().base("/a")).unwrap(), files(&["/b"]));
        assert!(pulled(&chain, &BlockPull::all().base("/b")).unwrap_err().fields().contains_key("base"));
        let alone = pulled(&files(&["/a"]), &BlockPull::all()).unwrap_err();
        assert_eq!(alone.kind(), ErrorKind::InvalidState);
    }
}
