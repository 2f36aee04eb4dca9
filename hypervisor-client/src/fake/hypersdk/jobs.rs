//! The daemon itself, sessions and jobs. A job without a vCenter fails at once; any other stays at work until the test ends it.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::{Answer, nanos, seconds};
use super::route::{Call, Handled};
use super::state::{Job, State};

fn now() -> String {
    nanos(SystemTime::now())
}

pub(super) fn health(_: &mut State, _: &Call) -> Handled {
    Ok(Answer::ok(&json!({"status": "healthy", "timestamp": seconds(SystemTime::now())})))
}

pub(super) fn status(state: &mut State, _: &Call) -> Handled {
    let count = |status: &str| state.jobs.values().filter(|job| job.status == status).count();
    let uptime = state.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    Ok(Answer::ok(&json!({
        "version": "0.0.1", "uptime": format!("{uptime:.9}s"), "total_jobs": state.jobs.len(),
        "running_jobs": count("running"), "completed_jobs": count("completed"), "failed_jobs": count("failed"),
        "cancelled_jobs": count("cancelled"), "timestamp": now(),
    })))
}

pub(super) fn capabilities(_: &mut State, _: &Call) -> Handled {
    let method = |(priority, name): (usize, &&str)| {
        let web = *name == "web";
        let found = json!({
            "method": name, "available": web, "version": if web { "built-in" } else { "" },
            "path": if web { "internal" } else { "" }, "priority": priority + 1, "last_checked": now(),
        });
        ((*name).to_owned(), found)
    };
    let methods: Map<String, Value> =
        ["ctl", "govc", "ovftool", "web"].iter().enumerate().map(method).collect();
    Ok(Answer::ok(&json!({"capabilities": methods, "default_method": "web", "timestamp": now()})))
}

pub(super) fn login(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let user = body.text("username")?;
    if user.is_empty() || user == "nobody-knows" {
        return Ok(Answer::text(401, "authentication failed"));
    }
    let token = Uuid::new_v4().to_string();
    state.sessions.insert(token.clone());
    let ends = SystemTime::now() + Duration::from_secs(86_400);
    Ok(Answer::ok(&json!({"token": token, "username": user, "expires_at": seconds(ends)})))
}

pub(super) fn logout(state: &mut State, call: &Call) -> Handled {
    let Some(token) = &call.token else { return Ok(Answer::text(401, "missing authorization token")) };
    state.sessions.remove(token);
    Ok(Answer::json_as_text(200, &json!({"message": "logged out successfully"})))
}

pub(super) fn no_path(_: &mut State, call: &Call) -> Handled {
    call.json()?;
    Ok(Answer::error(400, "vm_path is required"))
}

pub(super) fn submit(state: &mut State, call: &Call) -> Handled {
    let failed = || Answer::error(400, "failed to parse jobs: invalid JSON format");
    let body: Value = serde_json::from_slice(&call.body).map_err(|_| failed())?;
    let definitions = match body {
        Value::Array(jobs) => jobs,
        Value::Object(mut fields) => match fields.remove("jobs") {
            Some(Value::Array(jobs)) => jobs,
            Some(_) => return Err(failed()),
            None => vec![Value::Object(fields)],
        },
        _ => return Err(failed()),
    };
    let has_path =
        |job: &Value| job.get("vm_path").and_then(Value::as_str).is_some_and(|path| !path.is_empty());
    if definitions.is_empty() || !definitions.iter().all(has_path) {
        return Err(failed());
    }
    let ids: Vec<String> = definitions.into_iter().map(|definition| begin(state, definition)).collect();
    Ok(Answer::ok(&json!({"job_ids": ids, "accepted": ids.len(), "rejected": 0, "timestamp": now()})))
}

pub(super) fn begin(state: &mut State, mut definition: Value) -> String {
    let id = Uuid::new_v4().to_string();
    let complete = definition.get("vcenter").is_some();
    if let Some(fields) = definition.as_object_mut() {
        fields.insert("id".to_owned(), id.as_str().into());
        fields.entry("name").or_insert_with(|| "".into());
        fields.entry("format").or_insert_with(|| "ovf".into());
        fields.insert("created_at".to_owned(), now().into());
    }
    let begun = SystemTime::now();
    let mut job = Job { definition, status: "running", error: None, started: begun, ended: None };
    if !complete {
        job.status = "failed";
        job.error = Some("validate job definition: vcenter server is required".to_owned());
        job.ended = Some(begun);
    }
    state.jobs.insert(id.clone(), job);
    id
}

