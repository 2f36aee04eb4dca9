//! What is wrong with parameters, in the server's words.

use std::collections::BTreeMap;

use super::{Endpoint, Format, Kind, Param, Release, formats, named};
use crate::wire::property;

/// Parameter -> what is wrong with it.
pub type Wrong = BTreeMap<String, String>;

const UNKNOWN: &str = "property is not defined in schema and the schema does not allow additional properties";
const MISSING: &str = "property is missing and it is not optional";

impl Endpoint {
    /// Checks the parameters of a query or body as release 9.1 does. Those of the path are not looked for; see
    /// [`Found::check`](super::Found::check).
    ///
    /// # Errors
    /// What is wrong with which parameter, in the server's words.
    pub fn check(&self, params: &[(String, String)]) -> Result<(), Wrong> {
        self.check_at(Release::V9_1, params)
    }

    /// Checks the parameters of a query or body as a release does.
    ///
    /// # Errors
    /// What is wrong with which parameter, in the server's words.
    pub fn check_at(&self, release: Release, params: &[(String, String)]) -> Result<(), Wrong> {
        let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in params {
            given.entry(name).or_default().push(value);
        }
        let in_path: Vec<&str> = self.path_params().map(|param| param.name).collect();
        let wanted: Vec<&Param> =
            self.params().filter(|p| p.is_in(release) && !in_path.contains(&p.name)).collect();
        let mut wrong = Wrong::new();
        for (name, values) in &given {
            let Some(param) = wanted.iter().find(|param| param.is_named(name)) else {
                wrong.insert((*name).to_owned(), UNKNOWN.to_owned());
                continue;
            };
            if let Some(other) = param.with
                && !given.contains_key(other)
            {
                wrong.insert(other.to_owned(), format!("missing property - '{name}' requires this property"));
            }
            if let Some(why) = all_values(param, name, values) {
                wrong.insert((*name).to_owned(), why);
            }
        }
        for param in wanted.iter().filter(|param| param.required && !given.contains_key(param.name)) {
            wrong.insert(param.name.to_owned(), MISSING.to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn all_values(param: &Param, name: &str, values: &[&str]) -> Option<String> {
    if let Kind::Array(item) = param.kind {
        return values.iter().find_map(|text| value(item, text));
    }
    match values {
        [one] => wrong_in(param, name, one),
        // A list may come as a repeated key; the server joins it.
        many if param.format.is_some_and(|format| format.ends_with("-list")) => {
            wrong_in(param, name, &many.join(","))
        }
        _ => Some(format!("type check ('{}') failed - got ARRAY", type_name(&param.kind))),
    }
}

const fn type_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Switch => "boolean",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Array(_) => "array",
        _ => "string",
    }
}

/// What is wrong with one value.
pub(super) fn value(param: &Param, text: &str) -> Option<String> {
    wrong_in(param, param.name, text)
}

fn wrong_in(param: &Param, name: &str, text: &str) -> Option<String> {
    let typed = match param.kind {
        Kind::Switch => matches!(text, "0" | "1"),
        Kind::Integer => is_integer(text),
        Kind::Number => is_number(text),
        _ => true,
    };
    if !typed {
        return Some(format!("type check ('{}') failed - got '{text}'", type_name(&param.kind)));
    }
    let formatted = match param.kind {
        Kind::Properties(format) => properties(format, name, text),
        _ => match (param.format, param.format.and_then(named::named)) {
            (_, Some(keys)) => properties(keys, name, text),
            (Some(format), None) => formats::check(format, text),
            (None, None) => Ok(()),
        },
    };
    if let Err(why) = formatted {
        return Some(format!("invalid format - {why}\n"));
    }
    limits(param, text)
}

fn limits(param: &Param, text: &str) -> Option<String> {
    if matches!(param.kind, Kind::Integer | Kind::Number) {
        let number: f64 = text.parse().ok()?;
        let beyond = |limit: Option<i64>, order: std::cmp::Ordering| {
            let limit = limit?;
            let exact: f64 = limit.to_string().parse().ok()?;
            (number.partial_cmp(&exact) == Some(order)).then_some(limit)
        };
        if let Some(most) = beyond(param.max, std::cmp::Ordering::Greater) {
            return Some(format!("value must have a maximum value of {most}"));
        }
        let least = beyond(param.min, std::cmp::Ordering::Less)?;
        return Some(format!("value must have a minimum value of {least}"));
    }
    let chars = text.chars().count();
    if let Some(most) = param.longest.filter(|most| chars > *most) {
        return Some(format!("value may only be {most} characters long"));
    }
    if let Some(least) = param.shortest.filter(|least| chars < *least) {
        return Some(format!("value must be at least {least} characters long"));
    }
    if param.pattern.is_some_and(|pattern| !formats::matches(pattern, text)) {
        return Some("value does not match the regex pattern".to_owned());
    }
    let words = param.kind.words().filter(|words| words.iter().all(|word| word != text))?;
    Some(format!("value '{text}' does not have a value in the enumeration '{}'", words.join(", ")))
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    plain && text.parse::<f64>().is_ok()
}

/// A property string as the server takes it apart: every error but those of single values ends the reading.
fn properties(format: &Format, name: &str, text: &str) -> Result<(), String> {
    let key_of = |key: &str| format.keys().find(|param| param.name == key);
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut put = |key: &'static str, value: String| match found.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(format!("duplicate key in comma-separated list property: {key}")),
    };
    for entry in &property::parse(text) {
        let Some(key) = entry.key.as_deref() else {
            let default = format.keys().find(|param| param.default_key);
            let Some(default) = default else {
                return Err("value without key, but schema does not define a default key".to_owned());
            };
            put(default.name, entry.value.clone())?;
            continue;
        };
        let Some(param) = key_of(key) else {
            return Err(format!("invalid key in comma-separated list property: {key}"));
        };
        match param.kind {
            Kind::Alias { of, key: other } => {
                if let Some(other) = other {
                    put(other, param.name.to_owned())?;
                }
                put(of, entry.value.clone())?;
            }
            Kind::Switch => put(param.name, switch_word(&entry.value))?,
            _ => put(param.name, entry.value.clone())?,
        }
    }
    let mut wrong: Vec<String> = Vec::new();
    for param in format.keys().filter(|param| !matches!(param.kind, Kind::Alias { .. })) {
        let why = match found.get(param.name) {
            Some(text) => value(param, text),
            None => param.required.then(|| MISSING.to_owned()),
        };
        wrong.extend(why.map(|why| format!("{name}.{}: {why}", param.name)));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("format error\n{}", wrong.join("\n"))) }
}

