//! Where guests are: one look at the cluster for all of them, shared by who needs it at the same time.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hypervisor_core::model::{
    GroupId, GuestKind, HostId, HostInfo, HostState, PoolInfo, Unreachable, VmId, VmInfo, VmState,
};
use hypervisor_core::{Error, Operation, Result};
use tokio::time::Instant;

use crate::api::{Api, Call};
use crate::wire::compute::kind_path;
use crate::wire::form::{segment, vmid};
use crate::wire::node;
use crate::wire::resources::{Inventory, Reader};

/// How long a guest counts as just changed: the lists of the cluster are up to ten seconds old.
const RECENT: Duration = Duration::from_secs(15);

/// Where a guest is, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: HostId,
    pub(crate) kind: GuestKind,
}

impl Place {
    pub(crate) fn new(host: impl Into<HostId>, kind: GuestKind) -> Self {
        Self { host: host.into(), kind }
    }

    /// The path of a guest here, with what follows it: `/nodes/pve1/qemu/100/config`.
    pub(crate) fn path(&self, number: u32, rest: &str) -> Result<String> {
        Ok(format!("/nodes/{}/{}/{number}{rest}", segment("host", self.host.as_str())?, kind_path(self.kind)))
    }
}

/// What is kept of a guest of the last look: a whole list of them takes some hundred bytes for each.
#[derive(Debug)]
pub(crate) struct Brief {
    number: u32,
    pub(crate) kind: GuestKind,
    pub(crate) host: Option<HostId>,
    group: Option<GroupId>,
    pub(crate) state: VmState,
    pub(crate) template: bool,
}

impl Brief {
    fn of(guest: &VmInfo) -> Option<Self> {
        Some(Self {
            number: vmid(&guest.id).ok()?,
            kind: guest.kind,
            host: guest.host.clone(),
            group: guest.group.clone(),
            state: guest.state.clone(),
            template: guest.template,
        })
    }

    fn place(&self) -> Option<Place> {
        Some(Place::new(self.host.as_ref()?, self.kind))
    }
}

/// The cluster as it was seen.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) hosts: Vec<HostInfo>,
    /// The storages, one for each name.
    pub(crate) pools: Vec<PoolInfo>,
    /// The hosts that are offline.
    pub(crate) unreachable: Vec<Unreachable>,
    /// When the look began.
    pub(crate) at: Instant,
    /// By number.
    guests: Box<[Brief]>,
}

impl View {
    /// The numbers that are taken.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.guests.iter().map(|guest| guest.number)
    }

    pub(crate) fn guest(&self, number: u32) -> Option<&Brief> {
        let at = self.guests.binary_search_by_key(&number, |guest| guest.number).ok()?;
        self.guests.get(at)
    }

    /// The hosts that answer. Of one whose daemon has told nothing yet, as after a boot, nobody knows: it comes last.
    pub(crate) fn online(&self) -> impl Iterator<Item = &HostId> {
        let of = |wanted: fn(&HostState) -> bool| {
            self.hosts.iter().filter(move |host| wanted(&host.state)).map(|host| &host.id)
        };
        of(|state| *state == HostState::Online).chain(of(|state| matches!(state, HostState::Unknown(_))))
    }

    /// The hosts that have this storage and answer.
    pub(crate) fn hosts_of(&self, pool: &str) -> Vec<HostId> {
        let known = self.pools.iter().find(|known| known.id.as_str() == pool);
        let has =
            |host: &&HostId| known.is_none_or(|known| known.hosts.is_empty() || known.hosts.contains(host));
        self.online().filter(has).cloned().collect()
    }

    pub(crate) fn pool(&self, pool: &str) -> Option<&PoolInfo> {
        self.pools.iter().find(|known| known.id.as_str() == pool)
    }

    fn group(&self, vm: &VmId) -> Option<&GroupId> {
        self.guest(vmid(vm).ok()?)?.group.as_ref()
    }
}

