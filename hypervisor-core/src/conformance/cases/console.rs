use super::table::area;
use crate::conformance::check::{Check, check, check_eq, refused, refused_unknown};
use crate::conformance::context::Context;
use crate::error::ErrorKind::InvalidState;
use crate::model::Feature::Graphics;
use crate::model::{ConsoleKind, GraphicsKind, VmId};
use crate::operation::Operation::{CreateVm, GetConsole, ScreenshotVm, StartVm};

area! { "console":
    a_running_guest_has_a_console [CreateVm, StartVm, GetConsole, Graphics];
    a_stopped_guest_has_no_console [CreateVm, GetConsole, Graphics];
    an_unknown_guest_has_no_console [GetConsole];
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
