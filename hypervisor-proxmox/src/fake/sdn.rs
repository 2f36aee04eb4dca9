//! `/cluster/sdn`: zones and vnets. What is new or deleted takes effect when the configuration is applied.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Config, digest};
use super::reply::{Outcome, Refusal, data, done};
use super::tasks::Work;

/// Whether an object is part of what was last applied.
pub(super) fn is_in_force(config: &Config) -> bool {
    config.get("state").is_none_or(|state| state != "new")
}

fn is_deleted(config: &Config) -> bool {
    config.get("state").is_some_and(|state| state == "deleted")
}

/// With `pending` a new object has its settings beside the row: they are not in force.
fn row(key: &str, name: &str, config: &Config, pending: bool) -> Value {
    let settings = config.iter().filter(|(key, _)| key.as_str() != "state").map(|(key, value)| {
        let number =
            value.parse::<i64>().ok().filter(|_| matches!(key.as_str(), "tag" | "vlanaware" | "mtu"));
        (key.clone(), number.map_or_else(|| value.as_str().into(), Value::from))
    });
    let mut row: Map<String, Value> = settings.collect();
    if let Some(state) = config.get("state").filter(|_| pending) {
        let waits = !is_in_force(config);
        let (now, later) = row.into_iter().partition(|(key, _)| !waits || key == "type");
        row = now;
        row.insert(
            "pending".into(),
            Value::Object(later).as_object().filter(|_| waits).cloned().unwrap_or_default().into(),
        );
        row.insert("state".into(), state.as_str().into());
    }
    row.insert(key.to_owned(), name.into());
    row.insert("digest".into(), digest(name).into());
    Value::Object(row)
}

pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Option<Outcome> {
    Some(match (call.method.as_str(), rest) {
        ("GET", []) => super::cluster_routes::index(&["vnets", "zones"]),
        ("PUT", []) => apply(cluster, call),
        ("GET", ["zones"]) => {
            let rows =
                cluster.zones.iter().map(|(name, config)| row("zone", name, config, call.flag("pending")));
            data(rows.collect::<Vec<_>>())
        }
        ("GET", ["zones", name]) => match cluster.zones.get(*name) {
            Some(config) => data(row("zone", name, config, true)),
            None => Err(Refusal::die(format!("sdn '{name}' does not exist"))),
        },
        ("POST", ["zones"]) => create(cluster, call, "zone"),
        ("DELETE", ["zones", name]) => delete_zone(cluster, call, name),
        ("GET", ["vnets"]) => vnets(cluster, call),
        ("GET", ["vnets", name]) => match cluster.vnets.get(*name).filter(|config| !is_deleted(config)) {
            Some(config) => data(row("vnet", name, config, true)),
            None => Err(missing(name)),
        },
        ("POST", ["vnets"]) => create(cluster, call, "vnet"),
        ("PUT", ["vnets", name]) => update(cluster, call, name),
        ("DELETE", ["vnets", name]) => delete_vnet(cluster, call, name),
        ("GET", ["vnets", _, "subnets"]) => data(Vec::<Value>::new()),
        _ => return None,
    })
}

fn missing(name: &str) -> Refusal {
    Refusal::die(format!("sdn '{name}' does not exist"))
}

fn vnets(cluster: &Cluster, call: &Call) -> Outcome {
    let visible = |config: &Config, name: &str| {
        let zone = config.get("zone").map_or("localnetwork", String::as_str);
        cluster.may(&call.who, &format!("/sdn/zones/{zone}/{name}"), &["SDN.Audit", "SDN.Allocate"])
    };
    let rows = cluster
        .vnets
        .iter()
        .filter(|(name, config)| visible(config, name) && (call.flag("pending") || !is_deleted(config)))
        .map(|(name, config)| row("vnet", name, config, call.flag("pending")));
    data(rows.collect::<Vec<_>>())
}

fn settings(call: &Call, own: &str) -> Config {
    let mut config = call.params.joined();
    for key in [own, "digest", "delete", "lock-token"] {
        config.remove(key);
    }
    config
}

