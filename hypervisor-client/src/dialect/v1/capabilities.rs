//! What the documented API can do.

use hypervisor_core::Operation as O;
use hypervisor_core::model::{Capabilities, Feature as F};

use super::NOT_DOCUMENTED;

/// What can be made of the documented calls. An extended gateway says itself what it can do.
pub(crate) fn documented() -> Capabilities {
    let none = Capabilities::new().unsupported(O::ALL.iter().copied(), NOT_DOCUMENTED);
    let features =
        none.unsupported(F::ALL.iter().copied(), "the gateway's documented API has no place for it");
    features
        .native([
            O::ListVms,
            O::GetVm,
            O::CreateVm,
            O::DeployTemplate,
            O::CreateSnapshot,
            O::ListSnapshots,
            O::ListNetworks,
            O::CreateNetwork,
            O::ListPools,
            O::CreatePool,
            O::ListBackups,
            O::CreateBackup,
            O::GetTask,
            O::ListTasks,
            O::GetTaskLog,
            O::CancelTask,
            O::GetVmMetrics,
            O::GetMetricsHistory,
            O::ListAddresses,
        ])
        .emulated(
            [O::StartVm, O::ShutdownVm, O::PowerOffVm, O::RebootVm, O::UpdateVm],
            "one more call, which reads the machine's state first",
        )
        .emulated([O::RevertSnapshot], "one more call, which looks up the gateway's id of the snapshot")
        .emulated([O::RestoreBackup], "one more call, which looks up the machine that the backup was made of")
        .emulated([O::DeleteVm], "two more calls, which look for what must not be deleted")
        .emulated(
            [O::GetNetwork, O::GetPool, O::GetSnapshot],
            "the whole list is read, and one taken out of it",
        )
        .emulated([O::SubmitBatch], "one call for each item")
        .native([
            F::Tags,
            F::ShutdownTimeout,
            F::FullClone,
            F::NetworkDhcp,
            F::NetworkVlan,
            F::MemorySnapshot,
            F::DiskOnlySnapshot,
            F::CompressedBackup,
            F::TaskProgress,
        ])
        .unsupported([O::Watch], "the gateway tells of events by webhooks only; see `V1::create_webhook`")
        .unsupported(
            [O::CloneVm, O::CloneVms],
            "the gateway makes machines from templates only; see `deploy_template`",
        )
}
