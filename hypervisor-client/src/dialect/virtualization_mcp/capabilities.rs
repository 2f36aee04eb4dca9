//! What each of the two shapes can do.

use hypervisor_core::Operation as O;
use hypervisor_core::model::{Capabilities, Feature as F};

use super::Shape;

/// What every version of the server that was looked at answers to these calls.
const BROKEN: &str = "the server has a route for it, which answers 500 or an error in every version known (`object has no attribute`)";

pub(crate) fn of(shape: Shape) -> Capabilities {
    let some = Capabilities::new()
        .unsupported(O::ALL.iter().copied(), "the gateway has no such call")
        .unsupported(F::ALL.iter().copied(), "the gateway has no place for it")
        .unsupported([O::GetTask], "the gateway has no tasks: a call has ended when it answers")
        .unsupported([O::PowerOffVm, O::RebootVm, O::ResetVm], "the gateway can only ask a machine to stop")
        .native([O::ListVms, O::CreateVm, O::ScreenshotVm, O::GetConsole])
        .emulated([O::GetVm], "the whole list is read, and one taken out of it")
        .emulated([O::StartVm, O::ShutdownVm, O::DeleteVm], "one more call, which reads the list first")
        .emulated([O::SubmitBatch], "one call for each item")
        .emulated([O::Watch], "the list is read again and again, every 1 to 10 s");
    let snapshots = [O::CreateSnapshot, O::ListSnapshots, O::RevertSnapshot, O::DeleteSnapshot];
    match shape {
        Shape::Documented => some
            .emulated([O::PauseVm, O::ResumeVm], "one more call, which reads the list first")
            .native(snapshots)
            .emulated([O::GetSnapshot], "the whole list is read, and one taken out of it"),
        Shape::Served => {
            some.unsupported([O::PauseVm, O::ResumeVm, O::GetSnapshot], BROKEN).unsupported(snapshots, BROKEN)
        }
    }
}