fn create(cluster: &mut Cluster, call: &Call, key: &str) -> Outcome {
    let name = call.params.needed(key)?.to_owned();
    let mut config = settings(call, key);
    config.insert("type".to_owned(), config.get("type").cloned().unwrap_or_else(|| key.to_owned()));
    config.insert("state".to_owned(), "new".to_owned());
    if key == "vnet" {
        let zone = call.params.needed("zone")?;
        if !cluster.zones.contains_key(zone) {
            return Err(Refusal::die(format!("create sdn vnet object failed: zone '{zone}' does not exist")));
        }
        cluster.need(&call.who, &format!("/sdn/zones/{zone}"), &["SDN.Allocate"])?;
    } else {
        cluster.need(&call.who, "/sdn/zones", &["SDN.Allocate"])?;
    }
    let known = if key == "vnet" { &mut cluster.vnets } else { &mut cluster.zones };
    if known.contains_key(&name) {
        return Err(Refusal::die(format!(
            "create sdn {key} object failed: sdn {key} object ID '{name}' already defined"
        )));
    }
    known.insert(name, config);
    done()
}

fn update(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, "/sdn/zones", &["SDN.Allocate"])?;
    let config = cluster.vnets.get_mut(name).ok_or_else(|| missing(name))?;
    config.extend(settings(call, "vnet"));
    config.entry("state".to_owned()).or_insert_with(|| "changed".to_owned());
    done()
}

fn delete_vnet(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, "/sdn/zones", &["SDN.Allocate"])?;
    match cluster.vnets.get_mut(name).filter(|config| !is_deleted(config)) {
        Some(config) if is_in_force(config) => {
            config.insert("state".to_owned(), "deleted".to_owned());
            done()
        }
        Some(_) => {
            cluster.vnets.remove(name);
            done()
        }
        None => Err(missing(name)),
    }
}

fn delete_zone(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, "/sdn/zones", &["SDN.Allocate"])?;
    if let Some((vnet, _)) =
        cluster.vnets.iter().find(|(_, config)| config.get("zone").map(String::as_str) == Some(name))
    {
        return Err(Refusal::die(format!(
            "delete sdn zone object failed: zone {name} is used by vnet {vnet}"
        )));
    }
    match cluster.zones.remove(name) {
        Some(_) => done(),
        None => Err(missing(name)),
    }
}

fn apply(cluster: &mut Cluster, call: &Call) -> Outcome {
    cluster.need(&call.who, "/sdn", &["SDN.Allocate"])?;
    let host = call.entry.clone();
    let work = Work {
        who: &call.who,
        host: &host,
        kind: "reloadnetworkall".into(),
        subject: String::new(),
        lock: None,
    };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        |cluster, _| {
            cluster.vnets.retain(|_, config| !is_deleted(config));
            for config in cluster.vnets.values_mut().chain(cluster.zones.values_mut()) {
                config.remove("state");
            }
            // Every host reloads its own network, with what waits there.
            for host in &mut cluster.hosts {
                host.take_over();
                host.bring_up();
            }
            Ok(())
        },
    );
    data(upid)
}

/// `GET /nodes/{node}/sdn/zones/…`.
pub(super) fn on_host(cluster: &Cluster, call: &Call, rest: &[&str]) -> Outcome {
    let _ = call;
    match rest {
        [] => {
            let names = std::iter::once("localnetwork").chain(cluster.zones.keys().map(String::as_str));
            data(names.map(|zone| json!({ "zone": zone, "status": "available" })).collect::<Vec<_>>())
        }
        [zone, "content"] => {
            let of_zone = cluster
                .vnets
                .iter()
                .filter(|(_, config)| config.get("zone").map(String::as_str) == Some(*zone));
            data(of_zone.map(|(name, _)| json!({ "vnet": name, "status": "available" })).collect::<Vec<_>>())
        }
        _ => data(Vec::<Value>::new()),
    }
}
