//! Schedules, webhooks (off, as the daemon is shipped) and the workflow daemon (which does not run).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::answer::{Answer, nanos, seconds};
use super::jobs;
use super::route::{Call, Handled};
use super::state::State;

pub(super) fn all(state: &mut State, call: &Call) -> Handled {
    if call.method == "GET" {
        let schedules: Vec<&Value> = state.schedules.values().collect();
        let timestamp = nanos(SystemTime::now());
        return Ok(Answer::ok(
            &json!({"schedules": schedules, "total": schedules.len(), "timestamp": timestamp}),
        ));
    }
    let (id, schedule) = checked(call)?;
    state.schedules.insert(id, schedule.clone());
    Ok(Answer::json(201, &json!({"message": "schedule created successfully", "schedule": schedule})))
}

/// A schedule as it is kept.
fn checked(call: &Call) -> Result<(String, Value), Answer> {
    let body = call.json().map_err(|_| Answer::error(400, "invalid request body"))?;
    let (id, cron) = (body.text("id")?, body.text("schedule")?);
    for (missing, what) in [
        (id.is_empty(), "schedule ID is required"),
        (cron.is_empty(), "schedule cron expression is required"),
    ] {
        if missing {
            return Err(Answer::error(400, what));
        }
    }
    let template = body.get("job_template").cloned().unwrap_or_else(|| json!({}));
    if template.get("vm_path").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(Answer::error(400, "job template vm_path is required"));
    }
    let fields = cron.split_whitespace().count();
    if fields != 5 {
        let why = format!(
            "failed to add schedule: invalid cron schedule: expected exactly 5 fields, found {fields}: [{cron}]"
        );
        return Err(Answer::error(500, why));
    }
    let now = SystemTime::now();
    let mut schedule = body.into_value();
    if let Some(kept) = schedule.as_object_mut() {
        let mut job = template;
        if let Some(job) = job.as_object_mut() {
            job.insert("id".to_owned(), "".into());
            job.insert("created_at".to_owned(), "0001-01-01T00:00:00Z".into());
        }
        kept.insert("job_template".to_owned(), job);
        kept.insert("created_at".to_owned(), nanos(now).into());
        kept.insert("updated_at".to_owned(), nanos(now).into());
        kept.insert("next_run".to_owned(), seconds(now + Duration::from_secs(3600)).into());
        kept.insert("run_count".to_owned(), 0.into());
    }
    Ok((id, schedule))
}

pub(super) fn one(state: &mut State, call: &Call) -> Handled {
    let rest = call.path.strip_prefix("/schedules/").unwrap_or_default();
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(schedule) = state.schedules.get_mut(id) else {
        let (status, what) = match (call.method.as_str(), action) {
            ("PUT", _) => (500, "failed to update schedule".to_owned()),
            ("DELETE", _) => (404, "failed to delete schedule".to_owned()),
            ("POST", action) => (500, format!("failed to {action} schedule")),
            _ => (404, "schedule not found".to_owned()),
        };
        return Ok(Answer::error(status, format!("{what}: scheduled job not found: {id}")));
    };
    let message = |text: &str| Ok(Answer::ok(&json!({"message": text})));
    match (call.method.as_str(), action) {
        ("GET", "") => Ok(Answer::ok(schedule)),
        ("PUT", "") => {
            let changes = call.json().map_err(|_| Answer::error(400, "invalid JSON"))?.into_value();
            let fields = ["name", "description", "schedule", "job_template", "enabled"];
            let said = |value: &Value| value.as_str() != Some("");
            if let Some(kept) = schedule.as_object_mut() {
                for (field, value) in fields.iter().filter_map(|field| Some((*field, changes.get(*field)?))) {
                    if said(value) {
                        kept.insert(field.to_owned(), value.clone());
                    }
                }
            }
            message("schedule updated successfully")
        }
        ("DELETE", "") => {
            state.schedules.remove(id);
            message("schedule deleted successfully")
        }
        ("POST", "enable" | "disable") => {
            if let Some(kept) = schedule.as_object_mut() {
                kept.insert("enabled".to_owned(), (action == "enable").into());
            }
            message(&format!("schedule {action}d successfully"))
        }
        ("POST", "trigger") => {
            let job = schedule.get("job_template").cloned().unwrap_or_default();
            jobs::begin(state, job);
            message("schedule triggered successfully")
        }
        _ => Ok(Answer::text(405, "method not allowed")),
    }
}

pub(super) fn webhooks(_: &mut State, _: &Call) -> Handled {
    Ok(Answer::error(503, "webhooks not enabled"))
}

pub(super) fn workflow_status(_: &mut State, _: &Call) -> Handled {
    Ok(Answer::ok(&json!({
        "mode": "manifest", "running": false, "queue_depth": 0, "active_jobs": 0, "processed_today": 0, "failed_today": 0,
        "max_workers": 3, "uptime_seconds": 0,
    })))
}

pub(super) fn workflow_jobs(_: &mut State, _: &Call) -> Handled {
    Ok(Answer::ok(&json!({"jobs": null, "total": 0})))
}

fn complaints(call: &Call) -> Result<Vec<&'static str>, Answer> {
    let body = call.json().map_err(|_| Answer::error(400, "invalid manifest"))?;
    let mut errors = Vec::new();
    if body.get("version").is_none() {
        errors.push("version is required");
    }
    if body.get("pipeline").is_none() {
        errors.push("pipeline is required");
    }
    Ok(errors)
}

pub(super) fn validate_manifest(_: &mut State, call: &Call) -> Handled {
    let errors = complaints(call)?;
    Ok(Answer::ok(&json!({"valid": errors.is_empty(), "errors": errors})))
}

pub(super) fn submit_manifest(_: &mut State, call: &Call) -> Handled {
    match complaints(call)?.first() {
        Some(error) => Ok(Answer::error(400, *error)),
        None => Ok(Answer::ok(&json!({"status": "accepted", "message": "manifest submitted"}))),
    }
}
