//! Batches: power verbs for many guests go as one call of the daemon's, after one look at the states of all.

use async_trait::async_trait;
use hypervisor_core::model::{BatchLimits, BatchOp, BatchOutput, BulkKey, PowerAction, Started, VmId};
use hypervisor_core::traits::Batch;
use hypervisor_core::{Error, ErrorKind, Operation as O, Result};

use super::wire::{BatchResult, Domain};
use super::{HyperSdk, compute, error, names, of_vm};

/// How many go as one call: the daemon works on all at once, and cuts the connection after 30 s.
const MOST: usize = 32;

#[async_trait]
impl Batch for HyperSdk {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        let BatchOp::PowerVm { vm, action } = op else { return None };
        // What is all digits might be another machine to `virsh`, and a UUID is in no list.
        let plain =
            names::check("vm", vm.as_str()).is_ok() && !vm.as_str().bytes().all(|byte| byte.is_ascii_digit());
        let sent = plain
            && uuid::Uuid::try_parse(vm.as_str()).is_err()
            && self.require(op.operation(), &op.needs()).is_ok();
        sent.then(|| BulkKey::new(action.operation().as_str(), MOST))
    }

    /// Each call is a `virsh` of its own on the daemon's host, which has 30 s before the daemon cuts the connection.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::new(4)
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        let mut asked: Vec<(&VmId, &PowerAction)> = Vec::with_capacity(ops.len());
        for op in ops {
            match op {
                BatchOp::PowerVm { vm, action } => asked.push((vm, action)),
                other => {
                    let why = format!("hypervisord has no call for many of {}", other.operation());
                    return Err(Error::unsupported(O::SubmitBatch, why));
                }
            }
        }
        let Some((_, action)) = asked.first().copied() else { return Ok(Vec::new()) };
        let listed = self.api.domains().await?;
        let refusals: Vec<Option<Error>> =
            asked.iter().map(|(vm, action)| refusal(&listed, vm, action)).collect();
        let sent: Vec<&str> = asked
            .iter()
            .zip(&refusals)
            .filter(|(_, refused)| refused.is_none())
            .map(|((vm, _), _)| vm.as_str())
            .collect();
        let mut results =
            if sent.is_empty() { None } else { Some(self.all(action, &sent).await?.results.into_iter()) };
        let answers = asked.iter().zip(refusals).map(|((vm, _), refused)| match refused {
            Some(error) => Err(error),
            None => outcome(vm, results.as_mut().and_then(Iterator::next)),
        });
        Ok(answers.collect())
    }
}

impl HyperSdk {
    async fn all(&self, action: &PowerAction, domains: &[&str]) -> Result<BatchResult> {
        match action {
            PowerAction::Start => self.api.batch_start(domains, false).await,
            PowerAction::Shutdown(_) => self.api.batch_stop(domains, false).await,
            PowerAction::PowerOff => self.api.batch_stop(domains, true).await,
            PowerAction::Reboot => self.api.batch_reboot(domains, false).await,
            PowerAction::Reset => self.api.batch_reboot(domains, true).await,
            PowerAction::Pause => self.api.batch_pause(domains).await,
            PowerAction::Resume => self.api.batch_resume(domains).await,
            other => Err(Error::unsupported(other.operation(), "hypervisord has no call for it")),
        }
    }
}

/// Why a guest is left out of the call, if it is.
fn refusal(listed: &[Domain], vm: &VmId, action: &PowerAction) -> Option<Error> {
    match listed.iter().find(|domain| domain.name == vm.as_str()) {
        None => Some(vm.not_found()),
        Some(domain) => compute::may(domain, action).map_err(of_vm(vm)).err(),
    }
}

/// The results come in the order asked; one about another machine is none.
fn outcome(vm: &VmId, item: Option<super::wire::BatchItemResult>) -> Result<Started<BatchOutput>> {
    match item.filter(|item| item.domain == vm.as_str()) {
        Some(item) if item.success => Ok(Started::done(BatchOutput::Nothing)),
        Some(item) => Err(error::of_item(&item.error, &vec![(VmId::NOUN, vm.to_string())])),
        None => {
            let why = "the daemon's answer says nothing of this machine";
            Err(Error::new(ErrorKind::Protocol, why).with_target(VmId::NOUN, vm))
        }
    }
}
