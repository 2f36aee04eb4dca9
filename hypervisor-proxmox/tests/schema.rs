//! The table of parameters against the official schemas of three releases.

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

#[test]
fn the_table_is_the_schema_of_8_4_but_for_limits_that_came_later() {
    let Some(found) = compared(Release::V8_4, "schema-8.4.5.json.gz") else { return };
    assert!(found.is_empty(), "{}", lines(&found));
}

#[test]
fn the_table_is_the_schema_of_9_2_but_for_limits_that_came_later() {
    let Some(found) = compared(Release::V9_2, "schema-9.2.3.json.gz") else { return };
    assert!(found.is_empty(), "{}", lines(&found));
}
