//! A policy around a backend.

use std::fmt;
use std::sync::Arc;

use super::attempt::Sending;
use super::call::Target;
use super::{Attempt, Call, Policy, token};
use crate::error::Result;
use crate::model::{Feature, Started, VmId};
use crate::traits::Hypervisor;

/// A backend with a [`Policy`] around every call.
///
/// Before the policy is asked, a call is checked against the capabilities, so that what the backend cannot do costs no trip. After it, an error
/// names the operation, the object and the backend, as far as these have not been named below.
pub struct Layered<P> {
    backend: Arc<dyn Hypervisor>,
    policy: P,
}

/// How the outcome of a call can be told afterwards.
pub(super) enum Recover<T> {
    /// It cannot.
    No,
    /// It deletes: what is gone is deleted.
    Gone(fn() -> T),
    /// It makes a guest that carries the call's token.
    Token(fn(Started<VmId>) -> T),
}

impl<P: Policy> Layered<P> {
    /// Puts the policy around the backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Hypervisor>, policy: P) -> Self {
        Self { backend, policy }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// What is wrapped.
    pub(super) fn wrapped(&self) -> &dyn Hypervisor {
        &*self.backend
    }

    /// Every call of every trait goes through here.
    pub(super) async fn call<'a, T: Send + 'static>(
        &'a self,
        call: Call<'a>,
        recover: Recover<T>,
        send: impl Fn() -> Sending<'a, T> + Send + Sync,
    ) -> Result<T> {
        let backend = self.wrapped();
        let call = call.on(backend.info());
        if let Err(error) = call.check(backend.capabilities()) {
            return Err(call.explain(error));
        }
        let sending = || {
            call.count_attempt();
            send()
        };
        let (gone, made) = match recover {
            Recover::No => (None, None),
            Recover::Gone(gone) => (Some(gone), None),
            Recover::Token(made) => (None, Some(made)),
        };
        let marked = call.client_token().filter(|_| backend.capabilities().has(Feature::ClientToken));
        let mark = marked.zip(made);
        let starts = call.starts();
        let finding = || -> Sending<'_, Option<T>> {
            Box::pin(async move {
                let Some((token, made)) = mark else { return Ok(None) };
                Ok(token::find(backend, token, starts).await?.map(made))
            })
        };
        let asking = || -> Sending<'_, Option<String>> {
            let vm = VmId::from(call.id().unwrap_or_default());
            let learned = call.learned();
            Box::pin(async move {
                let uid = backend.get_vm(&vm).await?.uid;
                if let (Some(learned), Some(uid)) = (learned, &uid) {
                    // What was learnt first stays.
                    let _ = learned.set(uid.clone());
                }
                Ok(uid)
            })
        };
        let attempt = Attempt::new(&sending).deletes(gone);
        let attempt = if call.target() == Target::Sure { attempt } else { attempt.identified(Some(&asking)) };
        let attempt = if mark.is_some() { attempt.findable(Some(&finding)) } else { attempt };
        self.policy.run(&call, attempt).await.map_err(|error| call.explain(error))
    }
}

impl<P: Policy> fmt::Debug for Layered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layered").field("backend", self.backend.info()).field("policy", &self.policy).finish()
    }
}
