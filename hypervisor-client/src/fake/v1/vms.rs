//! Machines, their snapshots and their load.

use serde_json::{Value, json};

use super::answer::{Answer, Call, NOW, Problem, page};
use super::state::{FakeVm, World};

/// A row of the list, as in the document.
fn row(vm: &FakeVm) -> Value {
    json!({
        "id": vm.id, "name": vm.name, "status": vm.status, "environment": vm.environment, "cpu_cores": vm.cpu_cores,
        "memory_mb": vm.memory_mb, "storage_gb": vm.storage_gb, "ip_address": vm.ip_address, "os_type": vm.os_type,
        "created_at": "2025-07-01T10:00:00Z", "updated_at": "2025-07-29T09:30:00Z", "tags": vm.tags,
        "security": {
            "encrypted": true, "firewall_enabled": true, "last_security_scan": "2025-07-28T06:00:00Z",
            "compliance_score": 95,
        },
    })
}

/// The details, as in the document: they have no tags.
fn details(vm: &FakeVm) -> Value {
    let running = vm.status == "running";
    let load = |value: f64| if running { value } else { 0.0 };
    json!({
        "id": vm.id, "name": vm.name, "description": vm.description, "status": vm.status,
        "environment": vm.environment,
        "configuration": {
            "cpu_cores": vm.cpu_cores, "cpu_sockets": 1, "memory_mb": vm.memory_mb,
            "storage": [
                { "disk_id": "disk-001", "size_gb": vm.storage_gb, "type": "ssd", "encrypted": true, "mount_point": "/" }
            ],
            "network": [
                { "interface": "eth0", "ip_address": vm.ip_address, "subnet": "192.168.1.0/24",
                  "gateway": "192.168.1.1", "vlan_id": vm.vlan_id }
            ],
        },
        "performance": {
            "cpu_usage_percent": load(25.5), "memory_usage_percent": load(68.2), "disk_usage_percent": load(45.8),
            "network_rx_mbps": load(12.5), "network_tx_mbps": load(8.3), "uptime_seconds": if running { 60 } else { 0 },
        },
        "security": {
            "encrypted": true, "firewall_enabled": true, "ssh_key_auth": true,
            "last_security_scan": "2025-07-28T06:00:00Z", "compliance_score": 95,
            "vulnerabilities": { "critical": 0, "high": 1, "medium": 3, "low": 5 },
        },
        "backup": {
            "enabled": true, "schedule": "daily", "retention_days": 30, "last_backup": "2025-07-29T02:00:00Z",
            "backup_size_gb": 45.2,
        },
        "created_at": "2025-07-01T10:00:00Z", "updated_at": "2025-07-29T09:30:00Z",
    })
}

pub(super) fn list(world: &World, call: &Call) -> Result<Answer, Problem> {
    let fits = |key: &str, value: &str| call.text(key).is_none_or(|wanted| wanted == value);
    let mut found: Vec<&FakeVm> = world
        .vms
        .iter()
        .filter(|vm| fits("status", &vm.status) && fits("environment", &vm.environment))
        .collect();
    match call.text("sort").unwrap_or("name") {
        "name" => found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id))),
        "status" => found.sort_by(|a, b| (&a.status, &a.id).cmp(&(&b.status, &b.id))),
        "created_at" => {}
        other => return Err(Problem::invalid("sort", "is_unknown", &json!(other))),
    }
    if call.text("order") == Some("desc") {
        found.reverse();
    }
    let rows: Vec<Value> = found.into_iter().map(row).collect();
    page(&rows, "vms", call)
}

pub(super) fn get(world: &mut World, id: &str) -> Result<Answer, Problem> {
    Ok(Answer::ok(json!({ "vm": details(world.vm(id)?) })))
}

/// Takes over what a body says of a machine.
fn apply(vm: &mut FakeVm, body: &Value) -> Result<(), Problem> {
    let number = |place: &str, most: u64| match body.pointer(place) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::invalid(
                place.rsplit('/').next().unwrap_or_default(),
                "must_be_positive_integer",
                value,
            )),
        },
    };
    let text = |place: &str| body.pointer(place).and_then(Value::as_str).map(str::to_owned);
    let (cpus, memory) =
        (number("/configuration/cpu_cores", 256)?, number("/configuration/memory_mb", 1 << 24)?);
    let storage = number("/configuration/storage_gb", 1 << 16)?;
    vm.cpu_cores = cpus.unwrap_or(vm.cpu_cores);
    vm.memory_mb = memory.unwrap_or(vm.memory_mb);
    vm.storage_gb = storage.unwrap_or(vm.storage_gb);
    vm.vlan_id = number("/configuration/network/vlan_id", 4094)?.unwrap_or(vm.vlan_id);
    vm.ip_address = text("/configuration/network/static_ip").unwrap_or_else(|| vm.ip_address.clone());
    vm.name = text("/name").unwrap_or_else(|| vm.name.clone());
    vm.description = text("/description").unwrap_or_else(|| vm.description.clone());
    vm.environment = text("/environment").unwrap_or_else(|| vm.environment.clone());
    if let Some(tags) = body.get("tags").and_then(Value::as_array) {
        vm.tags = tags.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    Ok(())
}

