//! Backups.

use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::model::{
    BackupId, BackupInfo, BackupQuery, BackupSpec, GuestKind, HostId, Page, PageRequest, PoolId,
    RestoreBackup, RestoreTo, Started, TaskId, Unreachable, VmId, VolumeId,
};
use hypervisor_core::traits::Backups;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use serde_json::Value;

use crate::api::Call;
use crate::backend::{Found, Inner, Proxmox};
use crate::compute::{create, list, start};
use crate::error::named;
use crate::locate::Place;
use crate::storage::{of_pool, parts, read, remove, roomiest};
use crate::tasks::begun;
use crate::wire::backup as wire;
use crate::wire::compute::kind_path;
use crate::wire::form::{Form, segment, vmid, volume_segment};

#[async_trait]
impl Backups for Proxmox {
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        list_backups(&self.inner, query, page).await.map_err(named(Operation::ListBackups))
    }

    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        spec.validate().map_err(named(Operation::CreateBackup))?;
        self.inner.require(Operation::CreateBackup, &spec.needs())?;
        create_backup(&self.inner, vm, spec).await.map_err(named(Operation::CreateBackup))
    }

    async fn restore_backup(&self, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
        options.validate().map_err(named(Operation::RestoreBackup))?;
        self.inner.require(Operation::RestoreBackup, &options.needs())?;
        restore(&self.inner, backup, options).await.map_err(named(Operation::RestoreBackup))
    }

    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        self.inner.require(Operation::DeleteBackup, &[])?;
        delete(&self.inner, backup).await.map_err(named(Operation::DeleteBackup))
    }
}

/// The backups on every storage that may hold some; of one guest the server itself filters.
async fn list_backups(inner: &Inner, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
    let operation = Operation::ListBackups;
    let view = inner.recent_view(operation).await?;
    let mut form = Form::new().text("content", "backup");
    if let Some(vm) = &query.vm {
        // Not a number, not a guest: nobody ever made a backup of it.
        let Ok(number) = vmid(vm) else { return Ok(Page::only(Vec::new())) };
        form = form.number("vmid", number.into());
    }
    let mut wanted: Vec<(HostId, PoolId)> = Vec::new();
    let pools: Vec<PoolId> = match &query.pool {
        Some(pool) => vec![pool.clone()],
        None => {
            let fitting = view.pools.iter().filter(|pool| pool.active && pool.content.contains("backup"));
            fitting.map(|pool| pool.id.clone()).collect()
        }
    };
    for pool in pools {
        let mut hosts = view.hosts_of(pool.as_str());
        if view.pool(pool.as_str()).is_some_and(|known| known.shared) {
            hosts.truncate(1);
        }
        wanted.extend(hosts.into_iter().map(|host| (host, pool.clone())));
    }
    let asked = wanted.iter().map(|(host, pool)| {
        let form = form.clone();
        async move {
            let path = content(host, pool, "")?;
            let call = Call::get(path).query(form).operation(operation);
            wire::backups(&inner.api.bytes(&call).await.map_err(of_pool(pool))?)
        }
    });
    let mut backups: Vec<BackupInfo> = Vec::new();
    let mut unreachable = view.unreachable.clone();
    let answers = futures::future::join_all(asked).await;
    for ((host, pool), answer) in wanted.iter().zip(answers) {
        match answer {
            Ok(found) => backups.extend(found),
            Err(error) if error.kind() == ErrorKind::HostUnreachable => {
                if !unreachable.iter().any(|known| known.host == *host) {
                    unreachable.push(Unreachable::new(host, error.message()));
                }
            }
            Err(error) if query.pool.is_none() && error.is_not_found() => {}
            // One share that is down must not hide what the other storages have.
            Err(error) if query.pool.is_none() && is_of_the_storage(&error) => {
                unreachable.push(Unreachable::new(host, format!("storage `{pool}`: {}", error.message())));
            }
            Err(error) => return Err(error),
        }
    }
    backups.retain(|backup| query.matches(backup));
    backups.sort_by(|a, b| a.id.cmp(&b.id));
    backups.dedup_by(|a, b| a.id == b.id);
    Ok(Page::cut(backups, page, |backup| backup.id.to_string()).with_unreachable(unreachable))
}

/// Whether a refusal says that a storage does not work, and not that the caller may not ask.
fn is_of_the_storage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Backend | ErrorKind::Timeout | ErrorKind::Unsupported | ErrorKind::InvalidState
    )
}

fn content(host: &HostId, pool: &PoolId, rest: &str) -> Result<String> {
    let (host, pool) = (segment("host", host.as_str())?, segment("pool", pool.as_str())?);
    Ok(format!("/nodes/{host}/storage/{pool}/content{rest}"))
}

