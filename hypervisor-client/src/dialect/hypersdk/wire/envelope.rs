//! What is common to all answers: the document's envelope `{status, message, data, timestamp}`, and the bare objects and lists that the
//! daemon sends instead.

use hypervisor_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use hypervisor_core::http::decode;

/// The part of an answer that is about the thing asked for: `data` where there is an envelope, otherwise the whole answer.
pub(crate) fn content(body: &[u8]) -> Result<Value> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let mut answer: Value = decode(body)?;
    let Some(object) = answer.as_object_mut() else { return Ok(answer) };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    // The states of jobs are `failed` and the like, never this.
    if text(object.get("status")).is_some_and(|status| status.eq_ignore_ascii_case("error")) {
        let why = text(object.get("error")).or_else(|| text(object.get("message"))).unwrap_or_default();
        return Err(Error::new(ErrorKind::Backend, why));
    }
    let enveloped = ["status", "message", "timestamp"].iter().any(|key| object.contains_key(*key));
    match object.remove("data") {
        Some(data) if enveloped => Ok(data),
        Some(data) => {
            object.insert("data".to_owned(), data);
            Ok(answer)
        }
        None => Ok(answer),
    }
}

/// An object.
pub(crate) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    match content(body)? {
        Value::Null => Err(Error::new(ErrorKind::Protocol, "an object is expected, but the answer is empty")),
        value => typed("", value),
    }
}

/// An object that need not be there: what an action says beyond that it is done.
pub(crate) fn optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T> {
    match content(body)? {
        Value::Null => Ok(T::default()),
        value => typed("", value),
    }
}

/// A list: bare, or under one of these keys; `null` and nothing are empty.
pub(crate) fn list<T: DeserializeOwned>(body: &[u8], key: &str) -> Result<Vec<T>> {
    let items = match content(body)? {
        Value::Null => return Ok(Vec::new()),
        list @ Value::Array(_) => return typed("", list),
        Value::Object(mut object) => object.remove(key),
        other => Some(other),
    };
    match items {
        Some(Value::Null) => Ok(Vec::new()),
        Some(items) => typed(key, items),
        None => Err(Error::new(ErrorKind::Protocol, format!("the answer has no list `{key}`"))),
    }
}

/// Decodes, with the place in the document in the error.
fn typed<T: DeserializeOwned>(inside: &str, value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        let place = match (inside, place.as_str()) {
            ("", "." | "?") => String::new(),
            ("", place) => format!(" at `{place}`"),
            (key, "." | "?") => format!(" at `{key}`"),
            (key, place) if place.starts_with('[') => format!(" at `{key}{place}`"),
            (key, place) => format!(" at `{key}.{place}`"),
        };
        let why = format!("the answer cannot be understood{place}: {}", error.into_inner());
        Error::new(ErrorKind::Protocol, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::hypersdk::wire::fuzzing::answers;
    use proptest::prelude::*;

    /// Any JSON, with the keys that the decoders look for among its keys.
    fn json() -> impl Strategy<Value = Value> {
        let keys = "(name|state|status|data|domains|networks|volumes|pools|jobs|snapshots|results|definition|progress|cpu|memory\
                    |cpus|uuid|id|size|capacity|timestamp|created_at|error|errors|domain|success|templates|backups|[a-z]{1,3})";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "(running|shut off|failed|error|2026-11-20T17:49:27Z|1|-1|1e400|\\+- s|\\|)"
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(keys, inner, 0..7)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_json_panics(value in json()) {
            answers(value.to_string().as_bytes());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0_usize..200, value in json()) {
            answers(&bytes);
            let text = value.to_string();
            answers(text.as_bytes().get(..cut.min(text.len())).unwrap_or_default());
        }
    }
}
