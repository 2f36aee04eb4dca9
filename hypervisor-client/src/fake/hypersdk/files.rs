//! What lies in the daemon's folders: ISO images and backups.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::answer::{Answer, nanos, stamp};
use super::domains::no_domain;
use super::route::{Call, Handled};
use super::state::{Backup, FakeDomain, Power, State};

const ISOS: &str = "/var/lib/libvirt/images/isos";
const BACKUPS: &str = "/var/lib/libvirt/backups";

pub(super) fn isos(state: &mut State, _: &Call) -> Handled {
    let row = |(name, size): (&String, &usize)| json!({"name": name, "path": format!("{ISOS}/{name}"), "size": size});
    let isos: Vec<Value> = state.isos.iter().map(row).collect();
    Ok(Answer::ok(&json!({"total": isos.len(), "isos": isos, "storage_dir": ISOS})))
}

pub(super) fn upload_iso(state: &mut State, call: &Call) -> Handled {
    let text = String::from_utf8_lossy(&call.body);
    let name = text.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next());
    let Some(name) = name.filter(|_| text.contains("name=\"iso\"")) else {
        return Ok(Answer::text(400, "no ISO file provided"));
    };
    if !name.to_ascii_lowercase().ends_with(".iso") {
        return Ok(Answer::text(400, "file must have .iso extension"));
    }
    if state.isos.contains_key(name) {
        return Ok(Answer::error(409, format!("ISO file already exists: {name}")));
    }
    let content = text.split("\r\n\r\n").nth(1).and_then(|rest| rest.split("\r\n--").next());
    let size = content.map_or(0, str::len);
    state.isos.insert(name.to_owned(), size);
    Ok(Answer::json(
        201,
        &json!({
            "status": "success", "message": format!("ISO {name} uploaded successfully"), "filename": name,
            "path": format!("{ISOS}/{name}"), "size": size,
        }),
    ))
}

pub(super) fn delete_iso(state: &mut State, call: &Call) -> Handled {
    let name = call.json()?.text("filename")?;
    Ok(match state.isos.remove(&name) {
        Some(_) => Answer::ok(&json!({
            "status": "success", "message": format!("ISO {name} deleted successfully"), "filename": name,
        })),
        None => Answer::error(404, format!("ISO file not found: {name}")),
    })
}

/// A running domain, or what `virsh` writes of another one.
fn running(state: &State, what: &str, name: &str) -> Result<(), Answer> {
    match state.find(name).map(|vm| vm.power) {
        None => Err(Answer::tool(what, &no_domain(name))),
        Some(Power::Off) => {
            Err(Answer::tool(what, "error: Requested operation is not valid: domain is not running\n\n"))
        }
        Some(_) => Ok(()),
    }
}

pub(super) fn attach_iso(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (vm, name, mut device) = (body.text("vm_name")?, body.text("filename")?, body.text("device")?);
    if !state.isos.contains_key(&name) {
        return Ok(Answer::error(404, format!("ISO file not found: {ISOS}/{name}")));
    }
    running(state, "attach ISO", &vm)?;
    if device.is_empty() {
        "hdc".clone_into(&mut device);
    }
    Ok(Answer::ok(&json!({
        "status": "success", "message": format!("ISO attached to {vm}"), "vm_name": vm,
        "iso_path": format!("{ISOS}/{name}"), "device": device,
    })))
}

pub(super) fn detach_iso(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (vm, mut device) = (body.text("vm_name")?, body.text("device")?);
    running(state, "detach ISO", &vm)?;
    if device.is_empty() {
        "hdc".clone_into(&mut device);
    }
    let message = format!("ISO detached from {vm}");
    Ok(Answer::ok(&json!({"status": "success", "message": message, "vm_name": vm, "device": device})))
}

pub(super) fn backups(state: &mut State, call: &Call) -> Handled {
    let wanted = call.parameter("vm_name");
    let found = state.backups.iter().filter(|(_, backup)| wanted.is_empty() || backup.vm == wanted);
    let row = |(name, backup): (&String, &Backup)| {
        json!({
            "name": name, "vm_name": backup.vm, "path": format!("{BACKUPS}/{name}"), "type": "full", "size": 200_347,
            "created_at": nanos(backup.created), "compressed": backup.compressed, "verified": backup.verified,
        })
    };
    let backups: Vec<Value> = found.map(row).collect();
    Ok(Answer::ok(&json!({"total": backups.len(), "backups": backups, "storage_dir": BACKUPS})))
}

pub(super) fn create_backup(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (vm, mut name) = (body.text("vm_name")?, body.text("backup_name")?);
    let compressed = body.flag("compress")?;
    body.text("description")?;
    if name.is_empty() {
        name = format!("{vm}-{}", stamp(SystemTime::now()));
    }
    let Some(found) = state.find(&vm) else {
        return Ok(Answer::error(500, "failed to dump VM XML: exit status 1"));
    };
    // What a running domain holds cannot be read.
    let disks = if found.power == Power::Off { found.disks.len() } else { 0 };
    let backup = Backup { vm: vm.clone(), disks, created: SystemTime::now(), compressed, verified: false };
    state.backups.insert(name.clone(), backup);
    Ok(Answer::json(
        201,
        &json!({
            "status": "success", "message": format!("Backup created for {vm}"), "vm_name": vm,
            "backup_path": format!("{BACKUPS}/{name}"), "backup_name": name, "disks_backed_up": disks,
            "total_size": 200_347, "compressed": compressed,
        }),
    ))
}

fn no_backup(name: &str) -> Answer {
    Answer::error(404, format!("backup not found: {name}"))
}

pub(super) fn restore_backup(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (name, new_name, start) = (body.text("backup_name")?, body.text("new_vm_name")?, body.flag("start")?);
    let Some(backup) = state.backups.get(&name).cloned() else { return Ok(no_backup(&name)) };
    let vm = if new_name.is_empty() { backup.vm.clone() } else { new_name };
    match state.vms.get(&backup.vm).map(|original| original.uuid.clone()) {
        Some(uuid) if vm != backup.vm => {
            let original = &backup.vm;
            let wrote =
                format!("error: operation failed: domain '{original}' already exists with uuid {uuid}\n\n");
            return Ok(Answer::tool("define VM", &wrote));
        }
        Some(_) => {}
        None => state.add_vm(&FakeDomain::new(vm.as_str())),
    }
    if start && state.find(&vm).is_some_and(|found| found.power == Power::Off) {
        state.power_on(&vm, false);
    }
    Ok(Answer::ok(&json!({
        "status": "success", "message": format!("VM restored from backup {name}"), "backup_name": name, "vm_name": vm,
        "started": start,
    })))
}

pub(super) fn verify_backup(state: &mut State, call: &Call) -> Handled {
    let name = call.json()?.text("backup_name")?;
    let Some(backup) = state.backups.get_mut(&name) else { return Ok(no_backup(&name)) };
    backup.verified = true;
    Ok(Answer::ok(&json!({
        "status": "success", "backup_name": name, "valid": true, "disks_checked": backup.disks, "errors": [],
    })))
}

pub(super) fn delete_backup(state: &mut State, call: &Call) -> Handled {
    let name = call.json()?.text("backup_name")?;
    if state.backups.remove(&name).is_none() {
        return Ok(no_backup(&name));
    }
    let message = format!("Backup {name} deleted");
    Ok(Answer::ok(&json!({"status": "success", "message": message, "backup_name": name})))
}
