//! Guests that are made, each with a number that nobody else has.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use hypervisor_core::model::{
    ByteSize, DiskSource, GuestKind, HostId, HostState, PoolId, Started, TaskId, VmId, VmSpec, VolumeId,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use tokio::time::Instant;

use super::list;
use crate::tasks::begun;
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::locate::{Place, View};
use crate::storage;
use crate::wire::config::{Config, Create, Defaults, encode_create};
use crate::wire::compute::kind_path;
use crate::wire::form::{Form, segment, vmid};
use crate::wire::marks;

const OPERATION: Operation = Operation::CreateVm;
/// How many numbers are tried that others have taken in the meantime.
const TRIES: usize = 32;

/// What was placed on hosts since the last look at their memory, so that a batch spreads.
#[derive(Default)]
pub(crate) struct Placed(Mutex<(Option<Instant>, HashMap<HostId, ByteSize>)>);

impl Placed {
    fn choose(&self, view: &View, hosts: Vec<HostId>, memory: ByteSize) -> Option<HostId> {
        let mut placed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if placed.0 != Some(view.at) {
            *placed = (Some(view.at), HashMap::new());
        }
        let free = |host: &HostId| {
            let known = view.inventory.hosts.iter().find(|known| known.id == *host)?;
            let left = known.memory?.saturating_sub(known.memory_used.unwrap_or(ByteSize::ZERO));
            Some(left.saturating_sub(placed.1.get(host).copied().unwrap_or(ByteSize::ZERO)))
        };
        // Of equals the first by name.
        let chosen = hosts.into_iter().rev().max_by_key(free)?;
        let sum = placed.1.entry(chosen.clone()).or_insert(ByteSize::ZERO);
        *sum = sum.saturating_add(memory);
        Some(chosen)
    }
}

/// Numbers to try for one new guest.
pub(crate) struct Numbers<'a> {
    inner: &'a Inner,
    view: Arc<View>,
    requested: Option<u32>,
}

impl<'a> Numbers<'a> {
    pub(crate) async fn new(
        inner: &'a Inner,
        operation: Operation,
        requested: Option<&VmId>,
        _: Option<&str>,
    ) -> Result<Numbers<'a>> {
        let requested = requested.map(number_asked_for).transpose()?;
        Ok(Self { inner, view: inner.recent_view(operation).await?, requested })
    }

    /// Makes the call with one number after the other until it is not refused because the number is taken. A number that was asked for
    /// is the only one.
    pub(crate) async fn each<T, F, Fut>(&self, call: F) -> Result<T>
    where
        F: Fn(u32) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        if let Some(number) = self.requested {
            return call(number).await;
        }
        let (range, never) = (&self.inner.config.vmids, self.inner.config.volume_owner);
        let mut last = None;
        for _ in 0..TRIES {
            let number = self.inner.ids.reserve(&self.view, range, never)?;
            match call(number).await {
                // The number stays reserved: it is somebody else's.
                Err(error) if is_taken(&error) => last = Some(error),
                Err(error) => {
                    if error.effect() == Effect::None {
                        self.inner.ids.release(number);
                    }
                    return Err(error);
                }
                made => return made,
            }
        }
        let error = last.unwrap_or_else(|| Error::new(ErrorKind::Exhausted, "no number is free"));
        Err(error.with_hint(format!("{TRIES} numbers in a row were taken by others: give this connection a range of its own (`vmids`)")))
    }
}

fn is_taken(error: &Error) -> bool {
    let about_a_guest = error.target().is_none_or(|target| target.starts_with("vm "));
    error.kind() == ErrorKind::AlreadyExists && about_a_guest
}

fn number_asked_for(id: &VmId) -> Result<u32> {
    vmid(id).map_err(|_| Error::invalid("id", format!("`{id}` is no number from 100 to 999999999")))
}

/// Makes a guest.
pub(crate) async fn create(inner: &Arc<Inner>, spec: &VmSpec) -> Result<Started<VmId>> {
    // What is wrong with the spec is said before anything is sent.
    let least = Defaults::storage("none");
    encode_create(*inner.config.vmids.start(), spec, &least)?;
    if let Some(id) = &spec.id {
        number_asked_for(id)?;
    }
    let numbers = Numbers::new(inner, OPERATION, spec.id.as_ref(), spec.client_token.as_deref()).await?;
    let view = &*numbers.view;
    let host = choose_host(inner, view, spec).await?;
    let defaults = match pool_for(inner, view, &host, spec.kind) {
        Some(pool) => Defaults::storage(pool.as_str()),
        None => Defaults::default(),
    };
    check_volumes(inner, spec, &host).await?;
    crate::network::check(inner, OPERATION, &host, &spec.nics).await?;
    let place = Place::new(host, spec.kind);
    let (place, defaults) = (&place, &defaults);
    numbers
        .each(|number| async move {
            let create = encode_create(number, spec, defaults)?;
            match send(inner, place, create.form.clone()).await {
                Ok(task) => made(inner, spec, place, number, create, task),
                Err(error) if is_taken(&error) => match ours(inner, spec, number).await {
                    Some(started) => Ok(started),
                    None => Err(error.with_target(VmId::NOUN, number)),
                },
                Err(error) => Err(error),
            }
        })
        .await
}

