//! One worker: calls of many kinds, on guests of its own, and what it was told of them.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::handle::{Vm, WaitOptions};
use hypervisor_core::model::{
    BatchOutcome, ByteSize, CloneSpec, DeleteSnapshot, DeleteVm, DiskSpec, Feature, SnapshotId, SnapshotSpec,
    VmChange, VmInfo, VmQuery, VmSpec,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result, Task};
use tokio::time::Instant;

use crate::model::{Guest, Model};
use crate::tally::Tally;
use crate::verdict;
use crate::weather::Weather;
use crate::world::World;

/// How many guests a worker has at most.
const MOST: usize = 4;
/// How long a task may take, which takes milliseconds.
const WAIT: Duration = Duration::from_secs(30);
/// The pause between two looks at a task.
const LOOK: Duration = Duration::from_millis(20);
/// So many looks in a row cannot all be older than the last change, of which every worker knows its own only.
const STALE: u32 = 6;

/// What is known after a call.
enum Said<T> {
    Done(T),
    /// It had no effect.
    Refused,
    /// It may have had one.
    Unknown,
}

pub(crate) struct Worker {
    number: usize,
    world: Arc<World>,
    dice: fastrand::Rng,
    made: u32,
    model: Model,
    tally: Tally,
}

impl Worker {
    pub(crate) fn new(number: usize, world: Arc<World>, seed: u64) -> Self {
        let mixed =
            seed.wrapping_add(u64::try_from(number).unwrap_or_default().wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (dice, model, tally) = (fastrand::Rng::with_seed(mixed), Model::default(), Tally::default());
        Self { number, world, dice, made: 0, model, tally }
    }

    /// Works until then, and hands over what it knows.
    pub(crate) async fn run(mut self, until: Instant) -> (Model, Tally) {
        for (name, id) in self.world.fixed.get(self.number).cloned().unwrap_or_default() {
            self.model
                .guests
                .insert(name, Guest { id, cpus: None, running: false, snapshots: BTreeSet::new() });
        }
        while Instant::now() < until {
            Box::pin(self.step()).await;
        }
        (self.model, self.tally)
    }

    fn has(&self, operation: Operation) -> bool {
        self.world.hv.capabilities().has(operation)
    }

    fn vm(&self, guest: &Guest) -> Vm {
        self.world.hv.vm(guest.id.clone())
    }

    async fn step(&mut self) {
        let makes = self.world.fixed.is_empty();
        let few = self.model.guests.is_empty();
        if makes && (few || (self.model.guests.len() < MOST && self.dice.u32(0..8) == 0)) {
            return self.make().await;
        }
        let names: Vec<String> = self.model.guests.keys().cloned().collect();
        let Some(name) = names.get(self.dice.usize(0..names.len().max(1))).cloned() else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        };
        let Some(guest) = self.model.guests.get(&name).cloned() else { return };
        match self.dice.u32(0..100) {
            0..25 => self.power(&name, &guest).await,
            25..40 if !guest.running && self.has(Operation::UpdateVm) => self.update(&name, &guest).await,
            40..58 if !guest.running && self.has(Operation::CreateSnapshot) => {
                self.snapshot(&name, &guest).await
            }
            58..70 if makes && !guest.running && guest.snapshots.is_empty() => {
                self.delete(&name, &guest).await
            }
            70..76 => self.start_all().await,
            // It costs as much as hundreds of other calls; the verdict lists as well.
            76 => self.list().await,
            _ => self.check(&name, &guest).await,
        }
    }

    /// Counts what a call without a task has said.
    fn heard<T>(&mut self, answer: Result<T>, begun: bool) -> Said<T> {
        match answer {
            Ok(output) => {
                self.tally.done += 1;
                Said::Done(output)
            }
            Err(error) if !begun && error.effect() == Effect::None => {
                self.tally.refused += 1;
                self.expect_weather(&error);
                Said::Refused
            }
            Err(_) => {
                self.tally.unknown += 1;
                Said::Unknown
            }
        }
    }

    /// A call that had no effect must have been stopped by a fault, not by what it found.
    fn expect_weather(&mut self, error: &Error) {
        use ErrorKind::{
            Backend, Conflict, Connect, Exhausted, HostUnreachable, Locked, RateLimited, Timeout, Transport,
        };
        let fault = matches!(
            error.kind(),
            Backend | Connect | Exhausted | HostUnreachable | Locked | RateLimited | Timeout | Transport
        );
        // The uid that an old answer tells is another guest's, and the delete is refused.
        let fault = fault || (error.kind() == Conflict && self.world.weather.is_stale());
        if !fault || matches!(self.world.weather, Weather::Calm) {
            self.tally.diverge(format!(
                "worker {}: refused though nothing speaks against it: {error:?}",
                self.number
            ));
        }
    }