/// What is known of where guests are.
#[derive(Default)]
pub(crate) struct Locator {
    known: Mutex<Known>,
    /// Held while somebody looks: whoever comes meanwhile takes what is seen.
    looking: tokio::sync::Mutex<()>,
    /// How many looks have come to an end.
    looks: AtomicU64,
}

#[derive(Default)]
struct Known {
    view: Option<Arc<View>>,
    /// Why the last look failed, if it did.
    failure: Option<Error>,
    /// How many want the guests themselves, and what the last look has seen for them: it goes with the last of them.
    wanting: usize,
    guests: Option<Arc<Vec<VmInfo>>>,
    /// What has been learnt since: guests that were made, that have moved, that are gone.
    since: HashMap<u32, Option<Place>>,
    groups: HashMap<VmId, Option<GroupId>>,
    changed: HashMap<u32, Instant>,
}

/// Somebody who wants the guests themselves.
struct Wanting<'a>(&'a Locator);

impl<'a> Wanting<'a> {
    fn new(locator: &'a Locator) -> Self {
        locator.known().wanting += 1;
        Self(locator)
    }

    /// The guests of the last look: moved to the last who wants them.
    fn take(self) -> Option<Vec<VmInfo>> {
        let mut known = self.0.known();
        let guests = if known.wanting > 1 { known.guests.clone() } else { known.guests.take() };
        drop(known);
        guests.map(Arc::unwrap_or_clone)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let mut known = self.0.known();
        known.wanting = known.wanting.saturating_sub(1);
        if known.wanting == 0 {
            known.guests = None;
        }
    }
}

impl Locator {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster as somebody has seen it at this time or later.
    pub(crate) async fn view(&self, api: &Api, operation: Operation, since: Instant) -> Result<Arc<View>> {
        let recent = |known: &Known| known.view.clone().filter(|view| view.at >= since);
        let looks = self.looks.load(Ordering::Acquire);
        if let Some(view) = recent(&self.known()) {
            return Ok(view);
        }
        let _looking = self.looking.lock().await;
        if let Some(view) = recent(&self.known()) {
            return Ok(view);
        }
        self.look(api, operation, looks).await
    }

    /// The cluster as it is now, with its guests. Who waits for the same look shares it.
    pub(crate) async fn guests(&self, api: &Api, operation: Operation) -> Result<(Arc<View>, Vec<VmInfo>)> {
        let since = Instant::now();
        let looks = self.looks.load(Ordering::Acquire);
        let wanting = Wanting::new(self);
        let _looking = self.looking.lock().await;
        let seen = {
            let known = self.known();
            let of_guests = known.view.clone().filter(|view| view.at >= since && known.guests.is_some());
            drop(known);
            of_guests
        };
        let view = match seen {
            Some(view) => view,
            None => self.look(api, operation, looks).await?,
        };
        // Under the same turn, so that nobody's later look comes in between.
        let guests = wanting.take().unwrap_or_default();
        Ok((view, guests))
    }

    /// Looks, unless a look that has ended since there were so many has failed: a server that does not answer keeps everybody for as long as
    /// one call, not one after the other.
    async fn look(&self, api: &Api, operation: Operation, looks: u64) -> Result<Arc<View>> {
        if self.looks.load(Ordering::Acquire) != looks
            && let Some(failure) = &self.known().failure
        {
            return Err(crate::error::shared(failure, operation));
        }
        let seen = self.look_now(api, operation).await;
        self.known().failure = seen.as_ref().err().cloned();
        self.looks.fetch_add(1, Ordering::Release);
        seen
    }