fn taken(world: &World, name: &str, but: &str) -> Result<(), Problem> {
    if world.vms.iter().any(|vm| vm.name == name && vm.id != but) {
        return Err(Problem::conflict("name", "already_exists"));
    }
    Ok(())
}

pub(super) fn create(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let name = call.required("name")?;
    taken(world, &name, "")?;
    if let Some(template) = call.field("template").filter(|template| !template.starts_with("ubuntu")) {
        return Err(Problem::not_found("template", &template));
    }
    let id = format!("vm-{}", world.number());
    let mut vm = FakeVm::new(&id, &name);
    apply(&mut vm, &call.body)?;
    "creating".clone_into(&mut vm.status);
    world.vms.push(vm);
    let job = world.begin("vm_creation", Some(&id));
    let status = world.vm(&id)?.status.clone();
    Ok(Answer::created(json!({ "vm": { "id": id, "name": name, "status": status, "creation_job_id": job } })))
}

pub(super) fn update(world: &mut World, id: &str, call: &Call) -> Result<Answer, Problem> {
    if let Some(name) = call.field("name") {
        taken(world, &name, id)?;
    }
    let vm = world.vm(id)?;
    let mut changed = vm.clone();
    apply(&mut changed, &call.body)?;
    *vm = changed;
    Ok(Answer::ok(json!({ "vm": details(vm) })))
}

pub(super) fn delete(world: &mut World, id: &str, call: &Call) -> Result<Answer, Problem> {
    world.vm(id)?;
    world.vms.retain(|vm| vm.id != id);
    if call.text("keep_backups") == Some("false") {
        world.backups.retain(|backup| backup.get("vm_id").and_then(Value::as_str) != Some(id));
    }
    Ok(Answer::nothing())
}

pub(super) fn start(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let vm = world.vm(id)?;
    if vm.status == "running" {
        return Err(Problem::conflict("status", "already_running"));
    }
    "running".clone_into(&mut vm.status);
    let job = world.begin("vm_start", Some(id));
    Ok(Answer::ok(json!({ "vm": { "id": id, "status": "running" }, "job_id": job })))
}

pub(super) fn stop(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let vm = world.vm(id)?;
    "stopped".clone_into(&mut vm.status);
    Ok(Answer::ok(json!({ "vm": { "id": id, "status": "stopped" } })))
}

pub(super) fn restart(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let vm = world.vm(id)?;
    if vm.status != "running" {
        return Err(Problem::conflict("status", "not_running"));
    }
    Ok(Answer::message("VM restarted"))
}

pub(super) fn snapshots(world: &mut World, id: &str) -> Result<Answer, Problem> {
    Ok(Answer::ok(json!({ "snapshots": world.vm(id)?.snapshots })))
}

pub(super) fn create_snapshot(world: &mut World, id: &str, call: &Call) -> Result<Answer, Problem> {
    let name = call.required("name")?;
    let number = world.number();
    let vm = world.vm(id)?;
    if vm.snapshots.iter().any(|snapshot| snapshot.get("name").and_then(Value::as_str) == Some(&name)) {
        return Err(Problem::conflict("name", "already_exists"));
    }
    let snapshot = json!({
        "id": format!("snap-{number}"), "name": name, "description": call.field("description"),
        "include_memory": call.body.get("include_memory").and_then(Value::as_bool).unwrap_or(false),
        "created_at": NOW,
    });
    vm.snapshots.push(snapshot.clone());
    Ok(Answer::created(json!({ "snapshot": snapshot })))
}

pub(super) fn restore_snapshot(world: &mut World, id: &str, snapshot: &str) -> Result<Answer, Problem> {
    let vm = world.vm(id)?;
    if !vm.snapshots.iter().any(|each| each.get("id").and_then(Value::as_str) == Some(snapshot)) {
        return Err(Problem::not_found("snapshot", snapshot));
    }
    "stopped".clone_into(&mut vm.status);
    let job = world.begin("snapshot_restore", Some(id));
    Ok(Answer::ok(json!({ "job": { "id": job } })))
}

pub(super) fn metrics(world: &mut World, id: &str, call: &Call) -> Result<Answer, Problem> {
    world.vm(id)?;
    let period = call.text("period").unwrap_or("1h");
    if !["1h", "24h", "7d", "30d"].contains(&period) {
        return Err(Problem::invalid("period", "is_unknown", &json!(period)));
    }
    let wanted = call.text("metrics").unwrap_or("cpu,memory,disk,network");
    let point = |at: &str, value: f64| {
        let mut point = json!({ "timestamp": at });
        for name in wanted.split(',') {
            if let Value::Object(point) = &mut point {
                point.insert(name.to_owned(), json!(value));
            }
        }
        point
    };
    let points = [point("2025-07-29T11:00:00Z", 25.5), point("2025-07-29T11:05:00Z", 30.0)];
    Ok(Answer::ok(json!({ "vm_id": id, "period": period, "metrics": points })))
}
