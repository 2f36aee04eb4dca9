//! Consoles.

use serde_json::json;

use super::answer::Answer;
use super::domains::no_domain;
use super::route::{Call, Handled};
use super::state::{Power, State, Vm};

fn running<'a>(state: &'a State, name: &str) -> Option<&'a Vm> {
    state.find(name).filter(|vm| vm.power != Power::Off)
}

pub(super) fn vnc(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    Ok(match running(state, name) {
        Some(_) => Answer::ok(&json!({
            "domain": name, "vnc_display": "127.0.0.1:0", "vnc_url": "vnc://localhost127.0.0.1:0",
        })),
        None => Answer::error(500, "failed to get VNC display: exit status 1"),
    })
}

pub(super) fn info(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    let on = running(state, name).is_some();
    Ok(Answer::ok(&json!({
        "vm_name": name, "vnc_display": if on { "127.0.0.1:0" } else { "" }, "vnc_port": 0, "vnc_url": "", "webvnc_url": "",
        "has_vnc": on, "has_spice": false, "has_serial": false,
    })))
}

pub(super) fn vnc_page(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    Ok(match running(state, name) {
        Some(_) => {
            Answer::html("<!DOCTYPE html><html><head><title>VNC Console</title></head><body></body></html>")
        }
        None => Answer::error(500, "failed to get VNC display: exit status 1"),
    })
}

pub(super) fn serial_page(_: &mut State, call: &Call) -> Handled {
    call.needed("name")?;
    Ok(Answer::html("<!DOCTYPE html><html><head><title>Serial Console</title></head><body></body></html>"))
}

pub(super) fn serial_device(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    Ok(match state.find(name) {
        Some(vm) => {
            let device = if vm.power == Power::Off { "" } else { "/dev/pts/0" };
            Answer::ok(&json!({"vm_name": name, "device": device, "has_serial": !device.is_empty()}))
        }
        None => Answer::error(500, "failed to get VM XML: exit status 1"),
    })
}

pub(super) fn screenshot(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    let Some(vm) = state.find(name) else {
        return Ok(Answer::tool("take screenshot", &no_domain(name)));
    };
    if vm.power == Power::Off {
        let wrote = "error: could not take a screenshot of x\nerror: Requested operation is not valid: domain is not running\n\n";
        return Ok(Answer::tool("take screenshot", wrote));
    }
    Ok(Answer::ok(&json!({
        "status": "success", "message": "Screenshot saved", "path": format!("/tmp/{name}-screenshot.ppm"),
        "note": "it is on the daemon's host",
    })))
}

pub(super) fn send_key(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let name = body.text("name")?;
    body.texts("keys")?;
    let Some(vm) = state.find(&name) else {
        return Ok(Answer::tool("send keys", &no_domain(&name)));
    };
    if vm.power == Power::Off {
        return Ok(Answer::tool(
            "send keys",
            "error: Requested operation is not valid: domain is not running\n\n",
        ));
    }
    Ok(Answer::done(200, "Keys sent successfully"))
}
