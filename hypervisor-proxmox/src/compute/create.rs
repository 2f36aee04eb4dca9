//! Guests that are made, each with a number that nobody else has.

use std::collections::HashMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hypervisor_core::model::{
    ByteSize, DiskSource, DiskSpec, GuestKind, HostId, PoolId, Started, TaskId, VmId, VmSpec, VolumeFormat,
    VolumeId,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result, Retry};
use tokio::time::Instant;

use super::{list, start};
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::locate::{Place, View};
use crate::storage;
use crate::tasks::begun;
use crate::tasks::chain::Link;
use crate::wire::compute::kind_path;
use crate::wire::config::{Config, Create, Defaults, decode, encode_create, encode_resize_disk};
use crate::wire::form::{Form, segment, vmid};
use crate::wire::marks;
use crate::wire::scalar::text_of;

const OPERATION: Operation = Operation::CreateVm;
/// How many numbers are tried that others have taken in the meantime.
const TRIES: usize = 32;
/// After so many of them the server is asked where free numbers begin.
const MISSES: usize = 3;
/// How long a guest that is being made is waited for, to see whose it is.
const PATIENCE: Duration = Duration::from_secs(45);

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
            let known = view.hosts.iter().find(|known| known.id == *host)?;
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
    operation: Operation,
    requested: Option<u32>,
    token: Option<&'a str>,
    /// What an earlier try with this token has asked for, whose answer was lost.
    again: Option<u32>,
}

impl<'a> Numbers<'a> {
    pub(crate) async fn new(
        inner: &'a Inner,
        operation: Operation,
        requested: Option<&VmId>,
        token: Option<&'a str>,
    ) -> Result<Numbers<'a>> {
        let requested = requested.map(number_asked_for).transpose()?;
        let again = token.and_then(|token| inner.lost.get(token));
        Ok(Self { inner, view: inner.recent_view(operation).await?, operation, requested, token, again })
    }

    /// Whether a guest of this number may be the work of an earlier try.
    pub(crate) fn may_be_ours(&self, number: u32) -> bool {
        self.token.is_some() && (self.again == Some(number) || self.requested == Some(number))
    }

    /// Makes the call with one number after the other until it is not refused because the number is taken. A number that was asked for
    /// is the only one; that of an earlier try is the first, so that at most one of both can succeed.
    pub(crate) async fn each<T, F, Fut>(&self, call: F) -> Result<T>
    where
        F: Fn(u32) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        if let Some(number) = self.requested {
            return self.ask(number).noted(call(number)).await;
        }
        if let Some(number) = self.again {
            match self.ask(number).noted(call(number)).await {
                Err(error) if is_taken(&error) => {}
                ended => return ended,
            }
        }
        let mut range = self.inner.config.vmids.clone();
        let never = self.inner.config.volume_owner;
        let mut last = None;
        for tried in 0..TRIES {
            if tried == MISSES {
                range = self.beyond_what_is_hidden(range).await;
            }
            let number = self.inner.ids.reserve(&self.view, &range, never)?;
            match self.ask(number).noted(call(number)).await {
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
        Err(error.with_hint(format!(
            "{TRIES} numbers in a row were taken by others: give this connection a range of its own (`vmids`)"
        )))
    }

    fn ask(&self, number: u32) -> Asked<'_> {
        Asked { numbers: self, number, is_known: false }
    }

    /// The lists leave out guests that the caller may not see; the server, asked for the next free number, does not.
    async fn beyond_what_is_hidden(&self, range: RangeInclusive<u32>) -> RangeInclusive<u32> {
        let call = Call::get("/cluster/nextid").operation(self.operation);
        let next = match self.inner.api.value(&call).await {
            Ok(next) => text_of(&next).and_then(|text| text.parse::<u32>().ok()),
            Err(_) => None,
        };
        match next {
            Some(next) if range.contains(&next) => next..=*range.end(),
            _ => range,
        }
    }
}

/// A number that is being asked for.
struct Asked<'a> {
    numbers: &'a Numbers<'a>,
    number: u32,
    /// Whether it is known what has come of it.
    is_known: bool,
}

impl Asked<'_> {
    /// Remembers what was asked for where nobody knows whether it was done: also where the caller is gone before the answer.
    async fn noted<T>(mut self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let ended = call.await;
        self.is_known = ended.as_ref().err().is_none_or(|error| error.effect() == Effect::None);
        // After a refusal it is still not known what has become of an earlier try.
        if let (Ok(_), Some(token)) = (&ended, self.numbers.token) {
            self.numbers.inner.lost.remove(token);
        }
        ended
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Numbers { inner, token: Some(token), .. } = self.numbers else { return };
        if !self.is_known {
            inner.lost.add(token, self.number);
            // The lists of the cluster are too old to show it.
            inner.locator.touch(&VmId::from(self.number.to_string()));
        }
    }
}

