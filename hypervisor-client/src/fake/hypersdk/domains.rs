//! Domains and their snapshots, as `virsh` has them.

use serde_json::{Value, json};

use super::answer::Answer;
use super::route::{Call, Handled};
use super::state::{Power, Snapshot, State, Vm};

/// What `virsh` writes of a domain that it does not know.
pub(super) fn no_domain(name: &str) -> String {
    format!("error: failed to get domain '{name}'\n\n")
}

fn not_running(verb: &str, name: &str) -> String {
    format!(
        "error: Failed to {verb} domain '{name}'\nerror: Requested operation is not valid: domain is not running\n\n"
    )
}

/// `virsh <verb> <domain>`: what it writes where it fails.
pub(super) fn virsh(state: &mut State, verb: &str, name: &str) -> Result<(), String> {
    // An option rather than a domain: help is written, and all is well.
    if name.starts_with('-') {
        return Ok(());
    }
    let power = state.find(name).map(|vm| vm.power).ok_or_else(|| no_domain(name))?;
    let on = power != Power::Off;
    match verb {
        "start" if on => return Err("error: Domain is already active\n\n".to_owned()),
        "start" => state.power_on(name, false),
        "start-paused" if on => return Err("error: Domain is already active\n\n".to_owned()),
        "start-paused" => state.power_on(name, true),
        _ if !on => return Err(not_running(verb, name)),
        "resume" if power == Power::Running => {
            return Err(format!(
                "error: Failed to resume domain '{name}'\nerror: Requested operation is not valid: domain is already running\n\n"
            ));
        }
        // The guest follows at once.
        "destroy" | "shutdown" => state.power_off(name),
        "suspend" => set(state, name, Power::Paused),
        "resume" => set(state, name, Power::Running),
        _ => {}
    }
    Ok(())
}

fn set(state: &mut State, name: &str, power: Power) {
    if let Some(vm) = state.find_mut(name) {
        vm.power = power;
    }
}

pub(super) fn list(state: &mut State, _: &Call) -> Handled {
    let mut all: Vec<&Vm> = state.vms.values().collect();
    all.sort_by_key(|vm| (vm.id.is_none(), vm.id, vm.name.clone()));
    let lines = all.into_iter().map(|vm| {
        let id = vm.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        // The daemon cuts the line at every space.
        let mut rest = vm.name.split_whitespace();
        let name = rest.next().unwrap_or_default();
        let words: Vec<&str> = rest.chain([vm.power.word()]).collect();
        domain(&id, name, "", &words.join(" "), 0, 0, false, false)
    });
    let domains: Vec<Value> = lines.collect();
    Ok(Answer::ok(&json!({"total": domains.len(), "domains": domains})))
}

#[allow(clippy::too_many_arguments, reason = "these are the columns of one table")]
fn domain(
    id: &str,
    name: &str,
    uuid: &str,
    state: &str,
    cpus: u64,
    memory: u64,
    autostart: bool,
    persistent: bool,
) -> Value {
    json!({
        "id": id, "name": name, "uuid": uuid, "state": state, "cpus": cpus, "memory": memory, "autostart": autostart,
        "persistent": persistent,
    })
}

pub(super) fn get(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    if name.starts_with('-') {
        return Ok(Answer::ok(&domain("", name, "", "", 0, 0, false, false)));
    }
    let Some(vm) = state.find(name) else {
        return Ok(Answer::error(404, "domain not found: exit status 1"));
    };
    let found = domain("", name, &vm.uuid, vm.power.word(), vm.cpus, vm.memory, vm.autostart, vm.persistent);
    Ok(Answer::ok(&found))
}

fn act(state: &mut State, call: &Call, what: &str, verb: &str, done: &str) -> Handled {
    let name = call.json()?.text("name")?;
    match virsh(state, verb, &name) {
        Ok(()) => Ok(Answer::done(200, format!("Domain {name} {done}"))),
        Err(wrote) => Ok(Answer::tool(&format!("{what} domain"), &wrote)),
    }
}

pub(super) fn start(state: &mut State, call: &Call) -> Handled {
    act(state, call, "start", "start", "started")
}

pub(super) fn shutdown(state: &mut State, call: &Call) -> Handled {
    act(state, call, "shutdown", "shutdown", "shutdown initiated")
}

pub(super) fn destroy(state: &mut State, call: &Call) -> Handled {
    act(state, call, "destroy", "destroy", "destroyed")
}

pub(super) fn reboot(state: &mut State, call: &Call) -> Handled {
    act(state, call, "reboot", "reboot", "reboot initiated")
}

