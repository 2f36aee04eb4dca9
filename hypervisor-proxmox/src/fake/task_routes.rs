//! `/nodes/{node}/tasks` and `/cluster/tasks`.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::reply::{Answer, Outcome, Refusal, data, done};
use super::tasks::Task;
use crate::Upid;

fn facts(task: &Task) -> Map<String, Value> {
    let upid = &task.upid;
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
    put("upid", upid.as_str().into());
    put("node", upid.node().into());
    put("pid", upid.pid().into());
    put("pstart", upid.process_start().into());
    put("starttime", start_of(upid).into());
    put("type", upid.kind().into());
    put("id", upid.subject().unwrap_or_default().into());
    put("user", upid.user().into());
    if let Some(token) = upid.token() {
        put("tokenid", token.into());
    }
    row
}

fn start_of(upid: &Upid) -> u64 {
    upid.started().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A row of the finished tasks.
fn archived(cluster: &Cluster, task: &Task) -> Map<String, Value> {
    let mut row = facts(task);
    if let Some((exit, at)) = &task.exit {
        row.insert("status".into(), exit.as_str().into());
        row.insert("endtime".into(), cluster.clock.at(*at).into());
    }
    row
}

/// A row of the tasks that run: the user is not split, and `saved` is text.
fn active(task: &Task) -> Map<String, Value> {
    let mut row = facts(task);
    row.insert("status".into(), "RUNNING".into());
    row.insert("saved".into(), "0".into());
    row.insert("user".into(), task.upid.owner().into());
    row.remove("tokenid");
    row
}

fn class(exit: &str) -> &'static str {
    match exit {
        "OK" => "ok",
        "unexpected status" => "unknown",
        _ if exit.starts_with("WARNINGS:") => "warning",
        _ => "error",
    }
}

/// Whether the caller may see a task: the own ones always.
fn visible(cluster: &Cluster, call: &Call, task: &Task) -> bool {
    task.upid.user() == call.who.user
        || cluster.may(&call.who, &format!("/nodes/{}", task.upid.node()), &["Sys.Audit"])
}