async fn create_backup(inner: &Inner, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
    let operation = Operation::CreateBackup;
    let task = inner
        .on_guest(operation, vm, |found| async move {
            let mut spec = spec.clone();
            if spec.pool.is_none() {
                spec.pool = Some(pool_for(inner, &found.place.host).await?);
            }
            // The server takes any number, and lets the task fail.
            list::current(inner, operation, &found).await?;
            let path = format!("/nodes/{}/vzdump", segment("host", found.place.host.as_str())?);
            let call = Call::post(path, wire::create(vm, &spec)?).operation(operation);
            let task = inner.api.task_unless_idle(&call).await.map_err(|error| match &spec.pool {
                Some(pool) => of_pool(pool)(error),
                None => error,
            })?;
            // Without a word the server passes over a guest that has moved to another host meanwhile.
            task.ok_or_else(|| vm.not_found())
        })
        .await?;
    inner.locator.touch(vm);
    Ok(begun(None, task))
}

/// A storage for a backup where the caller names none.
async fn pool_for(inner: &Inner, host: &HostId) -> Result<PoolId> {
    let operation = Operation::CreateBackup;
    let view = inner.recent_view(operation).await?;
    let found = roomiest(inner, operation, &view, host, "backup").await;
    found
        .ok_or_else(|| Error::invalid("pool", format!("no storage of host `{host}` takes backups: name one")))
}

/// The storage for a container that is restored, where the caller names none: the one that its root had, if it is there. The server itself would
/// take `local`, which on most installations holds no containers.
async fn pool_of_container(inner: &Inner, backup: &BackupId, host: &HostId) -> Option<PoolId> {
    let operation = Operation::RestoreBackup;
    let view = inner.recent_view(operation).await.ok()?;
    let path = format!("/nodes/{}/vzdump/extractconfig", segment("host", host.as_str()).ok()?);
    let call = Call::get(path).query(Form::new().text("volume", backup.as_str())).operation(operation);
    // Who may not read what is in it still may restore it.
    let config = inner.api.value(&call).await.ok();
    let had = config.as_ref().and_then(Value::as_str).and_then(wire::root_storage);
    let is_there = |name: &&str| {
        view.pool(name).is_some_and(|pool| {
            pool.content.contains("rootdir") && (pool.hosts.is_empty() || pool.hosts.contains(host))
        })
    };
    match had.filter(is_there) {
        Some(name) => Some(name.into()),
        None => create::pool_for(inner, operation, &view, host, GuestKind::Container).await,
    }
}

/// A backup as a volume, and a host that has it.
async fn find(inner: &Inner, operation: Operation, backup: &BackupId) -> Result<(VolumeId, HostId)> {
    let volume = VolumeId::from(backup.as_str());
    let unknown = |error: Error| match error.kind() {
        ErrorKind::NotFound => crate::error::again(&error, backup.not_found()),
        _ => error,
    };
    let (_, host) = read(inner, operation, &volume, None).await.map_err(unknown)?;
    Ok((volume, host))
}

async fn restore(inner: &Arc<Inner>, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
    let operation = Operation::RestoreBackup;
    let (_, host) = find(inner, operation, backup).await?;
    let kind = wire::kind_of(backup).unwrap_or(GuestKind::Vm);
    match &options.to {
        RestoreTo::Original => {
            let vm = wire::guest_of(backup)
                .ok_or_else(|| Error::invalid("backup", "does not say which guest it is of"))?;
            let number = vmid(&vm)?;
            let place = match inner.find(operation, &vm).await {
                Ok(found) => {
                    let info = list::state(inner, operation, &vm).await?;
                    if info.state.is_active() {
                        let why = format!("the guest is {}; only a stopped one is overwritten", info.state);
                        return Err(Error::invalid_state(why).with_target(VmId::NOUN, &vm));
                    }
                    found.place
                }
                // A guest that is gone comes back.
                Err(error) if error.is_not_found() => Place::new(options.host.clone().unwrap_or(host), kind),
                Err(error) => return Err(error),
            };
            let task = send(inner, backup, &place, number, options).await?;
            inner.locator.learn(number, place.clone());
            Ok(started(inner, Found { number, place }, options, task))
        }
        _ => {
            let host = options.host.clone().unwrap_or(host);
            inner.check_host(operation, &host).await?;
            let place = Place::new(host, kind);
            let place = &place;
            let numbers = create::Numbers::new(inner, operation, options.id.as_ref(), None).await?;
            numbers
                .each(|number| async move {
                    let task = send(inner, backup, place, number, options).await?;
                    inner.locator.learn(number, place.clone());
                    Ok(started(inner, Found { number, place: place.clone() }, options, task))
                })
                .await
        }
    }
}

