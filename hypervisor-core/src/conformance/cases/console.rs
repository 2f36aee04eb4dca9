use super::table::area;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::conformance::check::{Check, Stop, check, check_eq, refused, refused_unknown};
use crate::conformance::context::Context;
use crate::error::Error;
use crate::error::ErrorKind::InvalidState;
use crate::model::Feature::Graphics;
use crate::model::{ConsoleKind, GraphicsKind, SerialSpec, VmId};
use crate::operation::Operation::{CreateVm, GetConsole, PowerOffVm, ScreenshotVm, StartVm};

area! { "console":
    a_running_guest_has_a_console [CreateVm, StartVm, GetConsole, Graphics];
    a_stopped_guest_has_no_console [CreateVm, GetConsole, Graphics];
    an_unknown_guest_has_no_console [GetConsole];
    a_serial_console_lasts_as_long_as_its_guest_runs [CreateVm, StartVm, PowerOffVm, GetConsole];
    a_screen_is_pictured [CreateVm, StartVm, ScreenshotVm, Graphics];
    a_stopped_guest_has_no_picture [CreateVm, ScreenshotVm, Graphics];
    an_unknown_guest_has_no_picture [ScreenshotVm];
}

async fn with_screen(cx: &Context) -> Check<VmId> {
    cx.create(&cx.spec("vm").graphics(GraphicsKind::Vnc)).await
}

async fn a_running_guest_has_a_console(cx: &Context) -> Check {
    let vm = with_screen(cx).await?;
    cx.start(&vm).await?;
    let access = cx.hv.get_console(&vm, &ConsoleKind::Vnc).await?;
    check_eq!("its kind", access.kind, ConsoleKind::Vnc);
    let reachable = access.port.is_some_and(|port| port > 0) || access.url.is_some() || access.path.is_some();
    check!(reachable, "nothing tells how to reach it: {access:?}");
    Ok(())
}

async fn a_stopped_guest_has_no_console(cx: &Context) -> Check {
    let vm = with_screen(cx).await?;
    let found = cx.hv.get_console(&vm, &ConsoleKind::Vnc).await;
    refused("the console of a stopped guest", found, InvalidState)?;
    Ok(())
}

async fn an_unknown_guest_has_no_console(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let found = cx.hv.get_console(&unknown, &ConsoleKind::Vnc).await;
    refused_unknown("the console of an unknown guest", found, VmId::NOUN, &unknown)
}

/// What is said on it is the guest's own: it is only written to, and ends.
async fn a_serial_console_lasts_as_long_as_its_guest_runs(cx: &Context) -> Check {
    let made = cx.hv.create_vm(&cx.spec("vm").serial(SerialSpec::new())).await;
    if made.as_ref().is_err_and(Error::is_unsupported) {
        return Err(Stop::skipped("guests are made without serial ports"));
    }
    let vm = cx.adopt(made).await?;
    match cx.hv.stream_console(&vm, &ConsoleKind::Serial).await {
        Err(error) if error.is_unsupported() => {
            return Err(Stop::skipped(format!("no console's bytes are carried: {error}")));
        }
        found => refused("the serial console of a stopped guest", found, InvalidState)?,
    };
    cx.start(&vm).await?;
    let mut console = cx.hv.stream_console(&vm, &ConsoleKind::Serial).await?;
    let broken = |what: &str, error: std::io::Error| Stop::failed(format!("{what}: {error}"));
    console.write_all(b"\r").await.map_err(|error| broken("writing to it", error))?;
    console.flush().await.map_err(|error| broken("writing to it", error))?;
    cx.power_off(&vm).await?;
    let mut said = Vec::new();
    match tokio::time::timeout(cx.settings.deadline, console.read_to_end(&mut said)).await {
        Ok(read) => read.map_err(|error| broken("reading it to its end", error))?,
        Err(_) => return Err(Stop::failed("it does not end with the guest's power")),
    };
    let unknown = VmId::from(cx.name("none"));
    let found = cx.hv.stream_console(&unknown, &ConsoleKind::Serial).await;
    refused_unknown("the serial console of an unknown guest", found, VmId::NOUN, &unknown)
}

async fn a_screen_is_pictured(cx: &Context) -> Check {
    let vm = with_screen(cx).await?;
    cx.start(&vm).await?;
    let picture = cx.hv.screenshot_vm(&vm).await?;
    let expected: &[u8] = match picture.media_type.as_str() {
        "image/png" => b"\x89PNG\r\n\x1a\n",
        "image/x-portable-pixmap" => b"P6",
        _ => b"",
    };
    check!(!expected.is_empty(), "the picture is of the type {:?}, neither PNG nor PPM", picture.media_type);
    let head = picture.data.get(..expected.len());
    check_eq!("how the picture begins", head, Some(expected));
    Ok(())
}

async fn a_stopped_guest_has_no_picture(cx: &Context) -> Check {
    let vm = with_screen(cx).await?;
    refused("a picture of a stopped guest", cx.hv.screenshot_vm(&vm).await, InvalidState)?;
    Ok(())
}

async fn an_unknown_guest_has_no_picture(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let taken = cx.hv.screenshot_vm(&unknown).await;
    refused_unknown("a picture of an unknown guest", taken, VmId::NOUN, &unknown)
}
