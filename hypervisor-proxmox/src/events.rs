//! Events: the API sends none.

use async_trait::async_trait;
use hypervisor_core::model::{EventQuery, EventStream};
use hypervisor_core::traits::Events;
use hypervisor_core::{Operation, Result};

use crate::backend::Proxmox;

#[async_trait]
impl Events for Proxmox {
    async fn watch(&self, _: &EventQuery) -> Result<EventStream> {
        Err(self.inner.refusal(Operation::Watch))
    }
}
