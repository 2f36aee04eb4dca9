//! What is wrong with parameters, in the server's words.

use std::collections::BTreeMap;

use super::{Endpoint, Format, Kind, Param, Release, formats};
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
        [one] => named(param, name, one),
        // A list may come as a repeated key; the server joins it.
        many if param.format.is_some_and(|format| format.ends_with("-list")) => {
            named(param, name, &many.join(","))
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
    named(param, param.name, text)
}

fn named(param: &Param, name: &str, text: &str) -> Option<String> {
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
        _ => param.format.map_or(Ok(()), |format| formats::check(format, text)),
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
