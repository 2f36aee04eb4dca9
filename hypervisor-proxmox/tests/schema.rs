//! The table of parameters against the official schemas of three releases.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "that is how tests fail")]

mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use hypervisor_proxmox::wire::params::{self, Access, Endpoint, Kind, Param, Release};
use serde_json::{Value, json};

type Methods = BTreeMap<(String, String), Value>;

fn methods(schema: &Value) -> Methods {
    fn walk(node: &Value, into: &mut Methods) {
        let path = node["path"].as_str().unwrap();
        for (method, info) in node["info"].as_object().into_iter().flatten() {
            into.insert((method.clone(), path.to_owned()), info.clone());
        }
        for child in node["children"].as_array().into_iter().flatten() {
            walk(child, into);
        }
    }
    let mut all = Methods::new();
    for node in schema.as_array().unwrap() {
        walk(node, &mut all);
    }
    all
}

/// The schema writes numbers as strings here and there.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn is_optional(property: &Value) -> bool {
    number(&property["optional"]) == Some(1.0) || property["optional"] == json!(true)
}

/// Perl's way to write a group into the way of other engines.
fn pattern(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    Some(text.replace("(?^:", "(?:").replace("(?^i:", "(?i:").replace("{,", "{0,").replace("\\0", "\\x00"))
}

fn type_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Switch => "boolean",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Array(_) => "array",
        _ => "string",
    }
}

/// What of one property differs, each difference as one line.
fn differences(at: &str, ours: &Param, theirs: &Value, release: Release, out: &mut BTreeSet<String>) {
    if let Kind::Alias { of, key } = ours.kind {
        if theirs["alias"] != json!(of) || text(&theirs["keyAlias"]) != key {
            out.insert(format!("{at}: alias"));
        }
        return;
    }
    let mut differs = |what: &str, same: bool| {
        if !same {
            out.insert(format!("{at}: {what}"));
        }
    };
    let kind = text(&theirs["type"]).unwrap_or("string");
    // A number out of a list is a word like any other.
    let listed = kind == "integer" && matches!(ours.kind, Kind::Word(_));
    differs("type", kind == type_of(&ours.kind) || listed);
    differs("required", is_optional(theirs) != ours.required);
    let words = theirs["enum"]
        .as_array()
        .map(|words| words.iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<String>>());
    differs("enum", words == ours.kind.words());
    let exact = |limit: Option<i64>| limit.map(|limit| limit.to_string().parse::<f64>().unwrap());
    differs("minimum", number(&theirs["minimum"]) == exact(ours.min));
    differs("maximum", number(&theirs["maximum"]) == exact(ours.max));
    let length = |limit: Option<usize>| limit.map(|limit| limit.to_string().parse::<f64>().unwrap());
    differs("minLength", number(&theirs["minLength"]) == length(ours.shortest));
    differs("maxLength", number(&theirs["maxLength"]) == length(ours.longest));
    differs("pattern", pattern(&theirs["pattern"]).as_deref() == ours.pattern);
    differs("requires", text(&theirs["requires"]) == ours.with);
    differs("default_key", (number(&theirs["default_key"]) == Some(1.0)) == ours.default_key);
    differs("format", text(&theirs["format"]) == ours.format);
    match (ours.kind, theirs["format"].as_object()) {
        (Kind::Properties(format), Some(keys)) => {
            all_differences(at, format.keys(), keys.iter(), release, out);
        }
        (Kind::Properties(_), None) | (_, Some(_)) => {
            out.insert(format!("{at}: format"));
        }
        (Kind::Array(item), None) => {
            let mut items = theirs["items"].clone();
            items["optional"] = json!(1);
            differences(&format!("{at}[]"), item, &items, release, out);
        }
        _ => {}
    }
}

fn all_differences<'a>(
    at: &str,
    ours: impl Iterator<Item = &'static Param>,
    theirs: impl Iterator<Item = (&'a String, &'a Value)>,
    release: Release,
    out: &mut BTreeSet<String>,
) {
    let mut ours: BTreeMap<&str, &Param> =
        ours.filter(|param| param.is_in(release)).map(|param| (param.name, param)).collect();
    for (name, property) in theirs {
        match ours.remove(name.as_str()) {
            None => {
                out.insert(format!("{at} {name}: only in the schema"));
            }
            Some(param) => differences(&format!("{at} {name}"), param, property, release, out),
        }
    }
    out.extend(ours.keys().map(|name| format!("{at} {name}: only in the table")));
}

fn access(access: &Access) -> Value {
    match access {
        Access::World => json!({"user": "world"}),
        Access::Anyone => json!({"user": "all"}),
        Access::Root => json!({}),
        other => json!({ "check": check(other) }),
    }
}