pub(super) fn is_taken(error: &Error) -> bool {
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
    let defaults = match pool_for(inner, OPERATION, view, &host, spec.kind).await {
        Some(pool) => Defaults::storage(pool.as_str()),
        None => Defaults::default(),
    };
    check_formats(view, &spec.disks, defaults.storage.as_deref(), |index| format!("disks[{index}]"))?;
    check_volumes(inner, spec, &host).await?;
    crate::network::check(inner, OPERATION, &host, &spec.nics).await?;
    let place = Place::new(host, spec.kind);
    let (place, defaults, numbers) = (&place, &defaults, &numbers);
    numbers
        .each(|number| async move {
            let mut create = encode_create(number, spec, defaults)?;
            if spec.kind == GuestKind::Vm {
                for (key, value) in &inner.config.machine_defaults {
                    if create.form.get(key).is_none() {
                        create.form.set(key, value.as_str());
                    }
                }
            }
            let error = match send(inner, place, create.form.clone()).await {
                Ok(task) => {
                    let found = Found { number, place: place.clone() };
                    return Ok(made(inner, spec, found, create, First::Task(task)));
                }
                Err(error) => error,
            };
            let (taken, lost) = (is_taken(&error), error.effect() != Effect::None);
            // What is to follow on a create is nobody's affair but ours: so its end has to be found out now.
            if !(taken || (lost && !create.grow.is_empty())) {
                return Err(error);
            }
            match ours(inner, spec, number, numbers.may_be_ours(number) || lost).await {
                Ok(Some(found)) => Ok(made(inner, spec, found, create, First::Before)),
                Ok(None) if taken => Err(error.with_target(VmId::NOUN, number)),
                Err(look) if taken => Err(look),
                _ => Err(error),
            }
        })
        .await
}

async fn send(inner: &Inner, place: &Place, form: Form) -> Result<Option<TaskId>> {
    let path = format!("/nodes/{}/{}", segment("host", place.host.as_str())?, kind_path(place.kind));
    inner.api.task(&Call::post(path, form).operation(OPERATION)).await
}

/// What has made a guest.
enum First {
    /// This task makes it, or it is done.
    Task(Option<TaskId>),
    /// An earlier try of unknown outcome; it is done.
    Before,
}

fn made(inner: &Arc<Inner>, spec: &VmSpec, found: Found, create: Create, first: First) -> Started<VmId> {
    let vm = VmId::from(found.number.to_string());
    inner.locator.learn(found.number, found.place.clone());
    inner.locator.learn_group(&vm, spec.group.clone());
    let (task, before) = match first {
        First::Task(task) => (task, false),
        First::Before => (None, true),
    };
    if create.grow.is_empty() && !spec.start {
        return begun(vm, task);
    }
    let (work, wants_start) = (Arc::clone(inner), spec.start);
    let chain = inner.chains.start(OPERATION, &vm, move |link| async move {
        link.follow(&work, "creating", task.clone()).await?;
        let asked_for_start = create.grow.is_empty();
        for (slot, size) in create.grow {
            grow(&work, &link, &found, &slot, size).await?;
        }
        match (wants_start, asked_for_start) {
            (false, _) => Ok(()),
            (true, true) => start::by_server(&work, &link, OPERATION, &found, task.as_ref()).await,
            (true, false) if before && list::current(&work, OPERATION, &found).await?.state.is_active() => {
                Ok(())
            }
            (true, false) => start::now(&work, &link, &found, "starting it").await,
        }
    });
    Started::running(vm, chain)
}

async fn grow(inner: &Inner, link: &Link, found: &Found, slot: &str, size: ByteSize) -> Result<()> {
    let config = Config::read(&list::raw_config(inner, OPERATION, found).await?, found.place.kind)?;
    let vm = VmId::from(found.number.to_string());
    let disks = decode(&vm, &config).disks;
    let present = disks.into_iter().find(|disk| disk.id.as_str() == slot).and_then(|disk| disk.capacity);
    // An original that is not smaller than what is asked for, or an earlier try.
    if present.is_some_and(|present| present >= size) {
        return Ok(());
    }
    let form = encode_resize_disk(&slot.into(), size, &config)?;
    let task = inner.api.task(&Call::put(found.path("/resize")?, form).operation(OPERATION)).await?;
    link.follow(inner, &format!("growing disk `{slot}`"), task).await
}

