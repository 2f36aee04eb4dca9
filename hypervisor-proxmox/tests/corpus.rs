//! The recorded exchanges with a real server, read again: every answer of a call that is decoded gives what is written down in
//! `fixtures/corpus.txt`, every refusal its kind, and every request is judged by the table of parameters as the server judged it.
//!
//! A selection lies in `fixtures/corpus.jsonl`; all of them are read where the recordings lie beside the repository.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "that is how tests fail")]

mod reference;

use std::collections::BTreeMap;
use std::time::SystemTime;

use hypervisor_core::model::{GuestKind, NicSource, TaskInfo, VmId, VmInfo};
use hypervisor_core::{Error, Result};
use hypervisor_proxmox::Upid;
use hypervisor_proxmox::wire::error::{self, Reply};
use hypervisor_proxmox::wire::params::{self, Found};
use hypervisor_proxmox::wire::{
    agent, backup, cluster, config, envelope, network, node, pool, resources, rrd, snapshot, status, storage,
    task,
};
use serde_json::{Value, json};

const SELECTION: &str = include_str!("fixtures/corpus.jsonl");
const EXPECTED: &str = include_str!("fixtures/corpus.txt");

/// An exchange as it was recorded.
struct Exchange {
    name: String,
    method: String,
    path: String,
    sent: Option<String>,
    status: u16,
    reason: String,
    body: Vec<u8>,
}

impl Exchange {
    /// `None` for recordings of something else than one exchange.
    fn read(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let body = match (&entry["json"], &entry["body"]) {
            (Value::Null, body) => body.as_str().unwrap_or_default().as_bytes().to_vec(),
            (json, _) => json.to_string().into_bytes(),
        };
        Some(Self {
            name: text("name")?,
            method: text("method")?,
            path: text("path")?,
            sent: entry["request"]["body"].as_str().map(str::to_owned),
            status: entry["status"].as_u64()?.try_into().ok()?,
            reason: text("reason").unwrap_or_default(),
            body,
        })
    }

    fn reply(&self) -> Reply<'_> {
        Reply::new(self.status, &self.reason, &self.body)
    }
}

fn selection() -> Vec<Exchange> {
    SELECTION.lines().filter_map(|line| Exchange::read(&serde_json::from_str(line).unwrap())).collect()
}

fn all() -> Option<Vec<Exchange>> {
    let folder = reference::folder("the replay of all recorded exchanges")?;
    Some(reference::exchanges(&folder).iter().filter_map(Exchange::read).collect())
}

fn said(error: &Error) -> String {
    let fields: Vec<String> = error.fields().iter().map(|(field, why)| format!("{field}: {why}")).collect();
    let mut text = format!("{:?} {:?} {:?}", error.kind(), error.retry(), error.effect());
    if let Some(target) = error.target() {
        text.push_str(&format!(" of {target}"));
    }
    if !fields.is_empty() {
        text.push_str(&format!(" [{}]", fields.join("; ")));
    }
    text
}

fn vm(info: &VmInfo) -> String {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut text = format!(
        "{} {} {} `{}` on {} cpus {} memory {}",
        info.kind,
        info.id,
        info.state,
        info.name,
        or(info.host.as_ref().map(ToString::to_string)),
        or(info.cpus.map(|cpus| cpus.to_string())),
        or(info.memory.map(|memory| memory.to_string()))
    );
    if let Some(lock) = &info.lock {
        text.push_str(&format!(" locked {lock}"));
    }
    if info.template {
        text.push_str(" template");
    }
    if !info.tags.is_empty() {
        text.push_str(&format!(" tags {}", info.tags.iter().cloned().collect::<Vec<_>>().join(",")));
    }
    text
}

fn one_task(info: &TaskInfo) -> String {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut text = format!(
        "{} {:?} of {} on {} by {}",
        or(info.operation.map(|operation| operation.to_string())),
        info.state,
        or(info.vm.as_ref().map(ToString::to_string)),
        or(info.host.as_ref().map(ToString::to_string)),
        or(info.user.clone())
    );
    if !info.warnings.is_empty() {
        text.push_str(" with warnings");
    }
    if let Some(why) = &info.error {
        text.push_str(&format!(": {why} = {}", said(&error::task_failure(why))));
    }
    text
}

