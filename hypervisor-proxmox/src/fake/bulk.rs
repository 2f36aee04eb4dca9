//! Many guests with one call: `/cluster/bulk-action` and `/nodes/{node}/startall` and the like.

use std::collections::VecDeque;
use std::time::Duration;

use super::call::{Call, Params, Who};
use super::cluster::Cluster;
use super::guest::Guest;
use super::reply::{Outcome, data};
use super::tasks::{Next, Step, Work};
use super::{migrate, power};

/// What one call does to each guest.
#[derive(Clone)]
struct Job {
    who: Who,
    entry: String,
    verb: String,
    workers: usize,
    params: Params,
}

/// `POST /cluster/bulk-action/guest/{verb}`.
pub(super) fn action(cluster: &mut Cluster, call: &Call, verb: &str) -> Outcome {
    let kind = format!("bulk{verb}");
    let default = if verb == "migrate" { 1 } else { 4 };
    let entry = call.entry.clone();
    run(cluster, call, verb, kind, &entry, default, |_| true)
}

/// `POST /nodes/{node}/startall`, `stopall`, `suspendall` and `migrateall`.
pub(super) fn of_host(cluster: &mut Cluster, call: &Call, host: &str, segments: &[&str]) -> Outcome {
    let kind = segments.first().copied().unwrap_or_default().to_owned();
    let verb = match kind.as_str() {
        "startall" => "start",
        "stopall" => "shutdown",
        "suspendall" => "suspend",
        _ => "migrate",
    };
    run(cluster, call, verb, kind.clone(), host, 1, |guest| guest.host == host)
}

fn run(
    cluster: &mut Cluster,
    call: &Call,
    verb: &str,
    kind: String,
    host: &str,
    workers: u64,
    fits: impl Fn(&Guest) -> bool,
) -> Outcome {
    let needed = if verb == "migrate" { "VM.Migrate" } else { "VM.PowerMgmt" };
    let listed: Vec<u32> = call.params.list("vms").into_iter().filter_map(|id| id.parse().ok()).collect();
    for vmid in &listed {
        cluster.need(&call.who, &format!("/vms/{vmid}"), &[needed])?;
    }
    let wanted: VecDeque<u32> = if listed.is_empty() {
        let all = cluster.guests.values().filter(|guest| fits(guest) && !guest.is_template());
        all.filter(|guest| cluster.may(&call.who, &format!("/vms/{}", guest.vmid), &[needed]))
            .map(|guest| guest.vmid)
            .collect()
    } else {
        listed.into()
    };
    let workers = call.params.number("max-workers").or(call.params.number("maxworkers")).unwrap_or(workers);
    let job = Job {
        who: call.who.clone(),
        entry: host.to_owned(),
        verb: verb.to_owned(),
        workers: usize::try_from(workers).unwrap_or(1),
        params: call.params.clone(),
    };
    let work = Work { who: &call.who, host, kind, subject: String::new(), lock: None };
    data(cluster.dispatch(work, step(job, wanted, Vec::new(), 0)))
}

/// Starts as many tasks as may run at once, looks again soon, and ends when all have ended.
fn step(job: Job, mut waiting: VecDeque<u32>, mut running: Vec<(u32, String)>, mut failed: u32) -> Step {
    Box::new(move |cluster, upid| {
        running.retain(|(vmid, child)| {
            let exit = cluster.tasks.all.get(child).and_then(|task| task.exit.clone());
            if let Some((exit, _)) = &exit
                && exit != "OK"
                && !exit.starts_with("WARNINGS")
            {
                cluster.tasks.log(upid, format!("{vmid}: {exit}"));
                failed += 1;
            }
            exit.is_none()
        });
        while running.len() < job.workers {
            let Some(vmid) = waiting.pop_front() else { break };
            match one(cluster, &job, vmid) {
                Ok(Some(child)) => running.push((vmid, child)),
                Ok(None) => {}
                Err(why) => {
                    cluster.tasks.log(upid, format!("{vmid}: {why}"));
                    failed += 1;
                }
            }
        }
        if running.is_empty() && waiting.is_empty() {
            // As with backups: the job says how many failed, the log which.
            return if failed == 0 {
                Ok(Next::Done)
            } else {
                Err(format!("some guests failed to {}", job.verb))
            };
        }
        let later = cluster.clock.after(Duration::from_secs(1));
        let soonest = running.iter().filter_map(|(_, child)| cluster.tasks.due(child)).min();
        Ok(Next::At(soonest.unwrap_or(later).min(later), step(job, waiting, running, failed)))
    })
}

fn one(cluster: &mut Cluster, job: &Job, vmid: u32) -> Result<Option<String>, String> {
    let guest = cluster.guests.get(&vmid).ok_or_else(|| format!("VM {vmid} does not exist"))?;
    let (kind, host, running) = (guest.kind, guest.host.clone(), guest.is_running());
    let verb = job.verb.as_str();
    // What is there already is passed over.
    if (verb == "start" && running) || (matches!(verb, "shutdown" | "suspend") && !running) {
        return Ok(None);
    }
    if verb == "migrate" {
        let target = job.params.text("target").unwrap_or_default();
        if target == host {
            return Ok(None);
        }
        let with_local = job.params.flag("with-local-disks") || !running;
        return Ok(Some(migrate::start(
            cluster,
            &job.who,
            (kind, &host, vmid),
            target,
            with_local,
            true,
            None,
        )));
    }
    let mut params = Params::default();
    if let Some(timeout) = job.params.get("timeout").filter(|_| verb == "shutdown") {
        params.set("timeout", timeout);
    }
    if verb == "shutdown" && job.params.get("force-stop") != Some("0") {
        params.set("forceStop", "1");
    }
    if verb == "suspend" && job.params.flag("to-disk") {
        params.set("todisk", "1");
    }
    let call = Call {
        method: "POST".to_owned(),
        path: format!("/nodes/{host}/{}/{vmid}/status/{verb}", kind.path()),
        who: job.who.clone(),
        entry: job.entry.clone(),
        params,
        upload: None,
    };
    match power::command(cluster, &call, (kind, &host, vmid), verb) {
        Ok(super::reply::Answer::Data(serde_json::Value::String(upid))) => Ok(Some(upid)),
        Ok(_) => Ok(None),
        Err(refusal) => Err(refusal.message().to_owned()),
    }
}