/// The guest that has the number, if it carries the mark of this very create: an earlier try of unknown outcome has made it.
async fn ours(inner: &Inner, spec: &VmSpec, number: u32, patient: bool) -> Result<Option<Found>> {
    let Some(token) = spec.client_token.as_deref() else { return Ok(None) };
    claim(inner, OPERATION, number, patient, |config| {
        let (_, mark) = marks::read_tags(number.into(), config.get("tags").unwrap_or_default());
        mark.as_deref() == Some(token)
    })
    .await
}

/// Looks whether the guest of a number is the work of an earlier try. While it is being made it shows neither name nor tags: whoever is
/// `patient` waits for that.
///
/// # Errors
/// Why the look failed, or `Timeout` where it is still being made; of unknown effect.
pub(super) async fn claim(
    inner: &Inner,
    operation: Operation,
    number: u32,
    patient: bool,
    is_ours: impl Fn(&Config) -> bool,
) -> Result<Option<Found>> {
    let vm = VmId::from(number.to_string());
    let unsure = |error: Error| error.with_retry(Retry::IfIdempotent).with_effect(Effect::Unknown);
    let until = Instant::now() + if patient { PATIENCE } else { Duration::ZERO };
    let mut pause = Duration::from_millis(100);
    loop {
        let looked = async {
            let found = inner.find(operation, &vm).await?;
            let body = list::raw_config(inner, operation, &found).await?;
            Ok::<_, Error>((Config::read(&body, found.place.kind)?, found))
        };
        let (config, found) = match looked.await {
            Ok(looked) => looked,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(unsure(error)),
        };
        if !matches!(config.get("lock"), Some("create" | "clone")) {
            return Ok(is_ours(&config).then_some(found));
        }
        if Instant::now() >= until {
            if !patient {
                return Ok(None);
            }
            let why = "a guest of the number that an earlier try has asked for is being made; whose it is shows only then";
            return Err(unsure(Error::new(ErrorKind::Timeout, why).with_target(VmId::NOUN, &vm)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// The storages that a spec names.
fn pools(spec: &VmSpec) -> Vec<PoolId> {
    let of_volume = |volume: &VolumeId| storage::parts(volume).ok().map(|(pool, _)| pool);
    let of_disk = |source: &DiskSource| -> Vec<PoolId> {
        match source {
            DiskSource::New { pool, .. } => pool.iter().cloned().collect(),
            DiskSource::Volume(volume) => of_volume(volume).into_iter().collect(),
            DiskSource::Copy { of, pool, .. } => of_volume(of).into_iter().chain(pool.clone()).collect(),
            DiskSource::Linked { backing, pool } => {
                of_volume(backing).into_iter().chain(pool.clone()).collect()
            }
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
        pools.iter().all(|pool| {
            view.pool(pool.as_str()).is_none_or(|pool| pool.hosts.is_empty() || pool.hosts.contains(host))
        })
    };
    let mut fitting: Vec<HostId> = view.online().filter(|host| has_all(host)).cloned().collect();
    if fitting.is_empty() {
        // The server says best what is wrong.
        fitting = view.online().cloned().collect();
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
pub(crate) async fn pool_for(
    inner: &Inner,
    operation: Operation,
    view: &View,
    host: &HostId,
    kind: GuestKind,
) -> Option<PoolId> {
    if let Some(pool) = &inner.config.pool {
        return Some(pool.clone());
    }
    let content = if kind == GuestKind::Container { "rootdir" } else { "images" };
    storage::roomiest(inner, operation, view, host, content).await
}

/// Passes if the storages of new disks have the formats that are asked for: the server would find out only in the task.
///
/// # Errors
/// `InvalidInput` naming the field.
pub(super) fn check_formats(
    view: &View,
    disks: &[DiskSpec],
    usual: Option<&str>,
    field: impl Fn(usize) -> String,
) -> Result<()> {
    for (index, disk) in disks.iter().enumerate() {
        let pool = match &disk.source {
            DiskSource::New { pool, .. } | DiskSource::Copy { pool, .. } => {
                pool.as_ref().map(PoolId::as_str).or(usual)
            }
            _ => None,
        };
        let Some((format, pool)) = disk.format.as_ref().zip(pool) else { continue };
        if *format != VolumeFormat::Raw && view.pool(pool).is_some_and(storage::has_raw_only) {
            let why = format!("volumes of storage `{pool}` are block devices, whose only format is `raw`");
            return Err(Error::invalid(format!("{}.format", field(index)), why));
        }
    }
    Ok(())
}

/// Passes if the volumes that the disks use are there: the server would find out only in the task.
async fn check_volumes(inner: &Inner, spec: &VmSpec, host: &HostId) -> Result<()> {
    for volume in spec.volumes() {
        storage::read(inner, OPERATION, volume, Some(host)).await?;
    }
    Ok(())
}
