//! Load: memory is real, all else is zero, as the daemon has it.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::answer::{Answer, nanos};
use super::route::{Call, Handled};
use super::state::{Power, State, Vm};

fn now() -> String {
    nanos(SystemTime::now())
}

fn cpu_of() -> Value {
    json!({"vcpus": 0, "cpu_time_ns": 0, "user_time_ns": 0, "system_time_ns": 0, "usage_percent": 0})
}

fn memory_of(total: u64) -> Value {
    json!({"total_kb": total, "used_kb": 0, "available_kb": 0, "usage_percent": 0, "swap_in_kb": 0, "swap_out_kb": 0})
}

fn disks_of(vm: &Vm) -> Value {
    let disk = |letter: char| {
        json!({
            "device": format!("vd{letter}"), "read_bytes": 0, "read_requests": 0, "write_bytes": 0, "write_requests": 0,
            "errors": 0,
        })
    };
    ('a'..='z').zip(&vm.disks).map(|(letter, _)| disk(letter)).collect()
}

fn networks_of(vm: &Vm) -> Value {
    let interface = |device: &str| {
        json!({
            "interface": device, "rx_bytes": 0, "rx_packets": 0, "rx_errors": 0, "rx_dropped": 0, "tx_bytes": 0,
            "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0,
        })
    };
    vm.interfaces.iter().map(|each| interface(&each.device)).collect()
}

fn whole(name: &str, vm: Option<&Vm>) -> Value {
    let on = vm.filter(|vm| vm.power != Power::Off);
    json!({
        "name": name, "state": vm.map_or("", |vm| vm.power.word()), "cpu": cpu_of(),
        "memory": memory_of(on.map_or(0, |vm| vm.memory * 1024)), "disks": on.map(disks_of), "networks": on.map(networks_of),
        "timestamp": now(),
    })
}

pub(super) fn one(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    Ok(Answer::ok(&whole(name, state.find(name))))
}

pub(super) fn all(state: &mut State, _: &Call) -> Handled {
    let running = state.vms.values().filter(|vm| vm.power != Power::Off);
    let domains: Vec<Value> = running.map(|vm| whole(&vm.name, Some(vm))).collect();
    let total = domains.len();
    let domains = if domains.is_empty() { Value::Null } else { domains.into() };
    Ok(Answer::ok(&json!({"domains": domains, "total": total, "timestamp": now()})))
}

/// A running domain, or what the daemon says of another one.
fn running<'a>(state: &'a State, call: &'a Call, what: &str) -> Result<(&'a str, &'a Vm), Answer> {
    let name = call.needed("name")?;
    let vm = state.find(name).filter(|vm| vm.power != Power::Off);
    vm.map(|vm| (name, vm))
        .ok_or_else(|| Answer::error(500, format!("failed to get {what} stats: exit status 1")))
}

pub(super) fn cpu(state: &mut State, call: &Call) -> Handled {
    let (name, _) = running(state, call, "CPU")?;
    Ok(Answer::ok(&json!({"name": name, "cpu_stats": cpu_of(), "timestamp": now()})))
}

pub(super) fn memory(state: &mut State, call: &Call) -> Handled {
    let (name, vm) = running(state, call, "memory")?;
    Ok(Answer::ok(&json!({"name": name, "memory": memory_of(vm.memory * 1024), "timestamp": now()})))
}

pub(super) fn disk(state: &mut State, call: &Call) -> Handled {
    let (name, vm) = running(state, call, "disk")?;
    Ok(Answer::ok(&json!({"name": name, "disks": disks_of(vm), "timestamp": now()})))
}

pub(super) fn network(state: &mut State, call: &Call) -> Handled {
    let (name, vm) = running(state, call, "network")?;
    Ok(Answer::ok(&json!({"name": name, "networks": networks_of(vm), "timestamp": now()})))
}