    async fn look_now(&self, api: &Api, operation: Operation) -> Result<Arc<View>> {
        let at = Instant::now();
        let call = Call::get("/cluster/resources").operation(operation);
        let mut reader = Reader::new();
        let mut take = |piece: &[u8], left: Option<u64>| {
            reader.add(piece);
            reader.expect(left.unwrap_or_default());
            Ok(())
        };
        api.read(&call, &mut take).await?;
        let mut inventory = reader.finish().map_err(|error| error.with_operation(operation))?;
        if inventory.hosts.is_empty() {
            // Who may not see the hosts here may still see them there.
            let nodes = Call::get("/nodes").operation(operation);
            inventory.hosts =
                node::hosts(&api.bytes(&nodes).await?).map_err(|error| error.with_operation(operation))?;
        }
        let Inventory { guests: all, hosts, pools, unreachable, .. } = inventory;
        let mut guests: Vec<Brief> = Vec::with_capacity(all.len());
        guests.extend(all.iter().filter_map(Brief::of));
        guests.sort_by_key(|guest| guest.number);
        let view = Arc::new(View { hosts, pools, unreachable, at, guests: guests.into() });
        let mut known = self.known();
        known.view = Some(Arc::clone(&view));
        known.guests = (known.wanting > 0).then(|| Arc::new(all));
        known.since.clear();
        known.groups.clear();
        known.changed.retain(|_, when| when.elapsed() < RECENT);
        Ok(view)
    }

    /// Where a guest is. Looks once where that is not known.
    ///
    /// # Errors
    /// `NotFound`; what the look ends with.
    pub(crate) async fn place(&self, api: &Api, operation: Operation, vm: &VmId) -> Result<Place> {
        let number = vmid(vm).map_err(|error| error.with_operation(operation))?;
        let now = Instant::now();
        if let Some(place) = self.guess(number) {
            return Ok(place);
        }
        self.view(api, operation, now).await?;
        self.guess(number).ok_or_else(|| missing(vm, operation))
    }

    /// Where a guest is now that it is not where it was thought to be; `None` where that is all that is known of it. `sent` is when the
    /// call was sent that has found out.
    pub(crate) async fn moved(
        &self,
        api: &Api,
        operation: Operation,
        vm: &VmId,
        from: &Place,
        sent: Instant,
    ) -> Result<Option<Place>> {
        let number = vmid(vm)?;
        let refused = Instant::now();
        let elsewhere = || self.guess(number).filter(|place| place != from);
        // Somebody else may have found it meanwhile, or be at it.
        if elsewhere().is_none() {
            self.view(api, operation, sent).await?;
        }
        if elsewhere().is_none() {
            // A look that was begun before the guest had moved.
            self.view(api, operation, refused).await?;
        }
        Ok(elsewhere())
    }

    fn guess(&self, number: u32) -> Option<Place> {
        let known = self.known();
        match known.since.get(&number) {
            Some(place) => place.clone(),
            None => known.view.as_ref()?.guest(number)?.place(),
        }
    }

    /// Takes note of where a guest is.
    pub(crate) fn learn(&self, number: u32, place: Place) {
        let mut known = self.known();
        known.since.insert(number, Some(place));
        known.changed.insert(number, Instant::now());
    }

    /// Takes note that a guest is going: the next call about it looks.
    pub(crate) fn forget(&self, vm: &VmId) {
        if let Ok(number) = vmid(vm) {
            self.known().since.insert(number, None);
        }
    }

    /// Takes note that a guest was changed, so that lists look at it once more.
    pub(crate) fn touch(&self, vm: &VmId) {
        if let Ok(number) = vmid(vm) {
            self.known().changed.insert(number, Instant::now());
        }
    }

    /// The guests that were changed so recently that the cluster's lists may not show it.
    pub(crate) fn changed(&self) -> BTreeSet<u32> {
        let known = self.known();
        let recent = known.changed.iter().filter(|(_, when)| when.elapsed() < RECENT);
        recent.map(|(number, _)| *number).collect()
    }

    /// The group of a guest as the last look has shown it, or as it was changed since.
    pub(crate) fn group(&self, vm: &VmId) -> Option<GroupId> {
        let known = self.known();
        match known.groups.get(vm) {
            Some(group) => group.clone(),
            None => known.view.as_ref()?.group(vm).cloned(),
        }
    }

    /// Takes note of a guest's group.
    pub(crate) fn learn_group(&self, vm: &VmId, group: Option<GroupId>) {
        self.known().groups.insert(vm.clone(), group);
    }
}

fn missing(vm: &VmId, operation: Operation) -> Error {
    vm.not_found().with_operation(operation).with_backend(crate::BACKEND)
}
