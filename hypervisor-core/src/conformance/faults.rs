//! The table of [`Semantics`] as cases for a driver that speaks HTTP.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::proxy::FaultProxy;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::layer::{Attempt, Call, Fault, Layered, Policy, Repeated, RetryPolicy, Semantics};
use crate::model::{DeleteVm, Feature, PageRequest, PowerAction, VmChange, VmId, VmQuery, VmSpec};
use crate::operation::{Operation, OperationClass};
use crate::traits::Hypervisor;

/// One cell of the table, to be run against a driver behind a [`FaultProxy`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FaultCase {
    /// What the table says.
    pub expected: Semantics,
    /// Whether the call is the delete of a guest, which has rows of its own.
    pub deletes: bool,
}

/// The cells that a proxy can bring about: all but those that only the server itself can.
#[must_use]
pub fn fault_cases() -> Vec<FaultCase> {
    let by_server = [Fault::SessionExpired, Fault::HostOffline, Fault::TaskFailed];
    let classes = Semantics::table().map(|expected| FaultCase { expected, deletes: false });
    let of_delete = |fault| FaultCase { expected: Semantics::of_delete(fault), deletes: true };
    let all = classes.chain(Fault::ALL.into_iter().map(of_delete));
    all.filter(|case| !by_server.contains(&case.expected.fault)).collect()
}

impl fmt::Display for FaultCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.deletes {
            true => write!(f, "DeleteVm × {:?}", self.expected.fault),
            false => write!(f, "{:?} × {:?}", self.expected.class, self.expected.fault),
        }
    }
}

impl FaultCase {
    /// Runs the cell: one call of its class through the proxy, whose first request that reads (or writes) is harmed. `backend` is the bare
    /// driver, connected through the proxy, with a deadline of a second or so for each call; `scratch` is the name of a guest that may be made.
    ///
    /// # Errors
    /// What differs from the table, as a sentence.
    pub async fn run(
        &self,
        backend: &Arc<dyn Hypervisor>,
        proxy: &FaultProxy,
        scratch: &str,
    ) -> std::result::Result<(), String> {
        let set_up = |error: Error| format!("the case could not be set up: {error}");
        let spec = marked(backend, scratch);
        let class = self.expected.class;
        let vm = match class {
            OperationClass::Create => None,
            _ => Some(
                backend.vms().create(&spec).await.map_err(set_up)?.wait().await.map_err(set_up)?.id().clone(),
            ),
        };
        let writes = class != OperationClass::Read;
        // Bare: the first error, as the driver gives it.
        self.begin(proxy, writes).await;
        let outcome = self.call(backend.as_ref(), vm.as_ref(), &spec).await;
        end(proxy).await;
        let verdict = match outcome {
            Ok(()) => Err("the call succeeded although it was harmed".to_owned()),
            Err(error) => self.judge(&error),
        };
        // Whatever the call may have done is taken away, and the same again under retries.
        let cleaned = self.clean(backend, scratch).await.map_err(set_up);
        verdict.and(cleaned)?;
        self.repeat(backend, proxy, scratch).await
    }

    async fn repeat(
        &self,
        backend: &Arc<dyn Hypervisor>,
        proxy: &FaultProxy,
        scratch: &str,
    ) -> std::result::Result<(), String> {
        let set_up = |error: Error| format!("the case could not be set up: {error}");
        let name = format!("{scratch}-again");
        let spec = marked(backend, &name);
        let class = self.expected.class;
        let vm = match class {
            OperationClass::Create => None,
            _ => Some(
                backend.vms().create(&spec).await.map_err(set_up)?.wait().await.map_err(set_up)?.id().clone(),
            ),
        };
        let next = format!("{name}-next");
        let reuse =
            Reuse { backend: Arc::clone(backend), spec: marked(backend, &next), made: Arc::default() };
        let reused = Arc::clone(&reuse.made);
        let known = match &vm {
            Some(vm) => backend.get_vm(vm).await.map_err(set_up)?.uid.is_some(),
            None => true,
        };
        let below: Arc<dyn Hypervisor> = if self.deletes {
            Arc::new(Layered::new(Arc::clone(backend), reuse))
        } else {
            Arc::clone(backend)
        };
        let layered = Layered::new(below, RetryPolicy::new().max_attempts(5));
        self.begin(proxy, class != OperationClass::Read).await;
        let back = async {
            if self.expected.fault == Fault::Refused {
                tokio::time::sleep(Duration::from_millis(300)).await;
                proxy.refuse(false).await;
            }
        };
        let (outcome, ()) = futures::join!(self.call(&layered, vm.as_ref(), &spec), back);
        end(proxy).await;
        let verdict = match (&outcome, self.expected.repeated) {
            (Ok(()), Repeated::Yes | Repeated::SameGuest) | (Err(_), Repeated::No) => Ok(()),
            (Err(_), Repeated::SameGuest) if !known => Ok(()),
            (Ok(()), Repeated::AfterLook) if spec.client_token.is_some() => Ok(()),
            (Err(_), Repeated::AfterLook) if spec.client_token.is_none() => Ok(()),
            (Ok(()), _) => Err("it was repeated, which the table forbids".to_owned()),
            (Err(error), _) => Err(format!("it was not repeated to success: {error}")),
        };
        if self.deletes && outcome.is_ok() {
            self.gone(backend, &name).await.map_err(set_up)?;
        }
        let made = backend.vms().all(&VmQuery::all()).await.map_err(set_up)?;
        let count = |name: &str| made.items.iter().filter(|vm| vm.name == name).count();
        let (copies, spared) = (count(&name), count(&next));
        let cleaned = self.clean(backend, &name).await.map_err(set_up);
        let cleaned_too = self.clean(backend, &next).await.map_err(set_up);
        verdict.and(cleaned).and(cleaned_too)?;
        if self.deletes && outcome.is_ok() && copies > 0 {
            return Err(format!("`{name}` was deleted and is there"));
        }
        if spared == 0 && reused.load(Ordering::SeqCst) {
            return Err(format!(
                "`{next}`, which got the id of the guest that was deleted, was deleted as well"
            ));
        }
        if copies > 1 {
            return Err(format!(
                "there are {copies} guests of the name `{name}`: the create was repeated blindly"
            ));
        }
        Ok(())
    }

