use std::time::Duration;

use crate::conformance::case::Case;
use crate::conformance::check::{Check, Stop, check, check_eq, names, refused, refused_unknown};
use crate::conformance::context::Context;
use crate::error::ErrorKind;
use crate::model::{ByteSize, DiskSpec, Feature, PowerAction, Shutdown, VmId, VmState};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    use Operation::{
        CreateVm, HibernateVm, PauseVm, PowerOffVm, RebootVm, ResetVm, ResumeVm, ShutdownVm, StartVm,
    };
    vec![
        case!("power", start_runs, [CreateVm, StartVm]),
        case!("power", power_off_stops, [CreateVm, StartVm, PowerOffVm]),
        case!("power", stopped_guest_starts_again, [CreateVm, StartVm, PowerOffVm]),
        case!("power", pause_freezes_and_resume_goes_on, [CreateVm, StartVm, PauseVm, ResumeVm]),
        case!("power", paused_guest_can_be_powered_off, [CreateVm, StartVm, PauseVm, PowerOffVm]),
        case!("power", reset_keeps_it_running, [CreateVm, StartVm, ResetVm]),
        case!("power", reboot_keeps_it_running, [CreateVm, StartVm, RebootVm]),
        case!("power", shutdown_does_not_wait_for_the_guest, [CreateVm, StartVm, ShutdownVm]),
        case!(
            "power",
            shutdown_cuts_the_power_after_its_time,
            [CreateVm, StartVm, ShutdownVm, Feature::ShutdownTimeout]
        ),
        case!("power", hibernated_guest_wakes, [CreateVm, StartVm, HibernateVm]),
        case!("power", uptime_counts_only_while_it_runs, [CreateVm, StartVm]),
        case!("power", verbs_are_refused_while_stopped, [CreateVm]),
        case!("power", verbs_are_refused_while_running, [CreateVm, StartVm]),
        case!("power", verbs_are_refused_while_paused, [CreateVm, StartVm, PauseVm]),
        case!("power", verbs_are_refused_while_hibernated, [CreateVm, StartVm, HibernateVm]),
        case!("power", unknown_guest_is_not_found, []),
    ]
}

async fn start_runs(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    cx.power(&vm, PowerAction::Start).await?;
    cx.wait_state(&vm, &VmState::Running).await
}

async fn power_off_stops(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::PowerOff).await?;
    cx.wait_state(&vm, &VmState::Stopped).await
}

async fn stopped_guest_starts_again(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power_off(&vm).await?;
    cx.start(&vm).await
}

async fn pause_freezes_and_resume_goes_on(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::Pause).await?;
    cx.wait_state(&vm, &VmState::Paused).await?;
    cx.power(&vm, PowerAction::Resume).await?;
    cx.wait_state(&vm, &VmState::Running).await
}

async fn paused_guest_can_be_powered_off(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::Pause).await?;
    cx.wait_state(&vm, &VmState::Paused).await?;
    cx.power_off(&vm).await
}

async fn reset_keeps_it_running(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::Reset).await?;
    cx.wait_state(&vm, &VmState::Running).await
}

async fn reboot_keeps_it_running(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    let id = cx.get(&vm).await?.id;
    match cx.power(&vm, PowerAction::Reboot).await {
        // Without an operating system nobody heeds it, and some backends wait for that.
        Err(error) if matches!(error.kind(), ErrorKind::TaskFailed | ErrorKind::Timeout) => {
            check_eq!("the state of a guest that does not heed it", cx.state(&vm).await?, VmState::Running);
            return Err(Stop::skipped(format!(
                "no system in the guest that could be asked to reboot: {error}"
            )));
        }
        other => other?,
    }
    cx.wait_state(&vm, &VmState::Running).await?;
    check_eq!("the id after a reboot", cx.get(&vm).await?.id, id);
    Ok(())
}

