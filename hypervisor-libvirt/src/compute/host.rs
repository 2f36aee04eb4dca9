//! The one host of a connection.

use std::sync::Arc;

use hypervisor_core::model::{ByteSize, HostInfo, HostState};
use hypervisor_core::{Operation, Result};

use super::Shared;

/// The host.
pub(super) async fn read(inner: &Shared, operation: Operation) -> Result<HostInfo> {
    let own = Arc::clone(inner);
    inner
        .call(operation, move |conn| {
            let node = conn.get_node_info()?;
            let found = &own.probe.host_capabilities;
            let total = ByteSize::kib(node.memory);
            let mut host = HostInfo::new(own.host(), HostState::Online).cpus(node.cpus).memory(total);
            host.cpu_model = found.cpu_model.clone();
            host.architecture = found.architecture.clone().or_else(|| Some(node.model.clone()));
            host.version = own.probe.hypervisor_version.clone();
            // Some drivers cannot tell; that costs no more than this one value.
            host.memory_used =
                conn.get_free_memory().ok().map(|free| total.saturating_sub(ByteSize::bytes(free)));
            host.extra.insert(crate::BACKEND, "libvirt_version", own.probe.version.as_str());
            if let Some(uuid) = &found.uuid {
                host.extra.insert(crate::BACKEND, "uuid", uuid.as_str());
            }
            Ok(host)
        })
        .await
}
