//! The power verbs, for one guest or many.

use std::sync::Arc;

use futures::StreamExt as _;
use hypervisor::model::Shutdown;
use hypervisor::{Hypervisor, PowerAction, Vm, VmState};

use super::Ui;
use super::cli::{self, Guests};
use super::exit::{self, Stop};
use super::guests::{find, report};
use super::progress::{Done, Waiter};

/// How many guests are worked on at a time.
const AT_A_TIME: usize = 8;

macro_rules! verbs {
    ($($verb:ident $action:ident $past:literal;)*) => { $(
        pub(crate) async fn $verb(
            hv: &Arc<dyn Hypervisor>,
            ui: &mut Ui,
            waiter: &Waiter,
            args: &Guests,
        ) -> Result<u8, Stop> {
            power(hv, ui, waiter, &args.vms, PowerAction::$action, $past).await
        }
    )* };
}

verbs! {
    start Start "started";
    power_off PowerOff "powered off";
    reboot Reboot "asked to restart";
    reset Reset "reset";
    pause Pause "paused";
    resume Resume "resumed";
    hibernate Hibernate "hibernated";
}

pub(crate) async fn shutdown(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &cli::Shutdown,
) -> Result<u8, Stop> {
    let mut how = Shutdown::new();
    how.power_off_after = args.power_off_after;
    let past = if waiter.waits() { "shut down" } else { "asked to power off" };
    power(hv, ui, waiter, &args.vms, PowerAction::Shutdown(how), past).await
}

/// Every guest has its outcome; the exit code is that of the first that went wrong.
async fn power(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    names: &[String],
    action: PowerAction,
    past: &str,
) -> Result<u8, Stop> {
    let mut vms = Vec::new();
    for name in names {
        // Before anything is begun: a name that is wrong is found out first.
        vms.push((name.as_str(), find(hv, name).await?));
    }
    let work = vms.into_iter().map(|(name, vm)| async move { (name, one(waiter, name, &vm, action).await) });
    let mut outcomes = futures::stream::iter(work).buffered(AT_A_TIME);
    let mut code = exit::OK;
    while let Some((name, outcome)) = outcomes.next().await {
        let this = match outcome {
            Ok(done) => report(ui, done, past, name, |()| None),
            Err(Stop::Error(error)) => ui.failed(&error),
            Err(stop) => return Err(stop),
        };
        code = if code == exit::OK { this } else { code };
    }
    Ok(code)
}

async fn one(waiter: &Waiter, name: &str, vm: &Vm, action: PowerAction) -> Result<Done<()>, Stop> {
    let label = format!("{} {name}", action.operation());
    let task = waiter.call(&label, vm.power(action)).await?;
    let done = waiter.finish(&label, task).await?;
    // Most backends have done with a shutdown once the guest was asked.
    if matches!(action, PowerAction::Shutdown(_)) && waiter.waits() {
        let bar = waiter.spinner(&format!("shut down {name}"));
        let stopped = vm.wait_for(waiter.deadline(), |info| info.state == VmState::Stopped).await;
        bar.finish_and_clear();
        match stopped {
            // An ephemeral guest is gone once it is off.
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(done)
}