fn check(access: &Access) -> Value {
    let list = |word: &str, all: &[Access]| {
        let mut parts = vec![json!(word)];
        parts.extend(all.iter().map(check));
        Value::Array(parts)
    };
    match access {
        Access::Perm { path, privileges, any: true } => json!(["perm", path, privileges, "any", 1]),
        Access::Perm { path, privileges, .. } => json!(["perm", path, privileges]),
        Access::Given { param, access } => {
            let mut inner = check(access);
            inner.as_array_mut().unwrap().extend([json!("require_param"), json!(param)]);
            inner
        }
        Access::All(all) => list("and", all),
        Access::Any(all) => list("or", all),
        Access::Myself => json!(["userid-param", "self"]),
        Access::OfRealm(privilege) => json!(["userid-param", privilege]),
        Access::OfGroups(privileges) => json!(["userid-group", privileges]),
        Access::MayModify(path) => json!(["perm-modify", path]),
        other => panic!("{other:?}"),
    }
}

/// As the table can say it: what only the server's own code looks at is left out, and so is `any` of one.
fn plain_access(permissions: &Value) -> Value {
    fn plain(check: &Value) -> Value {
        let mut parts = check.as_array().unwrap().clone();
        match parts[0].as_str().unwrap() {
            "and" | "or" => parts.iter_mut().skip(1).for_each(|part| *part = plain(part)),
            "userid-group" => parts.truncate(2),
            "perm" if parts[2].as_array().unwrap().len() == 1 && parts.get(3) == Some(&json!("any")) => {
                parts.truncate(3);
            }
            _ => {}
        }
        Value::Array(parts)
    }
    if permissions["check"].is_array() {
        json!({ "check": plain(&permissions["check"]) })
    } else if permissions["user"].is_string() {
        json!({ "user": permissions["user"] })
    } else {
        json!({})
    }
}

fn compare(endpoint: &Endpoint, info: &Value, release: Release, out: &mut BTreeSet<String>) {
    let at = format!("{} {}", endpoint.verb, endpoint.path);
    let nothing = serde_json::Map::new();
    let properties = info["parameters"]["properties"].as_object().unwrap_or(&nothing);
    let in_path: Vec<&'static Param> = endpoint.path_params().collect();
    let own = endpoint.params().filter(|param| in_path.iter().all(|other| other.name != param.name));
    all_differences(&at, own.chain(in_path.iter().copied()), properties.iter(), release, out);
    if !properties.is_empty() && number(&info["parameters"]["additionalProperties"]) != Some(0.0) {
        out.insert(format!("{at}: takes others"));
    }
    if (info["allowtoken"] != json!(0)) != endpoint.token {
        out.insert(format!("{at}: token"));
    }
    if plain_access(&info["permissions"]) != access(&endpoint.access) {
        out.insert(format!("{at}: access"));
    }
}

fn compared(release: Release, file: &str) -> Option<BTreeSet<String>> {
    let folder = reference::folder("the table of parameters against the official schema")?;
    let schema = methods(&reference::unpacked(&folder, file));
    let mut out = BTreeSet::new();
    for endpoint in params::all() {
        let key = (endpoint.verb.to_string(), endpoint.path.to_owned());
        match (schema.get(&key), endpoint.since <= release) {
            (Some(info), true) => compare(endpoint, info, release, &mut out),
            (None, false) => {}
            (there, _) => {
                out.insert(format!("{} {}: since ({})", key.0, key.1, there.is_some()));
            }
        }
    }
    Some(out)
}

fn lines(found: &BTreeSet<String>) -> String {
    found.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").unwrap();
        text
    })
}

#[test]
fn the_table_is_the_schema_of_9_1() {
    let Some(found) = compared(Release::V9_1, "schema-9.1.3.json.gz") else { return };
    assert!(found.is_empty(), "{}", lines(&found));
}

/// How 8.4 differs in what the table holds of 9.1: words and limits that came later, and one privilege, `VM.Monitor`, for all that
/// the guest agent does.
const OF_8_4: &[&str] = &[
    "/agent/*: access",
    "/monitor: access",
    "/agent/exec command[]: format",
    " agent freeze-fs-on-backup: alias",
    "/network type: enum",
    "/network/{iface} type: enum",
    "/nodes/{node}/rrddata timeframe: enum",
    "/storage type: enum",
    "/termproxy cmd: enum",
    "/vncshell cmd: enum",
    " tag: minimum",
    " tag: maximum",
    "/migrateall maxworkers: maximum",
];