async fn send(inner: &Inner, place: &Place, form: Form) -> Result<Option<TaskId>> {
    let path = format!("/nodes/{}/{}", segment("host", place.host.as_str())?, kind_path(place.kind));
    inner.api.task(&Call::post(path, form).operation(OPERATION)).await
}

fn made(
    inner: &Arc<Inner>,
    spec: &VmSpec,
    place: &Place,
    number: u32,
    create: Create,
    task: Option<TaskId>,
) -> Result<Started<VmId>> {
    let vm = VmId::from(number.to_string());
    inner.locator.learn(number, place.clone());
    inner.locator.learn_group(&vm, spec.group.clone());
    if create.grow.is_empty() {
        return Ok(begun(vm, task));
    }
    let (work, found, start) = (Arc::clone(inner), Found { number, place: place.clone() }, spec.start);
    let chain = inner.chains.start(OPERATION, &vm, move |link| async move {
        link.follow(&work, "creating", task).await?;
        for (slot, size) in create.grow {
            let kib = size.div_ceil(ByteSize::kib(1));
            let form = Form::new().text("disk", slot.as_str()).text("size", format!("{kib}K"));
            let task = work.api.task(&Call::put(found.path("/resize")?, form).operation(OPERATION)).await?;
            link.follow(&work, &format!("growing disk `{slot}`"), task).await?;
        }
        if start {
            let call = Call::post(found.path("/status/start")?, Form::new()).operation(OPERATION);
            let task = work.api.task(&call).await?;
            link.follow(&work, "starting it", task).await?;
        }
        Ok(())
    });
    Ok(Started::running(vm, chain))
}

/// The guest that has the number, if it carries the mark of this very create: an earlier try of unknown outcome has made it.
async fn ours(inner: &Inner, spec: &VmSpec, number: u32) -> Option<Started<VmId>> {
    let token = spec.client_token.as_deref()?;
    let vm = VmId::from(number.to_string());
    let found = inner.find(OPERATION, &vm).await.ok()?;
    let body = list::raw_config(inner, OPERATION, &found).await.ok()?;
    let config = Config::read(&body, found.place.kind).ok()?;
    let (_, mark) = marks::read_tags(number.into(), config.get("tags").unwrap_or_default());
    (mark.as_deref() == Some(token)).then(|| Started::done(vm))
}

/// The storages that a spec names.
fn pools(spec: &VmSpec) -> Vec<PoolId> {
    let of_volume = |volume: &VolumeId| storage::parts(volume).ok().map(|(pool, _)| pool);
    let of_disk = |source: &DiskSource| -> Vec<PoolId> {
        match source {
            DiskSource::New { pool, .. } => pool.iter().cloned().collect(),
            DiskSource::Volume(volume) => of_volume(volume).into_iter().collect(),
            DiskSource::Copy { of, pool, .. } => of_volume(of).into_iter().chain(pool.clone()).collect(),
            DiskSource::Linked { backing, pool } => of_volume(backing).into_iter().chain(pool.clone()).collect(),
            _ => Vec::new(),
        }
    };
    spec.disks.iter().flat_map(|disk| of_disk(&disk.source)).collect()
}

/// The host that the spec names, or else one that has all its storages: the usual one, or the one with the most free memory.
async fn choose_host(inner: &Inner, view: &View, spec: &VmSpec) -> Result<HostId> {
    if let Some(host) = &spec.host {
        inner.check_host(OPERATION, host).await?;
        return Ok(host.clone());
    }
    let pools = pools(spec);
    let has_all = |host: &HostId| {
        pools.iter().all(|pool| view.pool(pool.as_str()).is_none_or(|pool| pool.hosts.is_empty() || pool.hosts.contains(host)))
    };
    let online = || view.inventory.hosts.iter().filter(|host| host.state == HostState::Online).map(|host| &host.id);
    let mut fitting: Vec<HostId> = online().filter(|host| has_all(host)).cloned().collect();
    if fitting.is_empty() {
        // The server says best what is wrong.
        fitting = online().cloned().collect();
    }
    if let Some(usual) = inner.config.host.as_ref().filter(|host| fitting.contains(host)) {
        return Ok(usual.clone());
    }
    match inner.placed.choose(view, fitting, spec.memory) {
        Some(host) => Ok(host),
        None => inner.any_host(OPERATION).await,
    }
}

/// The storage of disks that the spec names none for.
pub(crate) fn pool_for(inner: &Inner, view: &View, host: &HostId, kind: GuestKind) -> Option<PoolId> {
    if let Some(pool) = &inner.config.pool {
        return Some(pool.clone());
    }
    let content = if kind == GuestKind::Container { "rootdir" } else { "images" };
    let fitting = view.inventory.pools.iter().filter(|pool| {
        pool.active && pool.content.contains(content) && (pool.hosts.is_empty() || pool.hosts.contains(host))
    });
    fitting.max_by_key(|pool| pool.available).map(|pool| pool.id.clone())
}

/// Passes if the volumes that the disks use are there: the server would find out only in the task.
async fn check_volumes(inner: &Inner, spec: &VmSpec, host: &HostId) -> Result<()> {
    for volume in spec.volumes() {
        storage::read(inner, OPERATION, volume, Some(host)).await?;
    }
    Ok(())
}