/// A restore, and the start that may follow on it.
fn started(inner: &Arc<Inner>, found: Found, options: &RestoreBackup, task: Option<TaskId>) -> Started<VmId> {
    let operation = Operation::RestoreBackup;
    let vm = VmId::from(found.number.to_string());
    if !options.start {
        return begun(vm, task);
    }
    let work = Arc::clone(inner);
    let chain = inner.chains.start(operation, &vm, move |link| async move {
        link.follow(&work, "restoring", task.clone()).await?;
        start::by_server(&work, &link, operation, &found, task.as_ref()).await
    });
    Started::running(vm, chain)
}

async fn send(
    inner: &Inner,
    backup: &BackupId,
    place: &Place,
    number: u32,
    options: &RestoreBackup,
) -> Result<Option<TaskId>> {
    let path = format!("/nodes/{}/{}", segment("host", place.host.as_str())?, kind_path(place.kind));
    let mut options = options.clone();
    if place.kind == GuestKind::Container && options.pool.is_none() {
        options.pool = pool_of_container(inner, backup, &place.host).await;
    }
    let form = wire::restore(backup, place.kind, number, &options)?;
    inner.api.task(&Call::post(path, form).operation(Operation::RestoreBackup)).await
}

async fn delete(inner: &Inner, backup: &BackupId) -> Result<Started<()>> {
    let operation = Operation::DeleteBackup;
    let (volume, host) = find(inner, operation, backup).await?;
    let (pool, _) = parts(&volume)?;
    let protected = async {
        let path = content(&host, &pool, &format!("/{}", volume_segment("backup", volume.as_str())?))?;
        let answer = inner.api.bytes(&Call::get(path).operation(operation)).await?;
        wire::backup(&answer, backup)
    };
    if protected.await?.is_some_and(|info| info.protected) {
        let error = Error::invalid_state("the backup is protected").with_target(BackupId::NOUN, backup);
        return Err(error.with_hint("remove the protection first (`protect_backup`)"));
    }
    let task = remove(inner, operation, &volume, &host).await?;
    Ok(begun((), task))
}

impl Proxmox {
    /// Protects a backup against deletion, or lets it go.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn protect_backup(&self, backup: &BackupId, protected: bool) -> Result<()> {
        let form = Form::new().flag("protected", protected);
        self.change_backup(backup, form).await
    }

    /// Changes what is written about a backup.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn describe_backup(&self, backup: &BackupId, notes: &str) -> Result<()> {
        self.change_backup(backup, Form::new().text("notes", notes)).await
    }

    async fn change_backup(&self, backup: &BackupId, form: Form) -> Result<()> {
        let operation = Operation::DeleteBackup;
        let (volume, host) = find(&self.inner, operation, backup).await?;
        let (pool, _) = parts(&volume)?;
        let path = content(&host, &pool, &format!("/{}", volume_segment("backup", volume.as_str())?))?;
        self.inner.api.bytes(&Call::put(path, form)).await.map(drop)
    }

    /// Which backups a pruning would remove, or, with `remove`, removes them. `keep` is in Proxmox's words (`keep-last=3,keep-weekly=2`);
    /// without it the storage's own rule.
    ///
    /// # Errors
    /// `InvalidInput` for a rule that is none, `NotFound` for the storage, `PermissionDenied`.
    pub async fn prune_backups(
        &self,
        pool: &PoolId,
        vm: Option<&VmId>,
        keep: Option<&str>,
        remove: bool,
    ) -> Result<Pruning> {
        let operation = Operation::DeleteBackup;
        let inner = &*self.inner;
        let work = async {
            let view = inner.recent_view(operation).await?;
            let hosts = view.hosts_of(pool.as_str());
            let host = hosts.first().ok_or_else(|| pool.not_found())?;
            let mut form = Form::new().maybe("prune-backups", keep);
            if let Some(vm) = vm {
                form = form.number("vmid", vmid(vm)?.into());
            }
            let (host, name) = (segment("host", host.as_str())?, segment("pool", pool.as_str())?);
            let path = format!("/nodes/{host}/storage/{name}/prunebackups");
            let call = Call::get(path.clone()).query(form.clone()).operation(operation);
            let marks = wire::marks(&inner.api.bytes(&call).await.map_err(of_pool(pool))?)?;
            let task = if remove {
                inner.api.task(&Call::delete(path, form).operation(operation)).await?
            } else {
                None
            };
            Ok(Pruning { marks, task })
        };
        work.await.map_err(named(operation))
    }
}

/// What a pruning does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruning {
    /// Each backup with what becomes of it: `keep`, `remove`, `protected`, or `renamed` for one that has no date in its name.
    pub marks: Vec<(BackupId, String)>,
    /// The task that removes them.
    pub task: Option<TaskId>,
}