fn lines<T>(items: &[T], line: impl Fn(&T) -> String) -> String {
    let lines: Vec<String> = items.iter().map(line).collect();
    format!("{} [{}]", items.len(), lines.join(" | "))
}

fn configuration(id: &VmId, body: &[u8], kind: GuestKind) -> Result<String> {
    let read = config::Config::read(body, kind)?;
    let found = config::decode(id, &read);
    let mut info = VmInfo::new(id, "", hypervisor_core::model::VmState::Stopped).kind(kind);
    config::fill_in(&mut info, &read);
    let disks = lines(&found.disks, |disk| {
        let volume = disk.volume.as_ref().map_or("-", |volume| volume.as_str());
        let size = disk.capacity.map_or_else(|| "-".to_owned(), |size| size.to_string());
        format!("{} {} {volume} {size}", disk.id, disk.device)
    });
    let nics = lines(&found.nics, |nic| {
        let NicSource::Network(network) = &nic.source else { return format!("{nic:?}") };
        format!(
            "{} {} {network} {}",
            nic.id,
            nic.model,
            nic.mac.map(|mac| mac.to_string()).unwrap_or_default()
        )
    });
    let options = found.spec.options.options::<config::VmOptions>()?;
    let rest: Vec<String> = options.config.keys().cloned().collect();
    let devices: Vec<String> = options.devices.iter().map(|(slot, text)| format!("{slot}: {text}")).collect();
    Ok(format!(
        "{} agent {} onboot {} uid {} order {:?} firmware {:?} disks {disks} nics {nics} more [{}] devices [{}] cloud-init {:?}",
        vm(&info),
        found.spec.agent,
        found.spec.autostart,
        info.uid.is_some(),
        found.spec.boot.order,
        found.spec.boot.firmware,
        rest.join(","),
        devices.join(","),
        options.cloud_init
    ))
}

