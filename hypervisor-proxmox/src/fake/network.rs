//! `/nodes/{node}/network`.
//!
//! Changes wait until the network is reloaded; the fake shows them at once and lets a bridge be used from the reload on.

use serde_json::{Map, Value};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::Config;
use super::reply::{Outcome, Refusal, data, done};
use super::tasks::Work;

/// Keys that are numbers in answers.
const NUMBERS: &[&str] = &["autostart", "active", "exists", "priority", "bridge_vlan_aware", "vlan-id"];

fn row(name: Option<&str>, config: &Config) -> Value {
    let mut row: Map<String, Value> = config
        .iter()
        .filter(|(key, _)| key.as_str() != "pending")
        .map(|(key, value)| {
            let number = value.parse::<i64>().ok().filter(|_| NUMBERS.contains(&key.as_str()));
            (key.clone(), number.map_or_else(|| value.as_str().into(), Value::from))
        })
        .collect();
    if let Some(name) = name {
        row.insert("iface".into(), name.into());
    }
    row.insert("families".into(), vec!["inet"].into());
    row.insert("priority".into(), 3.into());
    if !config.contains_key("pending") {
        row.insert("active".into(), 1.into());
    }
    for key in ["method", "method6"] {
        row.entry(key).or_insert_with(|| "manual".into());
    }
    Value::Object(row)
}

pub(super) fn route(cluster: &mut Cluster, call: &Call, host: &str, rest: &[&str]) -> Option<Outcome> {
    Some(match (call.method.as_str(), rest) {
        ("GET", []) => list(cluster, call, host),
        ("POST", []) => create(cluster, call, host),
        ("PUT", []) => reload(cluster, call, host),
        ("DELETE", []) => revert(cluster, call, host),
        ("GET", [name]) => get(cluster, host, name),
        ("PUT", [name]) => update(cluster, call, host, name),
        ("DELETE", [name]) => delete(cluster, call, host, name),
        _ => return None,
    })
}

fn list(cluster: &Cluster, call: &Call, host: &str) -> Outcome {
    let of_type = |config: &Config| match call.get("type") {
        None => true,
        Some("any_bridge" | "any_local_bridge" | "include_sdn") => {
            matches!(config.get("type").map(String::as_str), Some("bridge" | "OVSBridge"))
        }
        Some(wanted) => config.get("type").map(String::as_str) == Some(wanted),
    };
    let host = cluster.host(host)?;
    let mut rows: Vec<Value> = host
        .interfaces
        .iter()
        .filter(|(_, config)| of_type(config))
        .map(|(name, config)| row(Some(name), config))
        .collect();
    if call.get("type") == Some("include_sdn") {
        for name in cluster.vnets.keys() {
            rows.push(serde_json::json!({ "iface": name, "type": "vnet", "active": 1 }));
        }
    }
    data(rows)
}

fn get(cluster: &Cluster, host: &str, name: &str) -> Outcome {
    let known = cluster.host(host)?.interfaces.get(name);
    data(row(None, known.ok_or_else(|| Refusal::parameter("iface", "interface does not exist"))?))
}

fn settings(call: &Call) -> Config {
    let mut config = call.params.joined();
    for key in ["iface", "node", "delete", "digest"] {
        config.remove(key);
    }
    if let Some((address, prefix)) = config.get("cidr").and_then(|cidr| cidr.split_once('/')) {
        let (address, prefix) = (address.to_owned(), prefix.to_owned());
        config.insert("address".to_owned(), address);
        config.insert("netmask".to_owned(), prefix);
        config.insert("method".to_owned(), "static".to_owned());
    }
    config
}

fn create(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let name = call.params.needed("iface")?.to_owned();
    let mut config = settings(call);
    config.insert("pending".to_owned(), "1".to_owned());
    let Some(host) = cluster.host_mut(host) else { return done() };
    if host.interfaces.contains_key(&name) {
        return Err(Refusal::parameter("iface", "interface already exists"));
    }
    host.interfaces.insert(name, config);
    done()
}

fn update(cluster: &mut Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let host = cluster.host_mut(host);
    let known = host.and_then(|host| host.interfaces.get_mut(name));
    let known = known.ok_or_else(|| Refusal::parameter("iface", "interface does not exist"))?;
    known.extend(settings(call));
    for key in call.params.list("delete") {
        known.remove(key);
    }
    done()
}

fn delete(cluster: &mut Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let host = cluster.host_mut(host);
    match host.and_then(|host| host.interfaces.remove(name)) {
        Some(_) => done(),
        None => Err(Refusal::parameter("iface", "interface does not exist")),
    }
}

fn reload(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let host_name = host.to_owned();
    let work =
        Work { who: &call.who, host, kind: "srvreload".into(), subject: "networking".into(), lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, _| {
            if let Some(host) = cluster.host_mut(&host_name) {
                for config in host.interfaces.values_mut() {
                    config.remove("pending");
                }
            }
            Ok(())
        },
    );
    data(upid)
}

fn revert(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    if let Some(host) = cluster.host_mut(host) {
        host.interfaces.retain(|_, config| !config.contains_key("pending"));
    }
    done()
}
