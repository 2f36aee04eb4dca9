//! The traits of which the gateway has little or nothing.

use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::model::{EventQuery, EventStream, TaskId, TaskInfo};
use hypervisor_core::{
    Backups, Batch, Error, Events, Guest, Metrics, Network, Operation as O, Result, Storage, Tasks,
};

use super::VirtualizationMcp;

impl Storage for VirtualizationMcp {}
impl Network for VirtualizationMcp {}
impl Backups for VirtualizationMcp {}
impl Metrics for VirtualizationMcp {}
impl Guest for VirtualizationMcp {}
impl Batch for VirtualizationMcp {}

#[async_trait]
impl Tasks for VirtualizationMcp {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        let _ = hold;
        let reason = "the gateway has no tasks: a call has ended when it answers";
        Err(Error::unsupported(O::GetTask, reason).with_target(TaskId::NOUN, task))
    }
}

#[async_trait]
impl Events for VirtualizationMcp {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.events.watch(query).await
    }
}