/// What the driver makes of the answer of a call; `None` for calls whose answers it hands on as they are.
fn decoded(exchange: &Exchange, found: &Found) -> Option<Result<String>> {
    let body = exchange.body.as_slice();
    let path = found.endpoint.path;
    let of = |name: &str| found.path.get(name).map(String::as_str).unwrap_or_default();
    let kind = if path.starts_with("/nodes/{node}/lxc") { GuestKind::Container } else { GuestKind::Vm };
    let short = path.strip_prefix("/nodes/{node}/qemu").or_else(|| path.strip_prefix("/nodes/{node}/lxc"));
    if exchange.method != "GET" {
        return Some(match path {
            "/nodes/{node}/qemu/{vmid}/agent/exec" => {
                agent::started(body).map(|pid| format!("process {pid}"))
            }
            "/nodes/{node}/qemu/{vmid}/agent/ping" => agent::result(body).map(|answer| answer.to_string()),
            path if path.starts_with("/access")
                || path.ends_with("proxy")
                || path.starts_with("/storage") =>
            {
                return None;
            }
            _ => envelope::id(body).and_then(|id| match id {
                None => Ok("done".to_owned()),
                Some(id) if id.starts_with("UPID:") => {
                    let upid: Upid = id.parse()?;
                    let operation =
                        upid.operation().map_or_else(|| "-".to_owned(), |operation| operation.to_string());
                    let vm = upid.vm().map_or_else(|| "-".to_owned(), |vm| vm.to_string());
                    Ok(format!(
                        "task {} {operation} of {vm} on {} by {}",
                        upid.kind(),
                        upid.node(),
                        upid.owner()
                    ))
                }
                Some(id) => Ok(format!("id {id}")),
            }),
        });
    }
    Some(match (short, path) {
        (Some(""), _) => status::guests(body, kind, of("node")).map(|all| lines(&all, vm)),
        (Some("/{vmid}/status/current"), _) => status::guest(body, kind, of("node")).map(|info| vm(&info)),
        (Some("/{vmid}/config"), _) => configuration(&of("vmid").into(), body, kind),
        (Some("/{vmid}/snapshot/{snapname}/config"), _) => configuration(&of("vmid").into(), body, kind),
        (Some("/{vmid}/pending"), _) => config::decode_pending(body, kind).map(|all| {
            lines(&all, |change| format!("{} {:?} -> {:?}", change.field, change.current, change.pending))
        }),
        (Some("/{vmid}/snapshot"), _) => snapshot::snapshots(body).map(|all| {
            lines(&all, |one| {
                format!("{} current {} memory {} {:?}", one.id, one.current, one.memory, one.description)
            })
        }),
        (Some("/{vmid}/rrddata"), _) => rrd::history(body).map(|history| {
            format!("{} times step {:?} series {}", history.times.len(), history.step, history.series.len())
        }),
        (Some("/{vmid}/agent/exec-status"), _) => agent::output(body).map(|output| {
            output.map_or_else(
                || "runs".to_owned(),
                |output| format!("{:?} {:?} {:?}", output.exit_code, output.stdout, output.stderr),
            )
        }),
        (Some(rest), _) if rest.starts_with("/{vmid}/agent/") => {
            agent::result(body).map(|answer| answer.to_string())
        }
        (_, "/version") => {
            envelope::data::<node::Version>(body).map(|version| format!("{:?}", version.number()))
        }
        (_, "/cluster/status") => cluster::cluster(body).map(|info| {
            let hosts = lines(&info.hosts, |host| format!("{} {}", host.id, host.state));
            format!("{:?} quorate {:?} hosts {hosts}", info.name, info.quorate)
        }),
        (_, "/cluster/resources") => resources::inventory(body).map(|all| {
            format!(
                "guests {} hosts {} pools {} networks {} unreachable {}",
                lines(&all.guests, vm),
                lines(&all.hosts, |host| format!("{} {}", host.id, host.state)),
                lines(&all.pools, |pool| format!("{} {} on {}", pool.id, pool.kind, pool.hosts.len())),
                all.networks.len(),
                all.unreachable.len()
            )
        }),
        (_, "/cluster/nextid") => envelope::id(body).map(|id| format!("{id:?}")),
        (_, "/cluster/tasks" | "/nodes/{node}/tasks") => {
            task::tasks(body).map(|(all, total)| format!("of {total:?}: {}", lines(&all, one_task)))
        }
        (_, "/nodes/{node}/tasks/{upid}/status") => task::task(body).map(|info| one_task(&info)),
        (_, "/nodes/{node}/tasks/{upid}/log") if body.first() == Some(&b'{') => {
            task::log(body, 0, true).map(|log| {
                let errors = task::job_errors(&log);
                format!(
                    "{} lines next {} warnings {:?} errors {errors:?}",
                    log.lines.len(),
                    log.next,
                    task::warnings(&log)
                )
            })
        }
        (_, "/nodes") => node::hosts(body)
            .map(|all| lines(&all, |host| format!("{} {} {:?}", host.id, host.state, host.cpus))),
        (_, "/nodes/{node}/status") => node::host(body, of("node")).and_then(|host| {
            let metrics = node::metrics(body, of("node"), SystemTime::UNIX_EPOCH)?;
            Ok(format!(
                "{} {:?} {:?} {:?} load {}",
                host.id,
                host.cpus,
                host.version,
                host.architecture,
                metrics.load.is_some()
            ))
        }),
        (_, "/nodes/{node}/network") => network::bridges(body, of("node")).map(|all| {
            lines(&all, |bridge| format!("{} active {} {:?}", bridge.id, bridge.active, bridge.cidr))
        }),
        (_, "/storage" | "/nodes/{node}/storage") => {
            storage::pools(body, found.path.get("node").map(String::as_str)).map(|all| {
                lines(&all, |pool| {
                    format!(
                        "{} {} active {} {} contents",
                        pool.id,
                        pool.kind,
                        pool.active,
                        pool.content.len()
                    )
                })
            })
        }
        (_, "/storage/{storage}" | "/nodes/{node}/storage/{storage}/status") => {
            storage::pool(body, of("storage"), found.path.get("node").map(String::as_str)).map(|pool| {
                format!("{:?}", pool.map(|pool| (pool.id, pool.kind, pool.active, pool.capacity.is_some())))
            })
        }
        (_, "/nodes/{node}/storage/{storage}/content") => storage::volumes(body).and_then(|all| {
            let backups = backup::backups(body)?;
            let volumes = lines(&all, |volume| {
                let format = volume.format.as_ref().map(ToString::to_string);
                format!(
                    "{} {} {format:?} {:?} of {:?}",
                    volume.id, volume.capacity, volume.content, volume.vm
                )
            });
            let backups = lines(&backups, |one| {
                format!(
                    "{:?} protected {} {:?} {:?}",
                    one.vm,
                    one.protected,
                    one.description,
                    backup::kind_of(&one.id)
                )
            });
            Ok(format!("{volumes} backups {backups}"))
        }),
        (_, "/nodes/{node}/storage/{storage}/content/{volume}") => storage::volume(body, of("volume"))
            .map(|volume| format!("{:?}", volume.map(|volume| (volume.id, volume.capacity, volume.path)))),
        (_, "/pools") => pool::groups(body).map(|all| {
            lines(&all, |group| format!("{} {} {}", group.id, group.vms.len(), group.pools.len()))
        }),
        (_, "/pools/{poolid}") => pool::group(body, of("poolid")).map(|group| {
            format!("{:?}", group.map(|group| (group.id, group.vms, group.pools, group.description)))
        }),
        _ => return None,
    })
}