    async fn carry<T: Clone + Send + Sync + 'static>(
        &mut self,
        call: impl Future<Output = Result<Task<T>>>,
    ) -> Said<T> {
        let task = match call.await {
            Ok(task) => task,
            Err(error) => return self.heard(Err(error), false),
        };
        if task.id().is_some() {
            self.tally.tasks += 1;
        }
        // A worker that looks as seldom as a program would does little else than wait.
        let options = WaitOptions::new().deadline(WAIT).pauses(LOOK, LOOK * 4);
        let ended = task.wait_with(&options).await;
        self.heard(ended, true)
    }

    async fn make(&mut self) {
        self.made += 1;
        let name = format!("w{}-{}", self.number, self.made);
        let token = self.world.hv.capabilities().has(Feature::ClientToken).then(|| format!("soak-{name}"));
        let quiet = self.model.guests.values().find(|guest| !guest.running && guest.snapshots.is_empty());
        let original = quiet
            .map(|guest| guest.id.clone())
            .filter(|_| self.has(Operation::CloneVm) && self.dice.u32(0..4) == 0);
        let said = if let Some(original) = self.world.base.clone().or(original) {
            let mut spec = CloneSpec::new(&name);
            spec.client_token = token;
            let original = self.world.hv.vm(original);
            self.carry(original.clone_as(&spec)).await
        } else {
            let mut spec = VmSpec::new(&name).cpus(1_u32).memory(ByteSize::mib(128));
            spec.client_token = token;
            let spec = spec.disk(DiskSpec::new_volume(ByteSize::gib(1)));
            let vms = self.world.hv.vms();
            self.carry(vms.create(&spec)).await
        };
        match said {
            Said::Done(vm) => {
                // What it is like is read once; from then on it must be what it was told to be.
                match verdict::now(&self.world.steady, &name, vm.id()).await {
                    Ok(guest) => drop(self.model.guests.insert(name, guest)),
                    Err(error) => {
                        self.model.remove(&name);
                        self.tally.diverge(format!("{name} was acknowledged and is not there: {error}"));
                    }
                }
            }
            Said::Refused => {
                self.model.gone.insert(name);
            }
            Said::Unknown => self.settle(&name, None).await,
        }
    }

    async fn delete(&mut self, name: &str, guest: &Guest) {
        let vm = self.vm(guest);
        match self.carry(vm.delete(&DeleteVm::with_disks())).await {
            Said::Done(()) => self.model.remove(name),
            Said::Refused => {}
            Said::Unknown => self.settle(name, Some(self.world.steady.vm(guest.id.clone()))).await,
        }
    }

    async fn power(&mut self, name: &str, guest: &Guest) {
        let vm = self.vm(guest);
        let said =
            if guest.running { self.carry(vm.power_off()).await } else { self.carry(vm.start()).await };
        self.told(name, guest, said, |guest, ()| guest.running = !guest.running).await;
    }

    async fn update(&mut self, name: &str, guest: &Guest) {
        let vm = self.vm(guest);
        let cpus = self.dice.u32(1..9);
        let change = VmChange::new().cpus(cpus);
        let said = self.carry(vm.update(&change)).await;
        self.told(name, guest, said, |guest, _| guest.cpus = guest.cpus.map(|_| cpus)).await;
    }

    async fn snapshot(&mut self, name: &str, guest: &Guest) {
        let snapshots = self.vm(guest).snapshots();
        if let Some(old) =
            guest.snapshots.first().cloned().filter(|_| guest.snapshots.len() > 1 || self.dice.bool())
        {
            let said = self.carry(snapshots.delete(old.clone(), &DeleteSnapshot::only())).await;
            return self
                .told(name, guest, said, |guest, ()| {
                    guest.snapshots.remove(&old);
                })
                .await;
        }
        self.made += 1;
        let spec = SnapshotSpec::new(format!("s{}", self.made));
        let said = self.carry(snapshots.create(&spec)).await;
        self.told(name, guest, said, |guest, made: SnapshotId| {
            guest.snapshots.insert(made);
        })
        .await;
    }

    /// Takes down what a call about a guest has said.
    async fn told<T>(&mut self, name: &str, guest: &Guest, said: Said<T>, done: impl FnOnce(&mut Guest, T)) {
        match said {
            Said::Done(output) => {
                if let Some(guest) = self.model.guests.get_mut(name) {
                    done(guest, output);
                }
            }
            Said::Refused => {}
            Said::Unknown => self.settle(name, Some(self.world.steady.vm(guest.id.clone()))).await,
        }
    }

    /// All that are off, as one batch.
    async fn start_all(&mut self) {
        let off: Vec<(String, Guest)> = self
            .model
            .guests
            .iter()
            .filter(|(_, guest)| !guest.running)
            .map(|(name, guest)| (name.clone(), guest.clone()))
            .collect();
        if off.is_empty() || !self.has(Operation::SubmitBatch) {
            return;
        }
        let batch = off.iter().fold(self.world.hv.batch(), |batch, (_, guest)| batch.start(guest.id.clone()));
        let report = match batch.item_deadline(WAIT).run().await {
            Ok(report) => report,
            Err(error) => {
                let _ = self.heard::<()>(Err(error), false);
                for (name, guest) in &off {
                    self.settle(name, Some(self.world.steady.vm(guest.id.clone()))).await;
                }
                return;
            }
        };
        if report.outcomes.len() != off.len() {
            self.tally.diverge(format!("{} outcomes for a batch of {}", report.outcomes.len(), off.len()));
        }
        for ((name, guest), outcome) in off.iter().zip(report.outcomes) {
            let said = match outcome {
                BatchOutcome::Done(_) => self.heard(Ok(()), true),
                BatchOutcome::Failed(error) => self.heard(Err(error), false),
                BatchOutcome::Unknown { error, .. } => self.heard(Err(error), true),
                other => {
                    self.tally.diverge(format!("{name}: nothing is skipped in this batch: {other:?}"));
                    continue;
                }
            };
            self.told(name, guest, said, |guest, ()| guest.running = true).await;
        }
    }

    async fn list(&mut self) {
        // Everybody asks for the same list, so that more than one answer may be old.
        for left in (0..self.looks(STALE)).rev() {
            let listed = self.world.hv.vms().all(&VmQuery::all()).await;
            let Said::Done(listed) = self.heard(listed, false) else { return };
            let wrong = self.model.guests.iter().find_map(|(name, guest)| {
                let seen = listed.items.iter().filter(|vm| vm.name == *name).count();
                // A host that could not be asked is not one without guests.
                let wrong = seen != 1 && (seen > 1 || listed.unreachable.is_empty());
                wrong.then(|| format!("{name} ({}) is in the list {seen} times", guest.id))
            });
            match wrong {
                None => return,
                Some(_) if left > 0 => self.tally.stale += 1,
                Some(wrong) => self.tally.diverge(wrong),
            }
        }
    }

    async fn check(&mut self, name: &str, guest: &Guest) {
        let vm = self.vm(guest);
        // Nobody else asks for this guest: the answer after an old one is that of the old one's look at the earliest.
        for left in (0..self.looks(2)).rev() {
            let answer = vm.info().await;
            let Said::Done(info) = self.heard(answer, false) else { return };
            match differs(name, guest, &info) {
                None => return,
                Some(_) if left > 0 => self.tally.stale += 1,
                Some(wrong) => self.tally.diverge(wrong),
            }
        }
    }

    /// How often is looked before what is seen must be true.
    fn looks(&self, stale: u32) -> u32 {
        if self.world.weather.is_stale() { stale } else { 1 }
    }

    /// Finds out what is: the outcome of a call is not known. `vm` is where it must be, if it is.
    async fn settle(&mut self, name: &str, vm: Option<Vm>) {
        self.world.weather.arrived().await;
        match verdict::look(&self.world.steady, name, vm).await {
            Ok(Some(guest)) => drop(self.model.guests.insert(name.to_owned(), guest)),
            Ok(None) => self.model.remove(name),
            Err(error) => self.tally.diverge(format!("{name} cannot be settled: {error:?}")),
        }
    }
}

/// What a look shows that is not as it was acknowledged.
fn differs(name: &str, guest: &Guest, info: &VmInfo) -> Option<String> {
    let right = info.name == name
        && info.state.is_active() == guest.running
        && guest.cpus.is_none_or(|cpus| info.cpus == Some(cpus));
    let seen = format!("{} {} with {:?} CPUs", info.name, info.state, info.cpus);
    (!right).then(|| format!("{name} is {seen} where {guest:?} was acknowledged"))
}