    async fn begin(&self, proxy: &FaultProxy, writes: bool) {
        if self.expected.fault == Fault::Refused {
            proxy.refuse(true).await;
            // The driver has to notice that the connections which it keeps are closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            proxy.arm(self.expected.fault, writes, 1);
        }
    }

    async fn call(&self, hv: &dyn Hypervisor, vm: Option<&VmId>, spec: &VmSpec) -> Result<()> {
        match (self.expected.class, vm) {
            (_, Some(vm)) if self.deletes => hv.delete_vm(vm, &DeleteVm::with_disks()).await.map(drop),
            (OperationClass::Read, _) => {
                hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.map(drop)
            }
            (OperationClass::IdempotentWrite, Some(vm)) => {
                hv.update_vm(vm, &VmChange::new().cpus(2_u32)).await.map(drop)
            }
            (OperationClass::Action, Some(vm)) => hv.power_vm(vm, &PowerAction::Start).await.map(drop),
            _ => hv.create_vm(spec).await.map(drop),
        }
    }

    fn judge(&self, error: &Error) -> std::result::Result<(), String> {
        let Semantics { fault, effect, .. } = self.expected;
        if !fault.kinds().contains(&error.kind()) {
            return Err(format!(
                "the error's kind is `{}`, which is none of {:?}: {error}",
                error.kind(),
                fault.kinds()
            ));
        }
        if error.effect() != effect {
            return Err(format!(
                "the error says {:?} of its effect where the table says {effect:?}: {error}",
                error.effect()
            ));
        }
        // The layers mend what a driver says of reads.
        let sure = effect == Effect::None;
        if !sure && error.retry() == crate::Retry::Safe {
            return Err(format!("the error says that a repetition is safe: {error}"));
        }
        Ok(())
    }

    /// Waits a while for the end of the task that may delete it.
    async fn gone(&self, backend: &Arc<dyn Hypervisor>, name: &str) -> Result<()> {
        for _ in 0..40 {
            if backend.vms().all(&VmQuery::all()).await?.items.iter().all(|vm| vm.name != name) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Deletes what there is of this name. A task that the harmed call began may still be at work, so that a refusal is not the last word.
    async fn clean(&self, backend: &Arc<dyn Hypervisor>, name: &str) -> Result<()> {
        for tries_left in (0..10).rev() {
            match self.delete(backend, name).await {
                Err(error)
                    if tries_left > 0
                        && matches!(error.kind(), ErrorKind::InvalidState | ErrorKind::Locked) =>
                {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                end => return end,
            }
        }
        Ok(())
    }

    async fn delete(&self, backend: &Arc<dyn Hypervisor>, name: &str) -> Result<()> {
        for vm in backend.vms().all(&VmQuery::all()).await?.items {
            if vm.name != name {
                continue;
            }
            let gone = match backend.delete_vm(&vm.id, &DeleteVm::with_disks().power_off(true)).await {
                Ok(started) => backend.resume(started).await,
                Err(error) => Err(error),
            };
            match gone {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Once a delete whose answer was lost has been done after all, another guest gets the id, as it may with servers that use ids again. Nothing
/// happens where nobody can choose an id.
struct Reuse {
    backend: Arc<dyn Hypervisor>,
    spec: VmSpec,
    made: Arc<AtomicBool>,
}

impl fmt::Debug for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reuse").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Policy for Reuse {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let answer = attempt.send().await;
        let chosen = self.backend.capabilities().has(Feature::RequestedId);
        if let (Operation::DeleteVm, Some(id), Err(_), true) = (call.operation(), call.id(), &answer, chosen)
        {
            let id = VmId::from(id);
            for _ in 0..40 {
                match self.backend.get_vm(&id).await {
                    Err(error) if error.is_not_found() => {
                        let spec = self.spec.clone().id(id);
                        let started = self.backend.create_vm(&spec).await?;
                        self.backend.resume(started).await?;
                        self.made.store(true, Ordering::SeqCst);
                        break;
                    }
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }
        answer
    }
}

async fn end(proxy: &FaultProxy) {
    proxy.disarm();
    proxy.refuse(false).await;
}

/// A guest of this name, with a token where the backend can keep one.
fn marked(backend: &Arc<dyn Hypervisor>, name: &str) -> VmSpec {
    let spec = VmSpec::new(name);
    if backend.capabilities().has(Feature::ClientToken) { spec.client_token(name) } else { spec }
}