async fn shutdown_does_not_wait_for_the_guest(cx: &Context) -> Check {
    // Without an operating system nobody heeds it: only that the call returns and the guest is not cut off in between.
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::Shutdown(Shutdown::new())).await?;
    let state = cx.state(&vm).await?;
    let fits = matches!(state, VmState::Running | VmState::Stopping | VmState::Stopped);
    check!(fits, "the guest is {state} after it was asked to shut down");
    Ok(())
}

async fn shutdown_cuts_the_power_after_its_time(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    let shutdown = Shutdown::new().power_off_after(Duration::from_secs(1));
    cx.power(&vm, PowerAction::Shutdown(shutdown)).await?;
    cx.wait_state(&vm, &VmState::Stopped).await
}

/// A hibernated guest, with a disk where there is a pool for it: some backends keep the memory beside the disks.
async fn hibernated(cx: &Context) -> Check<VmId> {
    let mut spec = cx.spec("a");
    if cx.has(Operation::CreateVolume) {
        match cx.pool().await {
            Ok(pool) => spec = spec.disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool(pool)),
            Err(Stop::Skipped(_)) => {}
            Err(failed) => return Err(failed),
        }
    }
    let vm = cx.create(&spec).await?;
    cx.start(&vm).await?;
    cx.power(&vm, PowerAction::Hibernate).await?;
    cx.wait_state(&vm, &VmState::Hibernated).await?;
    Ok(vm)
}

async fn hibernated_guest_wakes(cx: &Context) -> Check {
    let vm = hibernated(cx).await?;
    cx.start(&vm).await?;
    if cx.has(Operation::PowerOffVm) {
        cx.power_off(&vm).await?;
    }
    Ok(())
}

async fn uptime_counts_only_while_it_runs(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let stopped = cx.get(&vm).await?.uptime;
    check!(stopped.is_none_or(|uptime| uptime.is_zero()), "a stopped guest has been up for {stopped:?}");
    cx.start(&vm).await?;
    let running = cx.get(&vm).await?.uptime;
    let sane = running.is_none_or(|uptime| uptime < Duration::from_secs(3600));
    check!(sane, "a guest that was just started has been up for {running:?}");
    Ok(())
}

fn verbs() -> [PowerAction; 8] {
    [
        PowerAction::Start,
        PowerAction::Shutdown(Shutdown::new()),
        PowerAction::PowerOff,
        PowerAction::Reboot,
        PowerAction::Reset,
        PowerAction::Pause,
        PowerAction::Resume,
        PowerAction::Hibernate,
    ]
}

/// Every verb that makes no sense in this state is refused, and changes nothing.
async fn all_refused(cx: &Context, vm: &VmId, state: &VmState) -> Check {
    for verb in verbs() {
        let operation = verb.operation();
        if verb.check_state(state).is_ok() || !cx.has(operation) {
            continue;
        }
        let what = format!("{operation} of a {state} guest");
        let error = refused(&what, cx.power(vm, verb).await, ErrorKind::InvalidState)?;
        names(&what, &error, VmId::NOUN, vm)?;
        check_eq!(format!("the state after the refused {operation}"), cx.state(vm).await?, *state);
    }
    Ok(())
}

async fn verbs_are_refused_while_stopped(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    all_refused(cx, &vm, &VmState::Stopped).await
}

async fn verbs_are_refused_while_running(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    all_refused(cx, &vm, &VmState::Running).await
}

async fn verbs_are_refused_while_paused(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::Pause).await?;
    cx.wait_state(&vm, &VmState::Paused).await?;
    all_refused(cx, &vm, &VmState::Paused).await
}

async fn verbs_are_refused_while_hibernated(cx: &Context) -> Check {
    let vm = hibernated(cx).await?;
    all_refused(cx, &vm, &VmState::Hibernated).await
}

async fn unknown_guest_is_not_found(cx: &Context) -> Check {
    let ghost = VmId::from(cx.name("ghost"));
    for verb in verbs() {
        let operation = verb.operation();
        if cx.has(operation) {
            let what = format!("{operation} of a guest that is not there");
            refused_unknown(&what, cx.power(&ghost, verb).await, VmId::NOUN, &ghost)?;
        }
    }
    Ok(())
}
