//! Scalars and lists as servers send them: absent, `null`, or as text where a number is meant.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::Value;

/// A list that may be `null`.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Listed<T: DeserializeOwned>(#[serde(deserialize_with = "list")] Vec<T>);

impl<T: DeserializeOwned> Listed<T> {
    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}

/// What the dashboard's activities come in.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Page {
    #[serde(default, deserialize_with = "list")]
    pub(crate) activities: Vec<Value>,
}

/// A list, empty for `null`.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

/// What may be `null`, which is the same as its default.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Text; nothing for `null` and for empty text.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(wrong("text", &other)),
    }
}

/// A whole number; nothing for `null`, for empty text and for what is below zero.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_u64().or_else(|| number.as_f64().and_then(whole))),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => {
            let read =
                text.trim().parse::<f64>().map_err(|_| wrong("a number", &Value::String(text.clone())))?;
            Ok(text.trim().parse().ok().or_else(|| whole(read)))
        }
        other => Err(wrong("a number", &other)),
    }
}

/// A number with a fraction; nothing for `null` and for empty text.
pub(super) fn fraction<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let read = match Value::deserialize(from)? {
        Value::Null => None,
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => {
            let read: f64 =
                text.trim().parse().map_err(|_| wrong("a number", &Value::String(text.clone())))?;
            Some(read)
        }
        other => return Err(wrong("a number", &other)),
    };
    Ok(read.filter(|read| read.is_finite()))
}

/// Yes or no; no for `null`.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(maybe_flag(from)?.unwrap_or(false))
}

/// Yes or no; nothing for `null`.
pub(super) fn maybe_flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(flag)),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(Some(false)),
        Value::Number(number) if number.as_u64() == Some(1) => Ok(Some(true)),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) if matches!(text.as_str(), "true" | "1") => Ok(Some(true)),
        Value::String(text) if matches!(text.as_str(), "false" | "0") => Ok(Some(false)),
        // An element of XML that is there, `<readonly/>`, becomes an object.
        Value::Object(_) => Ok(Some(true)),
        other => Err(wrong("true or false", &other)),
    }
}

/// A time; nothing for what is none, and for the year 1, which Go writes for none.
pub(super) fn time(text: Option<&str>) -> Option<SystemTime> {
    crate::time::parse(text?).filter(|time| *time > UNIX_EPOCH)
}

/// The nearest whole number that is not below zero.
pub(super) fn whole(number: f64) -> Option<u64> {
    if number.is_finite() && number >= 0.0 { format!("{number:.0}").parse().ok() } else { None }
}

fn wrong<E: Error>(expected: &str, found: &Value) -> E {
    let mut shown = found.to_string();
    if shown.len() > 60 {
        shown = shown.chars().take(60).chain(['…']).collect();
    }
    E::custom(format!("{expected} is expected, not {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Loose {
        #[serde(deserialize_with = "number")]
        number: Option<u64>,
        #[serde(deserialize_with = "fraction")]
        fraction: Option<f64>,
        #[serde(deserialize_with = "text")]
        text: Option<String>,
        #[serde(deserialize_with = "flag")]
        flag: bool,
        #[serde(deserialize_with = "list")]
        list: Vec<u8>,
    }

    fn read(json: &str) -> Result<Loose, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn absent_null_and_empty_are_the_same() {
        let nothing = Loose::default();
        for json in [
            "{}",
            r#"{"number":null,"fraction":null,"text":null,"flag":null,"list":null}"#,
            r#"{"number":"","fraction":"","text":"","flag":false,"list":[]}"#,
            r#"{"number":-1}"#,
        ] {
            assert_eq!(read(json).unwrap(), nothing, "{json}");
        }
    }

    #[test]
    fn numbers_may_be_text_and_text_a_number() {
        let found = read(r#"{"number":"42","fraction":"0.5","text":7,"flag":"1"}"#).unwrap();
        let wanted = Loose {
            number: Some(42),
            fraction: Some(0.5),
            text: Some("7".into()),
            flag: true,
            list: Vec::new(),
        };
        assert_eq!(found, wanted);
        assert_eq!(read(r#"{"number":2.0}"#).unwrap().number, Some(2));
        assert_eq!(read(r#"{"number":18446744073709551615}"#).unwrap().number, Some(u64::MAX));
    }

    #[test]
    fn a_time_of_go_is_read_and_its_zero_time_is_none() {
        let at = |text| time(Some(text)).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(at("2026-11-20T17:53:54.030161184Z"), Some(1_795_197_234));
        assert_eq!(at("0001-01-01T00:00:00Z"), None);
        assert_eq!(at("yesterday"), None);
    }

    #[test]
    fn what_is_of_another_kind_is_refused() {
        for json in [
            r#"{"number":"two"}"#,
            r#"{"number":[]}"#,
            r#"{"text":{}}"#,
            r#"{"flag":"no idea"}"#,
            r#"{"list":1}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
