//! `/nodes/{node}/network`.
//!
//! As on the real server there are two configurations: the one in force, and the one that is written and waits until the network is
//! reloaded. Lists show what waits, and beside it what would change.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::call::Call;
use super::cluster::{Cluster, Host};
use super::guest::Config;
use super::reply::{Answer, Outcome, Refusal, data, done};
use super::tasks::Work;

/// Keys that are numbers in answers.
const NUMBERS: &[&str] = &["autostart", "exists", "priority", "bridge_vlan_aware", "vlan-id"];

fn row(name: Option<&str>, config: &Config, active: bool) -> Value {
    let mut row: Map<String, Value> = config
        .iter()
        // What is switched off is not written.
        .filter(|(key, value)| !(key.as_str() == "autostart" && value.as_str() == "0"))
        .map(|(key, value)| {
            let number = value.parse::<i64>().ok().filter(|_| NUMBERS.contains(&key.as_str()));
            (key.clone(), number.map_or_else(|| value.as_str().into(), Value::from))
        })
        .collect();
    if let Some(name) = name {
        row.insert("iface".into(), name.into());
    }
    if let Some(comments) = config.get("comments") {
        row.insert("comments".into(), format!("{}\n", comments.trim_end()).into());
    }
    if config.get("type").is_some_and(|kind| kind == "bridge") {
        for (key, usual) in [("bridge_ports", ""), ("bridge_stp", "off"), ("bridge_fd", "0")] {
            row.entry(key).or_insert_with(|| usual.into());
        }
    }
    row.insert("families".into(), vec!["inet"].into());
    row.insert("priority".into(), 3.into());
    if active {
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

impl Host {
    /// The interfaces as they are written.
    fn written(&self) -> &BTreeMap<String, Config> {
        self.waiting.as_ref().unwrap_or(&self.interfaces)
    }

    fn written_mut(&mut self) -> &mut BTreeMap<String, Config> {
        self.waiting.get_or_insert_with(|| self.interfaces.clone())
    }

    /// What would change, in the manner of `diff`; nothing where nothing would.
    fn changes(&self) -> Option<String> {
        let waiting = self.waiting.as_ref().filter(|waiting| **waiting != self.interfaces)?;
        let names = self.interfaces.keys().chain(waiting.keys());
        let changed: std::collections::BTreeSet<&String> =
            names.filter(|name| self.interfaces.get(*name) != waiting.get(*name)).collect();
        let lines = changed.into_iter().map(|name| {
            let sign = if waiting.contains_key(name) { '+' } else { '-' };
            format!("{sign}iface {name} inet manual\n")
        });
        Some(format!(
            "--- /etc/network/interfaces\n+++ /etc/network/interfaces.new\n{}",
            lines.collect::<String>()
        ))
    }

    /// The first half of a reload: what is written is the host's file.
    pub(super) fn take_over(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.interfaces = waiting;
        }
    }

    /// The second: only what starts with the host comes up; what was up stays up.
    pub(super) fn bring_up(&mut self) {
        let starts = |config: &Config| config.get("autostart").is_some_and(|on| on == "1");
        let (interfaces, up) = (&self.interfaces, &mut self.up);
        up.retain(|name| interfaces.contains_key(name));
        up.extend(interfaces.iter().filter(|(_, config)| starts(config)).map(|(name, _)| name.clone()));
    }
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
        .written()
        .iter()
        .filter(|(_, config)| of_type(config))
        .map(|(name, config)| row(Some(name), config, host.up.contains(name)))
        .collect();
    if call.get("type") == Some("include_sdn") {
        for (name, _) in cluster.vnets.iter().filter(|(_, config)| super::sdn::is_in_force(config)) {
            rows.push(serde_json::json!({ "iface": name, "type": "vnet", "active": 1 }));
        }
    }
    Ok(match host.changes() {
        Some(changes) => Answer::Changes(rows.into(), changes),
        None => Answer::Data(rows.into()),
    })
}

fn missing() -> Refusal {
    Refusal::parameter("iface", "interface does not exist")
}

fn get(cluster: &Cluster, host: &str, name: &str) -> Outcome {
    let host = cluster.host(host)?;
    let known = host.written().get(name).ok_or_else(missing)?;
    data(row(None, known, host.up.contains(name)))
}

fn settings(call: &Call) -> Config {
    let mut config = call.params.joined();
    for key in ["iface", "node", "delete", "digest"] {
        config.remove(key);
    }
    // Each change says anew whether there is an address.
    for (cidr, address, netmask, method) in
        [("cidr", "address", "netmask", "method"), ("cidr6", "address6", "netmask6", "method6")]
    {
        let (is, prefix) = match config.get(cidr).and_then(|cidr| cidr.split_once('/')) {
            Some((is, prefix)) => (is.to_owned(), prefix.to_owned()),
            None => {
                config.insert(method.to_owned(), "manual".to_owned());
                continue;
            }
        };
        config.insert(address.to_owned(), is);
        config.insert(netmask.to_owned(), prefix);
        config.insert(method.to_owned(), "static".to_owned());
    }
    config
}

fn create(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let name = call.params.needed("iface")?.to_owned();
    let config = settings(call);
    let Some(host) = cluster.host_mut(host) else { return done() };
    if host.written().contains_key(&name) {
        return Err(Refusal::parameter("iface", "interface already exists"));
    }
    host.written_mut().insert(name, config);
    done()
}

fn update(cluster: &mut Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let host = cluster.host_mut(host).ok_or_else(missing)?;
    if !host.written().contains_key(name) {
        return Err(missing());
    }
    let known = host.written_mut().entry(name.to_owned()).or_default();
    for key in call.params.list("delete") {
        known.remove(key);
        if let Some(suffix) = key.strip_prefix("cidr") {
            known.remove(&format!("address{suffix}"));
            known.remove(&format!("netmask{suffix}"));
        }
    }
    known.extend(settings(call));
    done()
}

fn delete(cluster: &mut Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    let host = cluster.host_mut(host).ok_or_else(missing)?;
    if !host.written().contains_key(name) {
        return Err(missing());
    }
    host.written_mut().remove(name);
    done()
}

fn reload(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    if !cluster.options.reloads {
        return Err(Refusal::die("you need ifupdown2 to reload network configuration"));
    }
    // The worker begins with it, so that a reload that fails has done that much.
    cluster.host_mut(host).into_iter().for_each(Host::take_over);
    let host_name = host.to_owned();
    let work =
        Work { who: &call.who, host, kind: "srvreload".into(), subject: "networking".into(), lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, _| {
            cluster.host_mut(&host_name).into_iter().for_each(Host::bring_up);
            Ok(())
        },
    );
    data(upid)
}

fn revert(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Modify"])?;
    if let Some(host) = cluster.host_mut(host) {
        host.waiting = None;
    }
    done()
}
