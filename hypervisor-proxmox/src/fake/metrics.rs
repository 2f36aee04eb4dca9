//! rrddata: figures of the past, made up from the clock so that they are the same for each look.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::Kind;
use super::reply::{Outcome, Refusal, data};

/// Seconds between two points, and how many there are.
fn raster(timeframe: &str) -> (u64, u64) {
    match timeframe {
        "day" => (60, 1_440),
        "week" => (1_800, 336),
        "month" => (1_800, 1_440),
        "year" => (21_600, 1_460),
        "decade" => (604_800, 520),
        _ => (60, 70),
    }
}

/// A number between 0 and 1 for a name and a time.
fn share(name: &str, time: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (name, time).hash(&mut hasher);
    f64::from(u16::try_from(hasher.finish() % 1_000).unwrap_or(0)) / 1_000.0
}

/// Points of a series: columns that move below a limit, and such that stay.
fn series(
    cluster: &Cluster,
    call: &Call,
    since: u64,
    columns: &[(&str, f64)],
    fixed: &[(&str, f64)],
) -> Outcome {
    let (step, count) = raster(call.get("timeframe").unwrap_or("hour"));
    let end = cluster.clock.unix() / step * step;
    let rows: Vec<Value> = (0..count)
        .rev()
        .map(|back| {
            let time = end.saturating_sub(back * step);
            let mut row = Map::new();
            row.insert("time".into(), time.into());
            // Before it ran there is a time and nothing else.
            if time >= since {
                for (name, scale) in columns {
                    row.insert((*name).to_owned(), json!(share(name, time) * scale));
                }
                for (name, value) in fixed {
                    row.insert((*name).to_owned(), json!(value));
                }
            }
            Value::Object(row)
        })
        .collect();
    data(rows)
}

const GIB: f64 = 1_073_741_824.0;

/// `GET …/rrddata` of a guest.
pub(super) fn guest(cluster: &Cluster, call: &Call, (kind, host, vmid): (Kind, &str, u32)) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let since = if guest.is_running() { cluster.clock.at(guest.since) / 60 * 60 } else { u64::MAX };
    let columns = [
        ("cpu", 1.0),
        ("mem", GIB),
        ("memhost", GIB),
        ("disk", 0.0),
        ("netin", 1_000.0),
        ("netout", 500.0),
        ("diskread", 2_000.0),
        ("diskwrite", 1_000.0),
    ];
    let count = |number: u64| u32::try_from(number >> 20).map_or(0.0, f64::from) * 1_048_576.0;
    let fixed = [
        ("maxcpu", u32::try_from(guest.cpus(cluster.cpus_of(host))).map_or(1.0, f64::from)),
        ("maxmem", count(guest.memory())),
        ("maxdisk", count(guest.main_disk_size())),
    ];
    series(cluster, call, since, &columns, &fixed)
}

/// `GET /nodes/{node}/rrddata`.
pub(super) fn host(cluster: &Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Audit"])?;
    let columns = [
        ("cpu", 1.0),
        ("iowait", 0.1),
        ("loadavg", 2.0),
        ("memused", 8.0 * GIB),
        ("netin", 1_000.0),
        ("netout", 500.0),
        ("rootused", 21.0 * GIB),
    ];
    let cpus = u32::try_from(cluster.cpus_of(host)).map_or(1.0, f64::from);
    let fixed = [("maxcpu", cpus), ("memtotal", 64.0 * GIB), ("roottotal", 252.0 * GIB)];
    series(cluster, call, 0, &columns, &fixed)
}

/// `GET /nodes/{node}/storage/{storage}/rrddata`.
pub(super) fn storage(cluster: &Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/storage/{name}"), &["Datastore.Audit", "Datastore.AllocateSpace"])?;
    cluster.storage(name)?;
    series(cluster, call, 0, &[("used", 21.0 * GIB)], &[("total", 252.0 * GIB)])
}
