//! Networks and interfaces.

use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::domains::no_domain;
use super::route::{Call, Handled};
use super::state::{Network, Power, State};

fn row(name: &str, network: &Network, full: bool) -> Value {
    json!({
        "name": name, "uuid": if full { network.uuid.as_str() } else { "" }, "active": network.active, "persistent": full,
        "autostart": full && network.autostart, "bridge": if full { network.bridge.as_str() } else { "" },
    })
}

fn no_network(name: &str) -> String {
    format!(
        "error: failed to get network '{name}'\nerror: Network not found: no network with matching name '{name}'\n\n"
    )
}

pub(super) fn list(state: &mut State, _: &Call) -> Handled {
    let networks: Vec<Value> =
        state.networks.iter().map(|(name, network)| row(name, network, false)).collect();
    Ok(Answer::ok(&json!({"total": networks.len(), "networks": networks})))
}

pub(super) fn get(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    Ok(match state.networks.get(name) {
        Some(network) => Answer::ok(&row(name, network, true)),
        None => Answer::error(404, "network not found: exit status 1"),
    })
}

pub(super) fn create(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let name = body.text("name")?;
    let bridge = body.text("bridge")?;
    let mut places = Vec::new();
    for field in ["subnet", "ip_start", "ip_end"] {
        places.push(body.text(field)?);
    }
    let refused = |why: &str| {
        let wrote = format!("error: Failed to define network from /dev/stdin\nerror: {why}\n\n");
        Ok(Answer::tool("create network", &wrote))
    };
    if places.iter().any(|place| place.parse::<std::net::Ipv4Addr>().is_err()) {
        return refused(&format!("XML error: Missing required address attribute in network '{name}'"));
    }
    let forward = body.text("forward")?;
    if !matches!(forward.as_str(), "nat" | "route" | "none" | "open") {
        return refused(&format!("XML error: unknown forwarding type '{forward}'"));
    }
    if let Some(network) = state.networks.get(&name) {
        let uuid = &network.uuid;
        return refused(&format!("operation failed: network '{name}' already exists with uuid {uuid}"));
    }
    let bridge = bridge.replace("%d", &state.networks.len().to_string());
    let network = Network { uuid: Uuid::new_v4().to_string(), active: true, autostart: true, bridge };
    state.networks.insert(name.clone(), network);
    Ok(Answer::json(
        201,
        &json!({"status": "success", "message": format!("Network {name} created"), "name": name}),
    ))
}

pub(super) fn delete(state: &mut State, call: &Call) -> Handled {
    let name = call.json()?.text("name")?;
    Ok(match state.networks.remove(&name) {
        Some(_) => Answer::done(200, format!("Network {name} deleted")),
        None => Answer::tool("delete network", &no_network(&name)),
    })
}

fn bring(state: &mut State, call: &Call, verb: &str, up: bool, done: &str) -> Handled {
    let name = call.json()?.text("name")?;
    let what = format!("{verb} network");
    let Some(network) = state.networks.get_mut(&name) else {
        return Ok(Answer::tool(&what, &no_network(&name)));
    };
    if network.active == up {
        let why = if up { "network is already active" } else { "network is not active" };
        let tool = if up { "start" } else { "destroy" };
        let wrote = format!(
            "error: Failed to {tool} network {name}\nerror: Requested operation is not valid: {why}\n\n"
        );
        return Ok(Answer::tool(&what, &wrote));
    }
    network.active = up;
    Ok(Answer::done(200, format!("Network {name} {done}")))
}

pub(super) fn start(state: &mut State, call: &Call) -> Handled {
    bring(state, call, "start", true, "started")
}

pub(super) fn stop(state: &mut State, call: &Call) -> Handled {
    bring(state, call, "stop", false, "stopped")
}

pub(super) fn attach(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (name, network) = (body.text("vm_name")?, body.text("network")?);
    body.text("model")?;
    let failed = |why: String| {
        Ok(Answer::tool("attach interface", &format!("error: Failed to attach interface\nerror: {why}\n\n")))
    };
    let Some(vm) = state.find(&name) else {
        return Ok(Answer::tool("attach interface", &no_domain(&name)));
    };
    if vm.power == Power::Off {
        return failed("Requested operation is not valid: domain is not running".to_owned());
    }
    if !state.networks.contains_key(&network) {
        return failed(format!("Network not found: no network with matching name '{network}'"));
    }
    state.attach(&name);
    Ok(Answer::done(200, format!("Interface attached to {name}")))
}

pub(super) fn detach(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (name, mac) = (body.text("vm_name")?, body.text("mac")?);
    let Some(vm) = state.find_mut(&name) else {
        return Ok(Answer::tool("detach interface", &no_domain(&name)));
    };
    let Some(index) = vm.interfaces.iter().position(|interface| interface.mac.eq_ignore_ascii_case(&mac))
    else {
        let wrote = format!(
            "error: No interface with MAC address {mac} was found\nerror: Failed to detach interface\n\n"
        );
        return Ok(Answer::tool("detach interface", &wrote));
    };
    if vm.power == Power::Off {
        let wrote = "error: Failed to detach interface\nerror: Requested operation is not valid: domain is not running\n\n";
        return Ok(Answer::tool("detach interface", wrote));
    }
    vm.interfaces.remove(index);
    Ok(Answer::done(200, format!("Interface detached from {name}")))
}