/// How 9.2 differs: a pattern for the names of vnets and zones instead of a named format, and stricter patterns.
const OF_9_2: &[&str] = &[
    " vnet: format",
    " vnet: minLength",
    " vnet: maxLength",
    " vnet: pattern",
    " zone: format",
    " zone: minLength",
    " zone: maxLength",
    " zone: pattern",
    "/lxc* entrypoint: pattern",
    "/lxc* env: pattern",
    "/qemu* serial[n]: pattern",
    "/storage* blocksize: format",
];

fn unexplained(mut found: BTreeSet<String>, known: &[&str]) -> BTreeSet<String> {
    for explained in known {
        let (head, tail) = explained.split_once('*').unwrap_or(("", explained));
        let before = found.len();
        found.retain(|line| !(line.contains(head) && line.ends_with(tail)));
        assert_ne!(before, found.len(), "`{explained}` explains nothing");
    }
    found
}

#[test]
fn the_table_is_the_schema_of_8_4_but_for_what_is_listed() {
    let Some(found) = compared(Release::V8_4, "schema-8.4.5.json.gz") else { return };
    let found = unexplained(found, OF_8_4);
    assert!(found.is_empty(), "{}", lines(&found));
}

#[test]
fn the_table_is_the_schema_of_9_2_but_for_what_is_listed() {
    let Some(found) = compared(Release::V9_2, "schema-9.2.3.json.gz") else { return };
    let found = unexplained(found, OF_9_2);
    assert!(found.is_empty(), "{}", lines(&found));
}

/// The keys in a text like `[[legacy=]<[acdn]{1,4}>] [,order=<device[;device...]>]`, and the one that may be left out.
fn keys_of(text: &str) -> (BTreeSet<String>, Option<String>) {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let (mut keys, mut default) = (BTreeSet::new(), None);
    for (at, _) in text.match_indices('=') {
        let key: String = text[..at].chars().rev().take_while(|c| word(*c)).collect();
        let key: String = key.chars().rev().collect();
        // Inside of angle brackets there are no keys.
        let open = text[..at].matches('<').count() > text[..at].matches('>').count();
        if key.is_empty() || open {
            continue;
        }
        if text[at..].starts_with("=]") {
            default = Some(key.clone());
        }
        keys.insert(key);
    }
    (keys, default)
}

#[test]
fn named_property_strings_have_the_keys_that_the_schema_shows() {
    let Some(folder) = reference::folder("the keys of named property strings") else { return };
    let schema = methods(&reference::unpacked(&folder, "schema-9.1.3.json.gz"));
    let mut seen = BTreeSet::new();
    for endpoint in params::all() {
        let Some(info) = schema.get(&(endpoint.verb.to_string(), endpoint.path.to_owned())) else { continue };
        for param in endpoint.params() {
            let Some((name, format)) = param.format.and_then(|name| Some((name, params::named(name)?)))
            else {
                continue;
            };
            let shown = info["parameters"]["properties"][param.name]["typetext"].as_str().unwrap_or_default();
            let keys: BTreeSet<String> = format.keys().map(|key| key.name.to_owned()).collect();
            let default = format.keys().find(|key| key.default_key).map(|key| key.name.to_owned());
            assert_eq!((keys, default), keys_of(shown), "{name}: {shown}");
            seen.insert(name);
        }
    }
    assert!(seen.len() >= 12, "{seen:?}");
}