/// `GET /nodes/{node}/tasks`.
pub(super) fn list(cluster: &Cluster, call: &Call, host: &str) -> Outcome {
    let source = call.get("source").unwrap_or("archive");
    let wanted = call.params.list("statusfilter");
    let number = |key: &str| call.params.number(key);
    let fits = |task: &Task| {
        let here = match source {
            "active" => task.is_running(),
            "archive" => !task.is_running(),
            _ => true,
        };
        let exit = task.exit.as_ref().map(|(exit, _)| exit.as_str());
        let subject = task.upid.subject();
        let start = start_of(&task.upid);
        here && visible(cluster, call, task)
            && call.get("typefilter").is_none_or(|kind| kind == task.upid.kind())
            && number("vmid").is_none_or(|vmid| subject == Some(vmid.to_string()))
            && call.get("userfilter").is_none_or(|user| task.upid.owner().contains(user))
            && number("since").is_none_or(|since| start >= since)
            && number("until").is_none_or(|until| start <= until)
            && (wanted.is_empty() || exit.is_some_and(|exit| wanted.contains(&class(exit))))
            && (!call.flag("errors") || exit.is_some_and(|exit| class(exit) == "error"))
    };
    let found: Vec<&Task> = cluster.tasks.of_host(host).into_iter().filter(|task| fits(task)).collect();
    let start = usize::try_from(number("start").unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = usize::try_from(number("limit").unwrap_or(50)).unwrap_or(usize::MAX);
    let limit = if limit == 0 { usize::MAX } else { limit };
    let total = found.len();
    let rows: Vec<Value> = found
        .into_iter()
        .skip(start)
        .take(limit)
        .map(|task| Value::Object(if task.is_running() { active(task) } else { archived(cluster, task) }))
        .collect();
    Ok(Answer::Total(rows.into(), total))
}

/// `GET /cluster/tasks`: the recent ones of all hosts.
pub(super) fn of_cluster(cluster: &Cluster, call: &Call) -> Outcome {
    let mut tasks: Vec<&Task> =
        cluster.tasks.all.values().filter(|task| visible(cluster, call, task)).collect();
    tasks.sort_by_key(|task| (!task.is_running(), std::cmp::Reverse(task.number)));
    let rows: Vec<Value> = tasks
        .into_iter()
        .take(25)
        .map(|task| {
            let mut row = archived(cluster, task);
            row.remove("pstart");
            if !task.is_running() {
                row.remove("pid");
                row.insert("saved".into(), "1".into());
            }
            Value::Object(row)
        })
        .collect();
    data(rows)
}

/// # Errors
/// 400 where the text is no id of a task.
fn parse(upid: &str) -> Result<Upid, Refusal> {
    upid.parse().map_err(|_| Refusal::parameter("upid", "unable to parse worker upid"))
}

fn may_read(cluster: &Cluster, call: &Call, upid: &Upid) -> Result<(), Refusal> {
    if upid.user() == call.who.user {
        return Ok(());
    }
    cluster.need(&call.who, &format!("/nodes/{}", upid.node()), &["Sys.Audit"])
}

/// `GET /nodes/{node}/tasks/{upid}/status`.
pub(super) fn status(cluster: &mut Cluster, call: &Call, host: &str, text: &str) -> Outcome {
    let upid = parse(text)?;
    may_read(cluster, call, &upid)?;
    let unknown = || Refusal::parameter("upid", "no such task");
    if upid.node() != host {
        return Err(unknown());
    }
    let task = cluster.tasks.all.get_mut(text).ok_or_else(unknown)?;
    if task.unknown_looks > 0 {
        task.unknown_looks -= 1;
        return Err(unknown());
    }
    let mut row = facts(task);
    match &task.exit {
        Some((exit, _)) => {
            row.insert("status".into(), "stopped".into());
            row.insert("exitstatus".into(), exit.as_str().into());
        }
        None => {
            row.insert("status".into(), "running".into());
        }
    }
    data(row)
}

/// `GET /nodes/{node}/tasks/{upid}/log`.
pub(super) fn log(cluster: &Cluster, call: &Call, text: &str) -> Outcome {
    let upid = parse(text)?;
    may_read(cluster, call, &upid)?;
    let lines: Vec<String> = match cluster.tasks.all.get(text) {
        None => vec!["unable to open file - No such file or directory".to_owned()],
        Some(task) if task.log.is_empty() => vec!["no content".to_owned()],
        Some(task) => task.log.clone(),
    };
    if call.flag("download") {
        let stamp = super::clock::stamp(start_of(&upid)).replace(' ', "T");
        let name = format!("task-{}-{}-{stamp}Z.log", upid.node(), upid.kind());
        return Ok(Answer::File { name, text: lines.join("\n") });
    }
    let count = |key: &str, otherwise: u64| {
        usize::try_from(call.params.number(key).unwrap_or(otherwise)).unwrap_or(usize::MAX)
    };
    let limit = match count("limit", 50) {
        0 => usize::MAX,
        limit => limit,
    };
    let total = lines.len();
    let rows: Vec<Value> = lines
        .into_iter()
        .zip(1_u64..)
        .skip(count("start", 0))
        .take(limit)
        .map(|(line, number)| json!({ "n": number, "t": line }))
        .collect();
    Ok(Answer::Total(rows.into(), total))
}

/// `DELETE /nodes/{node}/tasks/{upid}`.
pub(super) fn stop(cluster: &mut Cluster, call: &Call, text: &str) -> Outcome {
    let upid = parse(text)?;
    if upid.user() != call.who.user {
        cluster.need(&call.who, &format!("/nodes/{}", upid.node()), &["Sys.Modify"])?;
    }
    cluster.interrupt(text);
    done()
}