/// In a property string the server takes words for switches.
fn switch_word(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" => "1".to_owned(),
        "off" | "no" | "false" => "0".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::params::{Release, all, find};
    use proptest::prelude::*;

    fn wrong(method: &str, path: &str, params: &[(&str, &str)]) -> Vec<(String, String)> {
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = find(method, path).unwrap();
        found.check(&params).err().unwrap_or_default().into_iter().collect()
    }

    fn one(method: &str, path: &str, params: &[(&str, &str)]) -> String {
        let wrong = wrong(method, path, params);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        format!("{}: {}", wrong[0].0, wrong[0].1)
    }

    #[test]
    fn what_the_server_has_said_is_said_of_the_same() {
        let config = "/nodes/pve1/qemu/101/config";
        assert_eq!(
            wrong("POST", "/nodes/pve1/qemu", &[
                ("vmid", "101"),
                ("bogus", "1"),
                ("memory", "abc"),
                ("cores", "0")
            ]),
            [
                (
                    "bogus".to_owned(),
                    "property is not defined in schema and the schema does not allow additional properties"
                        .to_owned()
                ),
                ("cores".to_owned(), "value must have a minimum value of 1".to_owned()),
                (
                    "memory".to_owned(),
                    "invalid format - format error\nmemory.current: type check ('integer') failed - got 'abc'\n"
                        .to_owned()
                ),
            ]
        );
        assert_eq!(
            one("PUT", config, &[("onboot", "true")]),
            "onboot: type check ('boolean') failed - got 'true'"
        );
        assert_eq!(
            one("POST", "/access/ticket", &[("username", "root@pam")]),
            "password: property is missing and it is not optional"
        );
        assert_eq!(
            one("GET", "/nodes/pve1/qemu/7/config", &[]),
            "vmid: invalid format - value does not look like a valid VM ID\n"
        );
        assert_eq!(
            one("POST", "/nodes/pve1/qemu/100/status/start", &[("vmid", "101")]),
            "vmid: duplicate parameter (already defined in URI) with conflicting values!"
        );
        assert_eq!(
            one("GET", "/cluster/resources", &[("type", "foo")]),
            "type: value 'foo' does not have a value in the enumeration 'vm, storage, node, sdn'"
        );
        assert_eq!(
            one("PUT", config, &[("tags", "bad tag!")]),
            "tags: invalid format - invalid characters in tag\n"
        );
        assert_eq!(
            one("PUT", config, &[("sshkeys", "ssh-ed25519 AAAA bob@x")]),
            "sshkeys: invalid format - invalid urlencoded string: ssh-ed25519 AAAA bob@x\n"
        );
        assert_eq!(
            one("POST", "/nodes/pve1/qemu/100/snapshot", &[("snapname", "1bad")]),
            "snapname: invalid format - invalid configuration ID '1bad'\n"
        );
        assert!(
            one("PUT", config, &[("net99", "e1000,bridge=vmbr0")])
                .starts_with("net99: property is not defined")
        );
    }

    #[test]
    fn families_lists_and_property_strings_are_looked_into() {
        let config = "/nodes/pve1/qemu/101/config";
        assert!(
            wrong(
                "PUT",
                config,
                &[
                    ("net31", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=yes"),
                    ("scsi30", "local:1,ssd=1"),
                    ("delete", "net1"),
                    ("delete", "tags"),
                    ("efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1"),
                ]
            )
            .is_empty()
        );
        assert_eq!(
            one("PUT", config, &[("net0", "virtio,bridge=vmbr0,bogus=1")]),
            "net0: invalid format - invalid key in comma-separated list property: bogus\n"
        );
        assert_eq!(
            one("PUT", config, &[("boot", "order=scsi0;net0,first=cd")]),
            "boot: invalid format - invalid key in comma-separated list property: first\n"
        );
        assert_eq!(
            one("PUT", config, &[("ipconfig0", "ip=dhcp,gw=here")]),
            "ipconfig0: invalid format - format error\nipconfig0.gw: invalid format - value does not look like a valid IPv4 address\n\n"
        );
        assert_eq!(
            one("PUT", config, &[("net0", "bridge=vmbr0")]),
            "net0: invalid format - format error\nnet0.model: property is missing and it is not optional\n"
        );
        assert_eq!(
            one("PUT", config, &[("net0", "virtio,vmbr0")]),
            "net0: invalid format - duplicate key in comma-separated list property: model\n"
        );
        assert!(
            one("PUT", "/nodes/pve1/qemu/101/resize", &[("disk", "scsi99"), ("size", "+1G")])
                .contains("enumeration 'ide0, ide1")
        );
        assert_eq!(
            one("POST", "/nodes/pve1/qemu", &[("vmid", "100"), ("unique", "1")]),
            "archive: missing property - 'unique' requires this property"
        );
        assert!(one("PUT", config, &[("cores", "1"), ("cores", "2")]).contains("ARRAY"));
        assert!(
            wrong("POST", "/nodes/pve1/qemu/100/agent/exec", &[("command", "/bin/ls"), ("command", "-l")])
                .is_empty()
        );
    }

    #[test]
    fn a_release_does_not_know_what_came_later() {
        let found = find("POST", "/nodes/pve1/qemu").unwrap();
        let params = [("vmid".to_owned(), "100".to_owned()), ("ha-managed".to_owned(), "1".to_owned())];
        assert!(found.check(&params).is_ok());
        assert!(found.check_at(Release::V8_4, &params).unwrap_err().contains_key("ha-managed"));
        assert!(all().any(|endpoint| endpoint.since > Release::V8_4));
    }

    #[test]
    fn every_pattern_of_the_table_can_be_read() {
        fn patterns(param: &super::Param) -> Vec<&'static str> {
            let inner = match param.kind {
                super::Kind::Properties(format) => format.keys().flat_map(patterns).collect(),
                _ => Vec::new(),
            };
            param.pattern.into_iter().chain(inner).collect()
        }
        let mut seen = 0;
        for pattern in all().flat_map(|endpoint| endpoint.params().collect::<Vec<_>>()).flat_map(patterns) {
            regex_lite::Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            seen += 1;
        }
        assert!(seen > 50, "{seen}");
    }

    proptest! {
        #[test]
        fn no_value_panics(name in "net0|memory|scsi0|tags|cores|boot|vga|smbios1|agent|x", value in ".{0,30}") {
            let found = find("PUT", "/nodes/pve1/qemu/101/config").unwrap();
            let _ = found.check(&[(name, value)]);
        }
    }
}