pub(super) fn pause(state: &mut State, call: &Call) -> Handled {
    act(state, call, "pause", "suspend", "paused")
}

pub(super) fn resume(state: &mut State, call: &Call) -> Handled {
    act(state, call, "resume", "resume", "resumed")
}

pub(super) fn snapshots(state: &mut State, call: &Call) -> Handled {
    let name = call.needed("name")?;
    let Some(vm) = state.find(name) else {
        return Ok(Answer::error(500, "failed to list snapshots: exit status 1"));
    };
    let mut lines = Vec::new();
    for root in vm.snapshots.iter().filter(|snapshot| snapshot.parent.is_none()) {
        draw(vm, root, "", &mut lines);
    }
    let row = |line: &String| json!({"name": line.trim(), "description": "", "creation_time": "", "state": "", "current": false});
    let rows: Vec<Value> = lines.iter().map(row).collect();
    Ok(Answer::ok(&json!({"domain": name, "total": rows.len(), "snapshots": rows})))
}

/// `virsh snapshot-list --tree`
fn draw(vm: &Vm, snapshot: &Snapshot, indent: &str, lines: &mut Vec<String>) {
    lines.push(if indent.is_empty() {
        snapshot.name.clone()
    } else {
        format!("{indent}+- {}", snapshot.name)
    });
    let below: Vec<&Snapshot> =
        vm.snapshots.iter().filter(|each| each.parent.as_deref() == Some(snapshot.name.as_str())).collect();
    for child in below {
        let deeper = format!("{indent}  ");
        lines.push(format!("{deeper}|"));
        draw(vm, child, &deeper, lines);
    }
}

pub(super) fn create_snapshot(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (domain, name) = (body.text("domain_name")?, body.text("snapshot_name")?);
    body.text("description")?;
    match take(state, &domain, &name) {
        Ok(()) => Ok(Answer::done(201, format!("Snapshot {name} created for domain {domain}"))),
        Err(wrote) => Ok(Answer::tool("create snapshot", &wrote)),
    }
}

/// `virsh snapshot-create-as`
pub(super) fn take(state: &mut State, domain: &str, name: &str) -> Result<(), String> {
    let Some(vm) = state.find_mut(domain) else { return Err(no_domain(domain)) };
    if vm.snapshots.iter().any(|snapshot| snapshot.name == name) {
        return Err(format!("error: operation failed: domain moment {name} already exists\n\n"));
    }
    let snapshot = Snapshot { name: name.to_owned(), parent: vm.current.take(), power: vm.power };
    vm.snapshots.push(snapshot);
    vm.current = Some(name.to_owned());
    Ok(())
}

fn no_snapshot(name: &str) -> String {
    format!("error: Domain snapshot not found: no domain snapshot with matching name '{name}'\n\n")
}

pub(super) fn revert_snapshot(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (domain, name) = (body.text("domain_name")?, body.text("snapshot_name")?);
    let Some(vm) = state.find_mut(&domain) else {
        return Ok(Answer::tool("revert snapshot", &no_domain(&domain)));
    };
    let Some(power) =
        vm.snapshots.iter().find(|snapshot| snapshot.name == name).map(|snapshot| snapshot.power)
    else {
        return Ok(Answer::tool("revert snapshot", &no_snapshot(&name)));
    };
    vm.current = Some(name.clone());
    let domain = vm.name.clone();
    state.power_off(&domain);
    if power != Power::Off {
        state.power_on(&domain, power == Power::Paused);
    }
    Ok(Answer::done(200, format!("Reverted to snapshot {name}")))
}

pub(super) fn delete_snapshot(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (domain, name) = (body.text("domain_name")?, body.text("snapshot_name")?);
    let Some(vm) = state.find_mut(&domain) else {
        return Ok(Answer::tool("delete snapshot", &no_domain(&domain)));
    };
    let Some(index) = vm.snapshots.iter().position(|snapshot| snapshot.name == name) else {
        return Ok(Answer::tool("delete snapshot", &no_snapshot(&name)));
    };
    let parent = vm.snapshots.remove(index).parent;
    for snapshot in &mut vm.snapshots {
        if snapshot.parent.as_deref() == Some(name.as_str()) {
            snapshot.parent.clone_from(&parent);
        }
    }
    if vm.current.as_deref() == Some(name.as_str()) {
        vm.current = parent;
    }
    Ok(Answer::done(200, format!("Snapshot {name} deleted")))
}
