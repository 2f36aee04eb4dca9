//! Firewall rules and options of the cluster, of hosts and of guests.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Config, digest};
use super::reply::{Outcome, Refusal, data, done};

fn row(position: usize, rule: &Config) -> Value {
    let mut row: Map<String, Value> = rule
        .iter()
        .map(|(key, value)| {
            let number = value.parse::<i64>().ok().filter(|_| key == "enable");
            (key.clone(), number.map_or_else(|| value.as_str().into(), Value::from))
        })
        .collect();
    row.insert("pos".into(), position.into());
    row.insert("digest".into(), digest(&format!("{rule:?}")).into());
    Value::Object(row)
}

fn settings(call: &Call) -> Config {
    let mut config = call.params.joined();
    for key in ["digest", "delete", "pos", "moveto", "node", "vmid"] {
        config.remove(key);
    }
    config
}

/// `…/firewall/…` of the object whose rules have this key.
pub(super) fn route(cluster: &mut Cluster, call: &Call, owner: &str, rest: &[&str]) -> Option<Outcome> {
    let position = |text: &str| text.parse::<usize>().ok();
    let missing = || Refusal::parameter("pos", "no such rule");
    let options = format!("{owner}/options");
    Some(match (call.method.as_str(), rest) {
        ("GET", ["rules"]) => {
            let rules = cluster.rules.get(owner).map(Vec::as_slice).unwrap_or_default();
            data(rules.iter().enumerate().map(|(at, rule)| row(at, rule)).collect::<Vec<_>>())
        }
        // A new rule goes before all others, as on the real server.
        ("POST", ["rules"]) => {
            let rules = cluster.rules.entry(owner.to_owned()).or_default();
            let at = call.get("pos").and_then(position).unwrap_or(0).min(rules.len());
            rules.insert(at, settings(call));
            done()
        }
        ("GET", ["rules", at]) => {
            let at = position(at)?;
            match cluster.rules.get(owner).and_then(|rules| rules.get(at)) {
                Some(rule) => data(row(at, rule)),
                None => Err(missing()),
            }
        }
        ("PUT", ["rules", at]) => {
            let at = position(at)?;
            let rules = cluster.rules.entry(owner.to_owned()).or_default();
            let Some(rule) = rules.get_mut(at) else { return Some(Err(missing())) };
            rule.extend(settings(call));
            for key in call.params.list("delete") {
                rule.remove(key);
            }
            if let Some(to) = call.get("moveto").and_then(position) {
                let rule = rules.remove(at);
                let to = to.min(rules.len());
                rules.insert(to, rule);
            }
            done()
        }
        ("DELETE", ["rules", at]) => {
            let at = position(at)?;
            let rules = cluster.rules.entry(owner.to_owned()).or_default();
            if at >= rules.len() {
                return Some(Err(missing()));
            }
            rules.remove(at);
            done()
        }
        ("GET", ["options"]) => {
            let set = cluster.rules.get(&options).and_then(|all| all.first()).cloned().unwrap_or_default();
            let mut answer = row(0, &set);
            if let Some(answer) = answer.as_object_mut() {
                answer.remove("pos");
            }
            data(answer)
        }
        ("PUT", ["options"]) => {
            let all = cluster.rules.entry(options).or_insert_with(|| vec![Config::new()]);
            if let Some(set) = all.first_mut() {
                set.extend(settings(call));
                for key in call.params.list("delete") {
                    set.remove(key);
                }
            }
            done()
        }
        ("GET", ["refs"]) => data(Vec::<Value>::new()),
        ("GET", ["log"]) => data(json!([{ "n": 1, "t": "no content" }])),
        ("GET", ["macros"]) => data(json!([{ "macro": "SSH", "descr": "Secure shell traffic" }])),
        _ => return None,
    })
}
