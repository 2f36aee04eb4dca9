//! Volumes.

use std::collections::BTreeSet;

use hypervisor_core::model::{
    HostId, Page, PageRequest, PoolId, PoolKind, Started, TaskId, VolumeFormat, VolumeId, VolumeInfo,
    VolumeSpec,
};
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use super::of_pool;
use crate::api::Call;
use crate::backend::Inner;
use crate::compute::devices;
use crate::tasks::begun;
use crate::wire::form::{Form, segment, volume_segment};
use crate::wire::storage as wire;

/// The storage in a volume's id, and the rest. What is no such id names nothing.
pub(crate) fn parts(volume: &VolumeId) -> Result<(PoolId, &str)> {
    let whole = volume.as_str().split_once(':').filter(|(pool, name)| !pool.is_empty() && !name.is_empty());
    let (pool, name) = whole.ok_or_else(|| {
        volume.not_found().with_hint("volumes are called `storage:name`").with_backend(crate::BACKEND)
    })?;
    Ok((pool.into(), name))
}

fn path(host: &HostId, pool: &PoolId, rest: &str) -> Result<String> {
    Ok(format!(
        "/nodes/{}/storage/{}{rest}",
        segment("host", host.as_str())?,
        segment("pool", pool.as_str())?
    ))
}

fn path_of(host: &HostId, volume: &VolumeId) -> Result<String> {
    let (pool, _) = parts(volume)?;
    // An id that cannot stand in a path is one that no volume has.
    let name = volume_segment("volume", volume.as_str()).map_err(|_| volume.not_found())?;
    path(host, &pool, &format!("/content/{name}"))
}

/// The hosts to ask about a storage: one for all where it is shared, else each that has it.
async fn hosts(inner: &Inner, operation: Operation, pool: &PoolId) -> Result<Vec<HostId>> {
    let view = inner.recent_view(operation).await?;
    let mut hosts = view.hosts_of(pool.as_str());
    if let Some(preferred) =
        inner.config.host.as_ref().and_then(|host| hosts.iter().position(|has| has == host))
    {
        hosts.swap(0, preferred);
    }
    if view.pool(pool.as_str()).is_some_and(|known| known.shared) {
        hosts.truncate(1);
    }
    if hosts.is_empty() {
        hosts.push(inner.any_host(operation).await?);
    }
    Ok(hosts)
}

async fn content(
    inner: &Inner,
    operation: Operation,
    host: &HostId,
    pool: &PoolId,
) -> Result<Vec<VolumeInfo>> {
    let call = Call::get(path(host, pool, "/content")?).operation(operation);
    wire::volumes(&inner.api.bytes(&call).await.map_err(of_pool(pool))?)
}