/// One line that says what the driver makes of an exchange.
fn outcome(exchange: &Exchange) -> String {
    if error::is_refusal(&exchange.reply()) {
        let refused = error::classify(&exchange.reply());
        // What the server said is never lost.
        let words = String::from_utf8_lossy(&exchange.body).into_owned();
        let message = serde_json::from_str::<Value>(&words)
            .ok()
            .and_then(|body| body["message"].as_str().map(str::to_owned));
        let head = message.unwrap_or_else(|| exchange.reason.clone());
        let kept = refused.message().contains(head.trim().trim_end_matches('.'));
        let of_field = refused.fields().values().any(|why| refused.message() == *why)
            || refused.message().contains("already exists")
            || refused.message() == "no such task";
        assert!(kept || of_field, "{}: `{head}` became `{}`", exchange.name, refused.message());
        return format!("refused {}", said(&refused));
    }
    let Some(found) = params::find(&exchange.method, &exchange.path) else {
        return "unknown call".to_owned();
    };
    match decoded(exchange, &found) {
        None => "as it is".to_owned(),
        Some(Ok(text)) => text,
        Some(Err(error)) => format!("error {}", said(&error)),
    }
}

fn expected() -> BTreeMap<&'static str, &'static str> {
    EXPECTED.lines().filter_map(|line| line.split_once('\t')).collect()
}

fn replayed(exchanges: &[Exchange]) {
    let expected = expected();
    let mut wrong = Vec::new();
    for exchange in exchanges {
        let found = outcome(exchange).replace(['\n', '\t'], " ");
        if std::env::var_os("CORPUS_PRINT").is_some() {
            println!("OUTCOME\t{}\t{found}", exchange.name);
        }
        match expected.get(exchange.name.as_str()) {
            Some(wanted) if **wanted == found => {}
            other => wrong.push(format!(
                "{}\n  wanted {}\n  found  {found}",
                exchange.name,
                other.unwrap_or(&"(nothing)")
            )),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_selection_is_read_as_it_is_written_down() {
    let exchanges = selection();
    assert!(exchanges.len() > 60, "{}", exchanges.len());
    replayed(&exchanges);
}

#[test]
fn every_recorded_exchange_is_read_as_it_is_written_down() {
    let Some(exchanges) = all() else { return };
    replayed(&exchanges);
    assert_eq!(exchanges.len(), expected().len(), "one line of corpus.txt for each exchange");
}

/// The parameters of a form or a query, taken apart as the server does: also at `;`, and cut at the second `=`.
fn parameters(form: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| hypervisor_proxmox::wire::form::decoded_text(&text.replace('+', " "));
    let parts = form.split(['&', ';']).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let mut pair = part.splitn(3, '=');
            (decoded(pair.next().unwrap_or_default()), decoded(pair.next().unwrap_or_default()))
        })
        .collect()
}

/// What the server says that needs more than the schema to know.
const BEYOND_THE_SCHEMA: [&str; 9] = [
    "already exists",
    "no such task",
    "hotplug problem",
    "Only root may use this option.",
    "target is local node.",
    "at the same time",
    "wrong file extension",
    "unable to parse worker upid",
    "invalid ACL path",
];

/// Compares what the table says of a request with what the server said of it. Says whether there was something to compare.
fn judged(exchange: &Exchange) -> bool {
    let json = exchange.sent.as_deref().is_some_and(|sent| sent.starts_with('{'));
    // Uploads and broken bodies are not looked at by the schema, and tokens and tickets are refused before it.
    if json || !matches!(exchange.status, 200 | 400 | 500) || exchange.path.contains("/upload") {
        return false;
    }
    let Some(found) = params::find(&exchange.method, &exchange.path) else { return false };
    let query = exchange.path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let mut sent = parameters(query);
    sent.extend(exchange.sent.as_deref().map(parameters).unwrap_or_default());
    let ours = found.check(&sent).err().unwrap_or_default();
    let body: Value = serde_json::from_slice(&exchange.body).unwrap_or_default();
    let theirs: BTreeMap<String, String> = body["errors"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, why)| (field.clone(), why.as_str().unwrap_or_default().to_owned()))
        .filter(|(_, why)| !BEYOND_THE_SCHEMA.iter().any(|words| why.contains(words)))
        .collect();
    assert_eq!(ours, theirs, "{}: {} {} {sent:?}", exchange.name, exchange.method, exchange.path);
    true
}

