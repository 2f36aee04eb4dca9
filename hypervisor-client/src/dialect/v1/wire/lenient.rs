//! Values that gateways write in more than one way.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::time;

/// An id: text, or a number.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let found = Value::deserialize(deserializer)?;
    as_id(found).ok_or_else(|| serde::de::Error::custom("an id has to be text or a number, and not empty"))
}

/// An id that may be missing.
pub(crate) fn maybe_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(as_id(Value::deserialize(deserializer)?))
}

fn as_id(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A list that may be `null`.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// Yes or no; no for `null`.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(deserializer)?.unwrap_or_default())
}

/// A time that may be missing; one that cannot be read is none.
pub(crate) fn at(text: Option<&String>) -> Option<SystemTime> {
    time::parse(text?)
}

/// A percentage as a fraction between 0 and 1.
pub(crate) fn fraction(percent: f64) -> Option<f64> {
    percent.is_finite().then(|| (percent / 100.0).clamp(0.0, 1.0))
}
