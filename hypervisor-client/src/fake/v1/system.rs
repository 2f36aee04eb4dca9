//! Everything but machines.

use serde_json::{Value, json};

use super::answer::{Answer, Call, NOW, Problem, page};
use super::state::World;

pub(super) fn health() -> Answer {
    Answer::ok(json!({
        "status": "healthy", "version": "1.0.0", "uptime_seconds": 86400,
        "components": { "database": "healthy", "proxmox": "healthy", "ai_service": "healthy" },
    }))
}

pub(super) fn info() -> Answer {
    Answer::ok(json!({ "name": "Proxmox AI Infrastructure Assistant", "version": "1.0.0" }))
}

pub(super) fn list(all: &[Value], key: &str, call: &Call) -> Result<Answer, Problem> {
    page(all, key, call)
}

pub(super) fn create_token(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    call.required("name")?;
    let id = format!("tok_{:016x}", world.number());
    world.tokens.push(id.clone());
    Ok(Answer::created(json!({
        "token_id": id, "access_token": "pxa_1234567890abcdef1234567890abcdef", "token_type": "bearer",
        "expires_at": "2025-08-29T12:00:00Z", "permissions": call.body.get("permissions"),
    })))
}

pub(super) fn revoke_token(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let before = world.tokens.len();
    world.tokens.retain(|token| token != id);
    if world.tokens.len() == before {
        return Err(Problem::not_found("token", id));
    }
    Ok(Answer::message("Token revoked successfully"))
}

/// Adds an id to what was sent.
fn made(call: &Call, id: &str, more: Value) -> Value {
    let mut made = call.body.clone();
    if let (Value::Object(made), Value::Object(more)) = (&mut made, more) {
        made.insert("id".to_owned(), json!(id));
        made.extend(more);
    }
    made
}

fn named(all: &[Value], name: &str) -> bool {
    all.iter().any(|each| each.get("name").and_then(Value::as_str) == Some(name))
}

pub(super) fn create_network(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let name = call.required("name")?;
    if named(&world.networks, &name) {
        return Err(Problem::conflict("name", "already_exists"));
    }
    let id = format!("net-{}", world.number());
    let network = made(call, &id, json!({ "created_at": NOW }));
    world.networks.push(network.clone());
    Ok(Answer::created(json!({ "network": network })))
}

pub(super) fn create_pool(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let name = call.required("name")?;
    if named(&world.pools, &name) {
        return Err(Problem::conflict("name", "already_exists"));
    }
    let id = format!("pool-{}", world.number());
    let pool = made(call, &id, json!({ "status": "active" }));
    world.pools.push(pool.clone());
    Ok(Answer::created(json!({ "pool": pool })))
}

pub(super) fn create_backup(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let vm = call.required("vm_id")?;
    world.vm(&vm)?;
    let id = format!("backup-{}", world.number());
    let job = world.begin("backup_creation", Some(&vm));
    let backup =
        made(call, &id, json!({ "created_at": NOW, "size_gb": 45.2, "status": "completed", "job_id": job }));
    world.backups.push(backup.clone());
    Ok(Answer::created(json!({ "backup": backup })))
}

pub(super) fn restore_backup(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let found = world.backups.iter().find(|backup| backup.get("id").and_then(Value::as_str) == Some(id));
    let vm = found.and_then(|backup| backup.get("vm_id")?.as_str()).map(str::to_owned);
    let vm = vm.ok_or_else(|| Problem::not_found("backup", id))?;
    let job = world.begin("backup_restore", Some(&vm));
    Ok(Answer::ok(json!({ "job": { "id": job }, "vm_id": vm })))
}

pub(super) fn get_job(world: &World, id: &str) -> Result<Answer, Problem> {
    let job = world.work.iter().find(|job| job.id == id).ok_or_else(|| Problem::not_found("job", id))?;
    Ok(Answer::ok(json!({ "job": world.job(job) })))
}

pub(super) fn cancel_job(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let job = world.work.iter_mut().find(|job| job.id == id).ok_or_else(|| Problem::not_found("job", id))?;
    if job.ended() {
        return Err(Problem::conflict("status", "already_ended"));
    }
    job.cancelled = true;
    Ok(Answer::message("Job cancelled"))
}

pub(super) fn metrics(world: &World) -> Answer {
    let running = world.vms.iter().filter(|vm| vm.status == "running").count();
    Answer::ok(
        json!({ "metrics": { "cpu_usage_percent": 12.5, "vms_total": world.vms.len(), "vms_running": running } }),
    )
}

pub(super) fn start_scan(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let kind = call.required("scan_type")?;
    let targets = call.body.get("targets").and_then(Value::as_array).cloned().unwrap_or_default();
    for target in targets.iter().filter_map(Value::as_str) {
        world.vm(target)?;
    }
    let scan = json!({
        "id": format!("scan-{:03}", world.scans.len() + 1), "type": kind, "status": "running", "started_at": NOW,
        "estimated_completion": "2025-07-29T12:15:00Z",
    });
    world.scans.push(scan.clone());
    Ok(Answer::created(json!({ "scan": scan })))
}

pub(super) fn get_scan(world: &World, id: &str) -> Result<Answer, Problem> {
    let found = world.scans.iter().find(|scan| scan.get("id").and_then(Value::as_str) == Some(id));
    Ok(Answer::ok(json!({ "scan": found.ok_or_else(|| Problem::not_found("scan", id))? })))
}

pub(super) fn generate() -> Answer {
    let answer = Answer::ok(json!({
        "generated_code": {
            "format": "terraform", "code": "resource \"proxmox_vm_qemu\" \"web_server\" { ... }", "validation_score": 95,
            "security_analysis": {
                "passed": true, "issues": [], "recommendations": ["Consider enabling automatic security updates"],
            },
        },
    }));
    answer.meta("ai_model", json!("claude-3-sonnet")).meta("tokens_used", json!(1250))
}

pub(super) fn create_webhook(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let url = call.required("url")?;
    let id = format!("webhook-{:03}", world.webhooks.len() + 1);
    let webhook = json!({
        "id": id, "url": url, "events": call.body.get("events"), "active": call.body.get("active"), "created_at": NOW,
    });
    world.webhooks.push(webhook.clone());
    Ok(Answer::created(json!({ "webhook": webhook })))
}

pub(super) fn delete_webhook(world: &mut World, id: &str) -> Result<Answer, Problem> {
    let before = world.webhooks.len();
    world.webhooks.retain(|webhook| webhook.get("id").and_then(Value::as_str) != Some(id));
    if world.webhooks.len() == before {
        Err(Problem::not_found("webhook", id))
    } else {
        Ok(Answer::nothing())
    }
}