#[test]
fn the_table_judges_the_selection_as_the_server_did() {
    assert!(selection().iter().filter(|exchange| judged(exchange)).count() > 30);
}

#[test]
fn the_table_judges_every_recorded_request_as_the_server_did() {
    let Some(exchanges) = all() else { return };
    let judged = exchanges.iter().filter(|exchange| judged(exchange)).count();
    assert!(judged > 250, "{judged}");
}

/// A value of another kind in the place of one that was recorded, or nothing.
fn mutated(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mutated(item, at, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mutated(field, at, with)),
        _ => {}
    }
}

#[test]
fn an_answer_that_is_odd_in_any_one_place_breaks_no_decoder() {
    let odd = [
        json!(null),
        json!(-1.5),
        json!("N/A"),
        json!([]),
        json!({}),
        json!(true),
        json!(u64::MAX),
        json!([[{}]]),
    ];
    let mut tried = 0;
    for exchange in selection().iter().filter(|exchange| exchange.status == 200) {
        let Ok(answer) = serde_json::from_slice::<Value>(&exchange.body) else { continue };
        let places = answer.to_string().matches([':', ',']).count().min(120);
        let Some(found) = params::find(&exchange.method, &exchange.path) else { continue };
        for place in 0..places {
            for with in &odd {
                let mut answer = answer.clone();
                mutated(&mut answer, &mut place.clone(), with);
                let odd = Exchange {
                    body: answer.to_string().into_bytes(),
                    name: String::new(),
                    sent: None,
                    reason: String::new(),
                    method: exchange.method.clone(),
                    path: exchange.path.clone(),
                    status: 200,
                };
                // What matters is that it comes back.
                drop(decoded(&odd, &found));
                tried += 1;
            }
        }
    }
    assert!(tried > 5000, "{tried}");
}

#[test]
fn every_recorded_task_has_a_known_operation() {
    let Some(exchanges) = all() else { return };
    let mut seen = BTreeMap::new();
    for exchange in &exchanges {
        let text = String::from_utf8_lossy(&exchange.body);
        for (at, _) in text.match_indices("UPID:") {
            let rest = &text[at..];
            let end = rest.find(['"', ' ', '/', '\\', '\'']).unwrap_or(rest.len());
            if let Ok(upid) = rest[..end].parse::<Upid>() {
                assert_eq!(upid.to_string(), rest[..end]);
                seen.insert(upid.kind().to_owned(), upid.operation());
            }
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
    let nameless: Vec<&String> =
        seen.iter().filter(|(_, operation)| operation.is_none()).map(|(kind, _)| kind).collect();
    // The shell of a node is no guest's console.
    assert_eq!(nameless, ["vncshell"]);
}
