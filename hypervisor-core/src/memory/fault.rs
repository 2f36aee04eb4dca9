//! Faults on demand: what a test wants to go wrong, by script or by dice.

use std::collections::BTreeMap;

use crate::error::{Effect, Error, ErrorKind, Retry};
use crate::operation::Operation;

/// What is to go wrong, and when. Calls are counted per operation, from 1, from the moment that the plan is given.
///
/// ```
/// use hypervisor_core::memory::{FaultPlan, Memory};
/// use hypervisor_core::{Compute as _, ErrorKind, Operation, model::VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let plan = FaultPlan::new().lose_answer(Operation::CreateVm, 1, ErrorKind::Timeout);
/// let memory = Memory::builder().faults(plan).build();
/// let error = memory.create_vm(&VmSpec::new("web-1")).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// // The guest is there all the same: the answer was lost, not the call.
/// assert_eq!(memory.list_vms(&Default::default(), &Default::default()).await?.items.len(), 1);
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    rules: Vec<Rule>,
    dice: Vec<(u32, ErrorKind)>,
}

#[derive(Debug, Clone)]
struct Rule {
    operation: Operation,
    nth: u64,
    fault: Fault,
}

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It fails before it has an effect.
    Before(ErrorKind),
    /// It has its effect, and the answer is lost.
    After(ErrorKind),
    /// Its task fails half way.
    FailTask(String),
    /// Its task ends well but the server has forgotten it.
    ForgetTask,
}

impl FaultPlan {
    /// Nothing goes wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rule(mut self, operation: Operation, nth: u64, fault: Fault) -> Self {
        self.rules.push(Rule { operation, nth, fault });
        self
    }

    /// The `nth` call of the operation fails with an error of this kind and has no effect.
    #[must_use]
    pub fn fail(self, operation: Operation, nth: u64, kind: ErrorKind) -> Self {
        self.rule(operation, nth, Fault::Before(kind))
    }

    /// The `nth` call of the operation has its effect, but the caller gets an error of this kind.
    #[must_use]
    pub fn lose_answer(self, operation: Operation, nth: u64, kind: ErrorKind) -> Self {
        self.rule(operation, nth, Fault::After(kind))
    }

    /// The `nth` call of the operation starts a task that fails half way for this reason and leaves nothing behind.
    #[must_use]
    pub fn fail_task(self, operation: Operation, nth: u64, reason: impl Into<String>) -> Self {
        self.rule(operation, nth, Fault::FailTask(reason.into()))
    }

    /// The `nth` call of the operation starts a task that ends well, but is then
    /// [`Forgotten`](crate::model::TaskState::Forgotten).
    #[must_use]
    pub fn forget_task(self, operation: Operation, nth: u64) -> Self {
        self.rule(operation, nth, Fault::ForgetTask)
    }

    /// Each call fails with an error of this kind so many times in a thousand, before or after its effect by the toss of a coin. The dice are
    /// those of the builder's seed.
    #[must_use]
    pub fn at_random(mut self, per_mille: u32, kind: ErrorKind) -> Self {
        self.dice.push((per_mille, kind));
        self
    }
}

/// The plans in force and the calls counted so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    dice: Vec<(u32, ErrorKind)>,
    calls: BTreeMap<Operation, u64>,
}

impl Faults {
    pub(super) fn add(&mut self, plan: FaultPlan) {
        let counted = |rule: Rule| Rule {
            nth: rule.nth.saturating_add(self.calls.get(&rule.operation).copied().unwrap_or(0)),
            ..rule
        };
        let rules: Vec<Rule> = plan.rules.into_iter().map(counted).collect();
        self.rules.extend(rules);
        self.dice.extend(plan.dice);
    }

    /// What goes wrong with the call that begins now.
    pub(super) fn next(&mut self, operation: Operation, rng: &mut fastrand::Rng) -> Option<Fault> {
        let calls = self.calls.entry(operation).or_default();
        *calls += 1;
        let nth = *calls;
        let scripted = self.rules.iter().position(|rule| rule.operation == operation && rule.nth == nth);
        if let Some(index) = scripted {
            return Some(self.rules.remove(index).fault);
        }
        let (_, kind) = self.dice.iter().find(|(per_mille, _)| rng.u32(0..1000) < *per_mille)?;
        Some(if rng.bool() { Fault::Before(*kind) } else { Fault::After(*kind) })
    }
}

/// The error of a call that had no effect. Its kind alone says what the caller can know.
pub(super) fn before(kind: ErrorKind) -> Error {
    Error::new(kind, "injected fault")
}

/// The error of a call whose answer is lost.
pub(super) fn after(kind: ErrorKind) -> Error {
    before(kind).with_retry(Retry::IfIdempotent).with_effect(Effect::Unknown)
}
