//! One request as the handlers see it: who, what, and the parameters.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::reply::Refusal;
use crate::wire::scalar::Scalar;

/// Parameters in their order. A key may occur several times: that is how arrays are sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

/// Text of a query or a form: `+` is a blank.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

impl Params {
    /// Reads a query or a form body as the server does: it splits at `;` too, and cuts a value at a second `=`.
    pub(super) fn from_form(text: &str) -> Self {
        let parts = text.split(['&', ';']).filter(|part| !part.is_empty());
        Self(
            parts
                .map(|part| {
                    let mut sides = part.split('=');
                    let key = sides.next().unwrap_or_default();
                    (decoded(key), decoded(sides.next().unwrap_or_default()))
                })
                .collect(),
        )
    }

    /// Reads a JSON body.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
            let text = String::from_utf8_lossy(body);
            let at = text.char_indices().nth(1).map_or("", |(at, _)| text.get(at..).unwrap_or_default());
            let start = at.trim_end_matches('}');
            return Err(Refusal::raw(
                500,
                format!(
                    "'\"' expected, at character offset 1 (before \"{start}\") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934."
                ),
            ));
        };
        let mut params = Self::default();
        for (key, value) in object {
            let items = match value {
                Value::Array(items) => items,
                other => vec![other],
            };
            for item in items {
                let text = text(&item).ok_or_else(|| {
                    Refusal::die(format!("unable to parse value of '{key}' - got undefined value"))
                })?;
                params.0.push((key.clone(), text));
            }
        }
        Ok(params)
    }

    /// Adds the parameters of a query, which win over those of the body.
    pub(super) fn over(mut self, query: Self) -> Self {
        self.0.retain(|(key, _)| !query.has(key));
        self.0.extend(query.0);
        self
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// The first value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a key, unless it is empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(bool::from_text).unwrap_or(false)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(u64::from_text)
    }

    /// All values of an array.
    pub(super) fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    }

    /// The items of a list, which may be one text with commas, or repeated keys.
    pub(super) fn list(&self, key: &str) -> Vec<&str> {
        let split = |value| str::split(value, [',', ';', ' ', '\0']);
        self.all(key).into_iter().flat_map(split).filter(|item| !item.is_empty()).collect()
    }

    /// The value of a parameter that the table has already found to be there.
    pub(super) fn needed(&self, key: &str) -> Result<&str, Refusal> {
        let missing = || Refusal::parameter(key, "property is missing and it is not optional");
        self.get(key).ok_or_else(missing)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(key, _)| keep(key));
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), value.to_owned()));
    }

    /// Each key with its values, repeated ones joined as the server joins lists.
    pub(super) fn joined(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::<String, String>::new();
        for (key, value) in self.iter() {
            map.entry(key.to_owned())
                .and_modify(|old| {
                    old.push(',');
                    old.push_str(value);
                })
                .or_insert_with(|| value.to_owned());
        }
        map
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(on) => Some(u8::from(*on).to_string()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => Some(format!("{float:.0}")),
            _ => Some(number.to_string()),
        },
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// The user with the realm.
    pub(super) user: String,
    /// The name of the API token.
    pub(super) token: Option<String>,
}

impl Who {
    /// As it stands in task ids: `root@pam!lab`.
    pub(super) fn owner(&self) -> String {
        match &self.token {
            Some(token) => format!("{}!{token}", self.user),
            None => self.user.clone(),
        }
    }

    /// Whether this is the real root: its tokens are not.
    pub(super) fn is_root(&self) -> bool {
        self.user == "root@pam" && self.token.is_none()
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    /// The method in capitals.
    pub(super) method: String,
    /// The path below the format, decoded, without empty parts.
    pub(super) path: String,
    /// Who calls; nobody on the login itself.
    pub(super) who: Who,
    /// The host that was asked.
    pub(super) entry: String,
    pub(super) params: Params,
    /// Where the request came in, for logs.
    pub(super) upload: Option<super::upload::Uploaded>,
}

impl Call {
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.params.get(key)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.params.flag(key)
    }
}

/// A path without empty parts, decoded before it is split, as the server does.
pub(super) fn normal_path(raw: &str) -> String {
    let text = percent_decode_str(raw).decode_utf8_lossy().into_owned();
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}