/// Every volume of a storage with a host that has it.
pub(super) async fn all(
    inner: &Inner,
    operation: Operation,
    pool: &PoolId,
) -> Result<Vec<(VolumeInfo, HostId)>> {
    let hosts = hosts(inner, operation, pool).await?;
    let asked = hosts.iter().map(|host| content(inner, operation, host, pool));
    let answers = futures::future::join_all(asked).await;
    let (mut seen, mut volumes, mut refusal, mut answered) = (BTreeSet::new(), Vec::new(), None, false);
    for (host, answer) in hosts.into_iter().zip(answers) {
        match answer {
            Ok(of_host) => {
                answered = true;
                for mut volume in of_host {
                    if seen.insert((volume.id.clone(), host.clone())) {
                        volume.extra.insert(crate::BACKEND, "node", host.as_str());
                        volumes.push((inner.told(volume), host.clone()));
                    }
                }
            }
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if !answered || error.kind() != ErrorKind::HostUnreachable => Err(error),
        _ => Ok(volumes),
    }
}

pub(super) async fn list(inner: &Inner, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
    let mut seen = BTreeSet::new();
    let all = all(inner, Operation::ListVolumes, pool).await?;
    // Local storages of one name on several hosts may have volumes of one id; the first stands for them.
    let once = all.into_iter().map(|(volume, _)| volume).filter(|volume| seen.insert(volume.id.clone()));
    Ok(Page::cut(once.collect(), page, |volume| volume.id.to_string()))
}

/// Reads a volume, and says which host has it. `on` is the one host to ask, where it has to be there.
pub(crate) async fn read(
    inner: &Inner,
    operation: Operation,
    volume: &VolumeId,
    on: Option<&HostId>,
) -> Result<(VolumeInfo, HostId)> {
    let (pool, _) = parts(volume)?;
    let hosts = match on {
        Some(host) => vec![host.clone()],
        None => hosts(inner, operation, &pool).await?,
    };
    let mut refusal = None;
    for host in hosts {
        let call = Call::get(path_of(&host, volume)?).operation(operation);
        let error = match inner.api.bytes(&call).await {
            Ok(answer) => {
                let info = wire::volume(&answer, volume.as_str())?.ok_or_else(|| volume.not_found())?;
                return Ok((owned(inner, operation, &host, &pool, inner.told(info)).await?, host));
            }
            Err(error) => error,
        };
        // What the server says of a volume that is not there depends on the storage; its list does not.
        let gone = match error.kind() {
            ErrorKind::NotFound => true,
            ErrorKind::Backend | ErrorKind::InvalidInput => {
                let listed = content(inner, operation, &host, &pool).await;
                listed.as_ref().is_ok_and(|all| all.iter().all(|known| known.id != *volume))
                    || listed.is_err_and(|error| error.is_not_found())
            }
            _ => false,
        };
        let error = if gone { crate::error::again(&error, volume.not_found()) } else { error };
        refusal = Some(error.with_target(VolumeId::NOUN, volume));
    }
    Err(refusal.unwrap_or_else(|| volume.not_found()))
}

/// A volume's own path does not say what it is for and whose it is, nor what it starts from on some storages.
async fn owned(
    inner: &Inner,
    operation: Operation,
    host: &HostId,
    pool: &PoolId,
    info: VolumeInfo,
) -> Result<VolumeInfo> {
    if operation != Operation::GetVolume {
        return Ok(info);
    }
    let listed = content(inner, operation, host, pool).await?;
    let Some(listed) =
        listed.into_iter().find(|listed| listed.id == info.id).map(|listed| inner.told(listed))
    else {
        return Ok(info);
    };
    let mut whole = listed;
    whole.path = info.path.or(whole.path);
    whole.allocation = info.allocation.or(whole.allocation);
    Ok(whole)
}

/// Makes a volume for a guest, or for none.
pub(super) async fn create(inner: &Inner, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
    let operation = Operation::CreateVolume;
    if spec.content.as_deref().is_some_and(|content| !matches!(content, "images" | "rootdir")) {
        let error =
            Error::invalid("content", "only disks of guests are made empty; upload or download the others");
        return Err(error);
    }
    let mut spec = spec.clone();
    let view = inner.recent_view(operation).await?;
    let format = spec.format.as_ref().filter(|format| **format != VolumeFormat::Raw);
    if let (Some(format), true) = (format, view.pool(spec.pool.as_str()).is_some_and(super::has_raw_only)) {
        let why = format!("volumes of storage `{}` are block devices, which are never `{format}`", spec.pool);
        return Err(Error::invalid("format", why));
    }
    let named_files = view.pool(spec.pool.as_str()).is_none_or(|pool| {
        matches!(
            pool.kind,
            PoolKind::Dir | PoolKind::NetFs | PoolKind::Btrfs | PoolKind::Filesystem | PoolKind::Unknown(_)
        )
    });
    if spec.vm.is_none() {
        spec.vm = Some(inner.config.volume_owner.to_string().into());
        spec.name = format!("vm-{}-{}", inner.config.volume_owner, spec.name);
        let format = spec.format.clone().unwrap_or(VolumeFormat::Raw);
        if named_files && (format == VolumeFormat::Raw || !spec.name.ends_with(&format!(".{format}"))) {
            spec.name = format!("{}.{format}", spec.name);
        }
    }
    let host = hosts(inner, operation, &spec.pool).await?.into_iter().next();
    let host = host.ok_or_else(|| spec.pool.not_found())?;
    let call = Call::post(path(&host, &spec.pool, "/content")?, wire::allocate(&spec)?).operation(operation);
    let answer =
        inner.api.bytes(&call).await.map_err(of_pool(&spec.pool)).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let volume = format!("{}:{}", spec.pool, spec.name);
                crate::error::again(&error, Error::already_exists(VolumeId::NOUN, volume))
            }
            _ => error,
        })?;
    let id = crate::wire::envelope::id(&answer)?;
    let id = id.ok_or_else(|| Error::new(ErrorKind::Protocol, "the answer does not name the new volume"))?;
    Ok(Started::done(id.into()))
}

pub(super) async fn delete(inner: &Inner, volume: &VolumeId) -> Result<Started<()>> {
    let operation = Operation::DeleteVolume;
    // The server takes the deletion of what is not there for a success.
    let (_, host) = read(inner, operation, volume, None).await?;
    if let Some(task) = devices::drop_unused(inner, operation, volume).await? {
        return Ok(begun((), task));
    }
    Ok(begun((), remove(inner, operation, volume, &host).await?))
}

/// Sends the deletion of a volume.
pub(crate) async fn remove(
    inner: &Inner,
    operation: Operation,
    volume: &VolumeId,
    host: &HostId,
) -> Result<Option<TaskId>> {
    let call = Call::delete(path_of(host, volume)?, Form::new()).operation(operation);
    inner.api.task(&call).await.map_err(|error| error.with_target(VolumeId::NOUN, volume))
}

impl Inner {
    fn own_prefix(&self) -> String {
        format!("vm-{}-", self.config.volume_owner)
    }

    /// Whether a volume is one that was made for no guest.
    pub(crate) fn owns(&self, volume: &VolumeId) -> bool {
        let name = volume.as_str().split([':', '/']).next_back().unwrap_or_default();
        name.starts_with(&self.own_prefix())
    }

    /// A volume that was made for no guest has its own name and nobody's number.
    fn told(&self, mut volume: VolumeInfo) -> VolumeInfo {
        if self.owns(&volume.id) {
            let name = volume.name.rsplit('/').next().unwrap_or_default();
            let name = name.strip_prefix(&self.own_prefix()).unwrap_or(name);
            let name = name.strip_suffix(".raw").unwrap_or(name).to_owned();
            volume.name = name;
            volume.vm = None;
        }
        volume
    }
}