fn whole(job: &Job) -> Value {
    let mut found = json!({
        "definition": job.definition, "status": job.status, "started_at": nanos(job.started),
        "updated_at": nanos(job.ended.unwrap_or(job.started)),
        "progress": {
            "phase": "connecting", "files_downloaded": 0, "total_files": 0, "bytes_downloaded": 0, "bytes_transferred": 0,
            "total_bytes": 0, "percent_complete": 0,
        },
    });
    ends(&mut found, job);
    found
}

fn ends(found: &mut Value, job: &Job) {
    let Some(fields) = found.as_object_mut() else { return };
    if let Some(error) = &job.error {
        fields.insert("error".to_owned(), error.as_str().into());
    }
    if let Some(ended) = job.ended {
        fields.insert("completed_at".to_owned(), nanos(ended).into());
    }
}

pub(super) fn query(state: &mut State, call: &Call) -> Handled {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    let all = call.parameter("all") == "true" || body.get("all") == Some(&Value::Bool(true));
    let among = |key: &str, value: &str| {
        let list = body.get(key).and_then(Value::as_array);
        list.map(|list| list.iter().any(|each| each == value))
    };
    let wanted = |(id, job): &(&String, &Job)| {
        let (by_id, by_status) = (among("job_ids", id), among("status", job.status));
        by_id.unwrap_or(all || by_status.is_some()) && by_status.unwrap_or(true)
    };
    let jobs: Vec<Value> = state.jobs.iter().filter(wanted).map(|(_, job)| whole(job)).collect();
    let total = jobs.len();
    let jobs = if jobs.is_empty() { Value::Null } else { jobs.into() };
    Ok(Answer::ok(&json!({"jobs": jobs, "total": total, "timestamp": now()})))
}

pub(super) fn cancel(state: &mut State, call: &Call) -> Handled {
    let body: Value = serde_json::from_slice(&call.body)
        .map_err(|_| Answer::error(400, "invalid request: unexpected EOF"))?;
    let (mut cancelled, mut failed, mut errors) = (Vec::new(), Vec::new(), Map::new());
    for id in body.get("job_ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let error = match state.jobs.get_mut(id) {
            None => format!("job not found: {id}"),
            Some(job) if job.ended.is_some() => {
                format!("job {id} cannot be cancelled (status: {})", job.status)
            }
            Some(job) => {
                job.status = "cancelled";
                job.ended = Some(SystemTime::now());
                cancelled.push(id.to_owned());
                continue;
            }
        };
        failed.push(id.to_owned());
        errors.insert(id.to_owned(), error.into());
    }
    Ok(Answer::ok(&json!({"cancelled": cancelled, "failed": failed, "errors": errors, "timestamp": now()})))
}

pub(super) fn one(state: &mut State, call: &Call) -> Handled {
    let rest = call.path.strip_prefix("/jobs/").unwrap_or_default();
    let (part, id) = rest.split_once('/').unwrap_or(("", rest));
    if id.is_empty() {
        return Ok(Answer::error(400, "job ID required"));
    }
    let Some(job) = state.jobs.get(id) else {
        return Ok(Answer::error(404, format!("job not found: {id}")));
    };
    Ok(Answer::ok(&match part {
        "" => whole(job),
        "progress" => progress(id, job),
        "logs" => logs(id, job),
        "eta" => {
            let message = if job.ended.is_some() {
                format!("Job already {}", job.status)
            } else {
                "Job not started yet".to_owned()
            };
            json!({"job_id": id, "status": job.status, "eta": {"message": message}, "timestamp": now()})
        }
        _ => return Ok(Answer::text(404, "404 page not found")),
    }))
}

fn progress(id: &str, job: &Job) -> Value {
    let elapsed = job.started.elapsed().unwrap_or_default().as_secs_f64();
    let mut found = json!({
        "job_id": id, "status": job.status, "started_at": nanos(job.started), "elapsed_seconds": elapsed, "timestamp": now(),
        "progress": {
            "phase": "connecting", "current_file": "", "current_step": "", "files_downloaded": 0, "total_files": 0,
            "bytes_downloaded": 0, "total_bytes": 0, "percent_complete": 0, "estimated_remaining": "", "export_method": "",
        },
    });
    ends(&mut found, job);
    found
}

fn logs(id: &str, job: &Job) -> Value {
    let mut lines = vec![
        json!({"timestamp": nanos(job.started), "level": "info", "message": "Job created"}),
        json!({"timestamp": nanos(job.started), "level": "info", "message": "Job started"}),
    ];
    if let Some(ended) = job.ended {
        let mut line =
            json!({"timestamp": nanos(ended), "level": "error", "message": format!("Job {}", job.status)});
        if let (Some(error), Some(fields)) = (&job.error, line.as_object_mut()) {
            fields.insert("error".to_owned(), error.as_str().into());
        }
        lines.push(line);
    }
    json!({"job_id": id, "log_count": lines.len(), "logs": lines, "timestamp": now()})
}
