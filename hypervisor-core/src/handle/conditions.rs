//! Waiting for what a guest does.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::turnstile::backoff;
use super::vm::Vm;
use super::wait::{Patience, WaitOptions};
use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::model::{GuestAddress, VmInfo, VmState};
use crate::operation::Operation;

/// What one look has shown.
enum Look<T> {
    Found(T),
    NotYet(String),
}

/// One wait: the operation that looks, what is waited for (in words), and for how long.
struct Until<'a> {
    operation: Operation,
    what: &'a str,
    deadline: Duration,
    /// Whether a guest that is still booting is waited for.
    early: bool,
}

impl Vm {
    /// Waits until it runs.
    ///
    /// # Errors
    /// `Timeout` with the state last seen; `NotFound` if it is gone.
    pub async fn wait_until_running(&self, deadline: Duration) -> Result<VmInfo> {
        self.wait_for_state(&VmState::Running, deadline).await
    }

    /// Waits until it is off.
    ///
    /// # Errors
    /// `Timeout` with the state last seen; `NotFound` if it is gone, as an ephemeral guest is when it powers off.
    pub async fn wait_until_stopped(&self, deadline: Duration) -> Result<VmInfo> {
        self.wait_for_state(&VmState::Stopped, deadline).await
    }

    /// Waits until it is in this state.
    ///
    /// # Errors
    /// `Timeout` with the state last seen; `NotFound` if it is gone.
    pub async fn wait_for_state(&self, state: &VmState, deadline: Duration) -> Result<VmInfo> {
        self.wait_for_info(&format!("for it to be {state}"), deadline, |vm| vm.state == *state).await
    }

    /// Waits until the guest is as `condition` wants it.
    ///
    /// # Errors
    /// `Timeout` with the state last seen; `NotFound` if it is gone.
    pub async fn wait_for(
        &self,
        deadline: Duration,
        condition: impl FnMut(&VmInfo) -> bool + Send,
    ) -> Result<VmInfo> {
        self.wait_for_info("for the condition", deadline, condition).await
    }

    async fn wait_for_info(
        &self,
        what: &str,
        deadline: Duration,
        mut condition: impl FnMut(&VmInfo) -> bool + Send,
    ) -> Result<VmInfo> {
        let until = Until { operation: Operation::GetVm, what, deadline, early: false };
        let judge = move |vm: VmInfo| {
            if condition(&vm) {
                return Look::Found(vm);
            }
            let lock = vm.lock.map(|lock| format!(" and locked ({lock})")).unwrap_or_default();
            Look::NotYet(format!("it was last seen {}{lock}", vm.state))
        };
        self.keep_looking(&until, || self.info().boxed(), judge).await
    }

    /// Waits until it has an address that `wanted` takes, [`GuestAddress::is_reachable`] for example, and gives the first.
    ///
    /// A guest that does not run yet, or whose agent does not answer yet, is waited for.
    ///
    /// # Errors
    /// `Timeout` with what was last seen; `NotFound` if the guest is gone; `Unsupported`.
    pub async fn wait_for_address(
        &self,
        deadline: Duration,
        mut wanted: impl FnMut(&GuestAddress) -> bool + Send,
    ) -> Result<GuestAddress> {
        let until =
            Until { operation: Operation::ListAddresses, what: "for an address", deadline, early: true };
        let judge = move |addresses: Vec<GuestAddress>| {
            let all: Vec<String> = addresses.iter().map(|each| each.address.to_string()).collect();
            match addresses.into_iter().find(|each| wanted(each)) {
                Some(found) => Look::Found(found),
                None => Look::NotYet(format!("it was last seen with the addresses [{}]", all.join(", "))),
            }
        };
        self.keep_looking(&until, || self.addresses().boxed(), judge).await
    }

    /// Waits until the agent inside it answers.
    ///
    /// # Errors
    /// `Timeout` with what was last seen; `NotFound` if the guest is gone; `Unsupported`.
    pub async fn wait_for_agent(&self, deadline: Duration) -> Result<()> {
        let until = Until { operation: Operation::PingAgent, what: "for the agent", deadline, early: true };
        let ping = || async { self.agent().ping().await }.boxed();
        self.keep_looking(&until, ping, Look::Found).await
    }

    async fn keep_looking<'a, R, T>(
        &'a self,
        until: &Until<'_>,
        look: impl Fn() -> BoxFuture<'a, Result<R>> + Send + Sync,
        mut judge: impl FnMut(R) -> Look<T> + Send,
    ) -> Result<T> {
        let mut seen = "no answer came".to_owned();
        let mut patience = Patience::default();
        let looks = async {
            let mut pauses = backoff(&WaitOptions::default());
            loop {
                match look().await.map(&mut judge) {
                    Ok(Look::Found(found)) => return Ok(found),
                    Ok(Look::NotYet(what)) => {
                        patience.restore();
                        seen = what;
                    }
                    Err(error) if until.early && is_early(&error) => seen = format!("the last look: {error}"),
                    Err(error) if patience.forgives(&error) => seen = format!("the last look: {error}"),
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        };
        let ended = tokio::time::timeout(until.deadline, Box::pin(looks)).await;
        ended.unwrap_or_else(|_| {
            let message = format!("waited {:?} {}; {seen}", until.deadline, until.what);
            let error = Error::new(ErrorKind::Timeout, message).with_retry(Retry::Never);
            Err(self.link.name(until.operation, error.with_effect(Effect::None)))
        })
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The guest is still booting.
fn is_early(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AgentUnavailable | ErrorKind::InvalidState)
}