#[test]
fn every_call_of_the_drivers_documents_is_in_the_table() {
    // Seed 001's tables, then what goes beyond them.
    let rows = [
        "GET /cluster/status",
        "GET /cluster/resources?type=vm",
        "GET /nodes",
        "GET /nodes/n/status",
        "GET /nodes/n/qemu",
        "GET /nodes/n/qemu/100/status/current",
        "GET /nodes/n/qemu/100/config",
        "POST /nodes/n/qemu/100/status/start",
        "POST /nodes/n/qemu/100/status/stop",
        "POST /nodes/n/qemu/100/status/shutdown",
        "POST /nodes/n/qemu/100/status/reboot",
        "POST /nodes/n/qemu",
        "DELETE /nodes/n/qemu/100",
        "PUT /nodes/n/qemu/100/config",
        "POST /nodes/n/qemu/100/clone",
        "POST /nodes/n/qemu/100/migrate",
        "GET /nodes/n/lxc",
        "GET /nodes/n/lxc/100/status/current",
        "POST /nodes/n/lxc/100/status/start",
        "POST /nodes/n/lxc/100/status/stop",
        "DELETE /nodes/n/lxc/100",
        "GET /storage",
        "GET /nodes/n/storage",
        "GET /nodes/n/storage/local/content",
        "GET /nodes/n/qemu/100/snapshot",
        "POST /nodes/n/qemu/100/snapshot",
        "DELETE /nodes/n/qemu/100/snapshot/s1",
        "POST /nodes/n/qemu/100/snapshot/s1/rollback",
        "GET /nodes/n/storage/local/content?content=backup",
        "GET /nodes/n/tasks",
        "GET /nodes/n/tasks/UPID:n:1:/status",
        "GET /pools",
        "GET /pools/prod",
        "POST /pools",
        "DELETE /pools/prod",
        "PUT /pools/prod",
        "GET /version",
        "POST /access/ticket",
        "GET /access/permissions",
        "GET /cluster/nextid",
        "GET /cluster/tasks",
        "POST /nodes/n/qemu/100/status/suspend",
        "POST /nodes/n/qemu/100/status/resume",
        "POST /nodes/n/qemu/100/status/reset",
        "POST /nodes/n/qemu/100/config",
        "GET /nodes/n/qemu/100/pending",
        "POST /nodes/n/qemu/100/template",
        "PUT /nodes/n/qemu/100/resize",
        "POST /nodes/n/qemu/100/move_disk",
        "PUT /nodes/n/qemu/100/unlink",
        "PUT /nodes/n/qemu/100/cloudinit",
        "GET /nodes/n/qemu/100/cloudinit/dump",
        "POST /nodes/n/qemu/100/vncproxy",
        "POST /nodes/n/qemu/100/termproxy",
        "POST /nodes/n/qemu/100/spiceproxy",
        "GET /nodes/n/qemu/100/vncwebsocket",
        "GET /nodes/n/qemu/100/rrddata",
        "GET /nodes/n/qemu/100/feature",
        "POST /nodes/n/qemu/100/agent/ping",
        "POST /nodes/n/qemu/100/agent/exec",
        "GET /nodes/n/qemu/100/agent/exec-status",
        "GET /nodes/n/qemu/100/agent/file-read",
        "POST /nodes/n/qemu/100/agent/file-write",
        "GET /nodes/n/qemu/100/agent/network-get-interfaces",
        "POST /nodes/n/qemu/100/agent/fsfreeze-freeze",
        "POST /nodes/n/qemu/100/agent/fsfreeze-thaw",
        "GET /nodes/n/qemu/100/firewall/rules",
        "POST /nodes/n/lxc/100/firewall/rules",
        "POST /nodes/n/lxc",
        "PUT /nodes/n/lxc/100/config",
        "POST /nodes/n/lxc/100/clone",
        "POST /nodes/n/lxc/100/migrate",
        "POST /nodes/n/lxc/100/snapshot",
        "POST /nodes/n/lxc/100/move_volume",
        "PUT /nodes/n/lxc/100/resize",
        "GET /nodes/n/lxc/100/interfaces",
        "POST /nodes/n/vzdump",
        "POST /nodes/n/storage/local/upload",
        "POST /nodes/n/storage/local/download-url",
        "POST /nodes/n/storage/local/content",
        "GET /nodes/n/storage/local/content/local:iso/a.iso",
        "DELETE /nodes/n/storage/local/content/local%3A100%2Fvm-100-disk-0.raw",
        "DELETE /nodes/n/storage/local/prunebackups",
        "POST /storage",
        "DELETE /storage/local",
        "POST /cluster/bulk-action/guest/start",
        "GET /nodes/n/tasks/UPID:n:1:/log",
        "DELETE /nodes/n/tasks/UPID:n:1:",
        "GET /nodes/n/network",
        "POST /nodes/n/network",
        "PUT /nodes/n/network",
        "GET /cluster/sdn/vnets",
        "POST /cluster/sdn/vnets",
        "PUT /cluster/sdn",
        "GET /nodes/n/rrddata",
        "GET /nodes/n/storage/local/rrddata",
        "POST /nodes/n/status",
    ];
    for row in rows {
        let (method, path) = row.split_once(' ').unwrap();
        assert!(params::find(method, path).is_some(), "{row}");
    }
    for row in ["PUT /nodes/n/qemu", "GET /nope", "POST /nodes/n/lxc/100/config", "GET /nodes/n/qemu/100/x"] {
        let (method, path) = row.split_once(' ').unwrap();
        assert!(params::find(method, path).is_none(), "{row}");
    }
}

#[test]
fn a_path_is_taken_apart_as_the_server_does() {
    let call =
        params::find("GET", "/api2/json//nodes/n/storage/local/content/local:101%2Fd.raw/?x=1").unwrap();
    assert_eq!(call.endpoint.path, "/nodes/{node}/storage/{storage}/content/{volume}");
    assert_eq!(call.path["volume"], "local:101/d.raw");
    // An empty part is left out, so that this is no longer the status of a task.
    let call = params::find("GET", "/nodes/n/tasks//status").unwrap();
    assert_eq!(call.endpoint.path, "/nodes/{node}/tasks/{upid}");
}
