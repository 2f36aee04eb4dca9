//! A real guest: a kernel that starts, says so on its serial port, and follows the power button.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::conformance::case::Case;
use crate::conformance::check::{Check, Stop, check};
use crate::conformance::context::Context;
use crate::conformance::settings::Setting;
use crate::model::{
    ByteSize, DirectBoot, DiskSpec, Feature, PowerAction, RevertSnapshot, SerialSpec, Shutdown, SnapshotSpec,
    VmId, VmState,
};
use crate::operation::Operation;

/// What the test guest writes once it is up.
const READY: &str = "GUEST-READY";

/// The test guest hears the power button only a second after it is up, and misses what came before.
const ASK_AGAIN: Duration = Duration::from_secs(3);

pub(super) fn cases() -> Vec<Case> {
    use Operation::{CreateSnapshot, CreateVm, CreateVolume, RebootVm, RevertSnapshot, ShutdownVm, StartVm};
    macro_rules! boot {
        ($run:ident $(, $need:expr)*) => {
            case!(
                "boot",
                $run,
                [CreateVm, StartVm, Feature::DirectBoot, Feature::SerialLog $(, $need)*],
                [Setting::Kernel, Setting::Initrd, Setting::SerialDir]
            )
        };
    }
    vec![
        case!(
            "boot",
            guest_starts_from_a_copy_of_the_image,
            [CreateVm, StartVm, CreateVolume, Operation::GetVolume, Operation::GetVmConfig],
            [Setting::Image]
        ),
        boot!(guest_boots_and_follows_the_power_button, ShutdownVm),
        boot!(guest_that_reboots_boots_again, RebootVm),
        boot!(
            snapshot_with_memory_goes_on_where_it_was,
            CreateVolume,
            CreateSnapshot,
            RevertSnapshot,
            Feature::MemorySnapshot
        ),
    ]
}

async fn guest_starts_from_a_copy_of_the_image(cx: &Context) -> Check {
    let Some(image) = &cx.settings.image else { return Err(Stop::skipped("no image")) };
    let capacity = cx.volume_info(image).await?.capacity;
    let disk = DiskSpec::copy_of(image).in_pool(cx.pool().await?);
    let vm = cx.create(&cx.spec("image").memory(ByteSize::mib(256)).disk(disk)).await?;
    let copy = cx.disk(&vm).await?;
    check!(copy.volume.as_ref() != Some(image), "the guest has the image itself for a disk, not a copy");
    check!(
        copy.capacity.is_none_or(|copy| copy >= capacity),
        "the copy has {:?}, the image {capacity}",
        copy.capacity
    );
    cx.start(&vm).await?;
    cx.power_off(&vm).await
}

/// A guest that boots the test kernel, and the file that its serial port is written to.
async fn boot(cx: &Context, short: &str, disk: Option<DiskSpec>) -> Check<(VmId, PathBuf)> {
    let settings = &cx.settings;
    let (Some(kernel), Some(initrd), Some(dir)) = (&settings.kernel, &settings.initrd, &settings.serial_dir)
    else {
        return Err(Stop::skipped("no kernel to boot"));
    };
    let log = Path::new(dir).join(format!("{}.log", cx.name(short)));
    let direct = DirectBoot::new(kernel).initrd(initrd).cmdline("console=ttyS0 quiet panic=-1");
    let mut spec = cx.spec(short).memory(ByteSize::mib(128)).direct_boot(direct);
    spec = spec.serial(SerialSpec::new().log(log.display().to_string()));
    spec.disks.extend(disk);
    let vm = cx.create(&spec).await?;
    cx.start(&vm).await?;
    Ok((vm, log))
}

/// How often the guest has said that it is up.
fn times_ready(log: &Path) -> usize {
    // Not there until the guest has written its first line.
    std::fs::read(log).map_or(0, |text| String::from_utf8_lossy(&text).matches(READY).count())
}

async fn ready(cx: &Context, log: &Path, times: usize) -> Check {
    let what = format!("{READY} is {times} times in {}", log.display());
    cx.until(&what, || async move { Ok((times_ready(log) >= times).then_some(())) }).await
}

async fn guest_boots_and_follows_the_power_button(cx: &Context) -> Check {
    let (vm, log) = boot(cx, "boot", None).await?;
    ready(cx, &log, 1).await?;
    shut_down(cx, &vm).await?;
    remove(&log)
}

/// Presses the power button until the guest is off.
async fn shut_down(cx: &Context, vm: &VmId) -> Check {
    let deadline = Instant::now() + cx.settings.deadline;
    while Instant::now() < deadline {
        match cx.power(vm, PowerAction::Shutdown(Shutdown::new())).await {
            // It went off between the look and the button.
            Err(error) if error.kind() == crate::ErrorKind::InvalidState => {}
            other => other?,
        }
        let again = Instant::now() + ASK_AGAIN;
        while Instant::now() < again {
            if cx.state(vm).await? == VmState::Stopped {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Err(Stop::failed(format!("the guest is still on {:?} after the power button", cx.settings.deadline)))
}

async fn guest_that_reboots_boots_again(cx: &Context) -> Check {
    let (vm, log) = boot(cx, "reboot", None).await?;
    ready(cx, &log, 1).await?;
    let deadline = Instant::now() + cx.settings.deadline;
    while times_ready(&log) < 2 {
        check!(
            Instant::now() < deadline,
            "the guest has not booted again {:?} after the reboot",
            cx.settings.deadline
        );
        cx.power(&vm, PowerAction::Reboot).await?;
        let again = Instant::now() + ASK_AGAIN * 3;
        while times_ready(&log) < 2 && Instant::now() < again {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    cx.wait_state(&vm, &VmState::Running).await?;
    remove(&log)
}

async fn snapshot_with_memory_goes_on_where_it_was(cx: &Context) -> Check {
    let disk = cx.versatile_disk().await?;
    let (vm, log) = boot(cx, "snap", Some(disk)).await?;
    ready(cx, &log, 1).await?;
    let live = cx.done(cx.hv.create_snapshot(&vm, &SnapshotSpec::new("live").memory(true)).await).await?;
    cx.power_off(&vm).await?;
    cx.done(cx.hv.revert_snapshot(&vm, &live, &RevertSnapshot::new()).await).await?;
    cx.wait_state(&vm, &VmState::Running).await?;
    // It is up, not on its way up: it hears the power button without having booted again.
    if cx.has(Operation::ShutdownVm) {
        shut_down(cx, &vm).await?;
    }
    check!(times_ready(&log) == 1, "the guest has booted again instead of going on where it was");
    remove(&log)
}

fn remove(log: &Path) -> Check {
    std::fs::remove_file(log).map_err(|error| Stop::failed(format!("{}: {error}", log.display())))
}
