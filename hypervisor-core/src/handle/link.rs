use std::fmt;
use std::sync::Arc;

use super::settle::Settle;
use super::task::Task;
use crate::error::{Error, Result};
use crate::model::{Feature, Started};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// What every handle is made of: the connection, and the object that it stands for.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) hv: Arc<dyn Hypervisor>,
    target: Option<(&'static str, Arc<str>)>,
}

impl Link {
    /// To the backend as a whole.
    pub(super) fn new(hv: &Arc<dyn Hypervisor>) -> Self {
        Self { hv: Arc::clone(hv), target: None }
    }

    /// To one object.
    pub(super) fn to(hv: &Arc<dyn Hypervisor>, noun: &'static str, id: &str) -> Self {
        Self { hv: Arc::clone(hv), target: Some((noun, id.into())) }
    }

    /// The same connection, to one object.
    pub(super) fn at(&self, noun: &'static str, id: &str) -> Self {
        Self::to(&self.hv, noun, id)
    }

    /// Refuses what the backend cannot do, before anything is sent.
    pub(super) fn check(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        let checked = self.hv.capabilities().require_all(operation, needs);
        checked.map_err(|error| self.name(operation, error))
    }

    /// Checks, calls, and says in an error what failed on what.
    pub(super) async fn call<T>(
        &self,
        operation: Operation,
        needs: &[Feature],
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.check(operation, needs)?;
        call.await.map_err(|error| self.name(operation, error))
    }

    /// As [`call`](Self::call), for what starts a task.
    pub(super) async fn start<T>(
        &self,
        operation: Operation,
        needs: &[Feature],
        call: impl Future<Output = Result<Started<T>>> + Send,
        settle: impl FnOnce(&T) -> Settle,
    ) -> Result<Task<T>> {
        let started = self.call(operation, needs, call).await?;
        let settle = settle(&started.output);
        Ok(Task::started(self.clone(), started, Some(operation), settle))
    }

    pub(super) fn name(&self, operation: Operation, error: Error) -> Error {
        self.target(error.with_operation(operation))
    }

    pub(super) fn target(&self, error: Error) -> Error {
        self.target.iter().fold(error, |error, (noun, id)| error.with_target(noun, id))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.hv.info();
        write!(f, "{} at {}", info.backend, info.endpoint)?;
        self.target.iter().try_for_each(|(noun, id)| write!(f, ", {noun} `{id}`"))
    }
}
