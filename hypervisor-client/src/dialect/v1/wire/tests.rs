//! The decoders are fed with anything: they answer or refuse, and never panic.

use proptest::prelude::*;
use serde_json::Value;

use super::fuzzing::answers;
use super::pool::gib;

/// The names that the decoders look at, and a few that they do not.
const NAMES: [&str; 26] = [
    "success",
    "data",
    "error",
    "meta",
    "vm",
    "vms",
    "items",
    "pagination",
    "id",
    "name",
    "status",
    "configuration",
    "storage",
    "network",
    "size_gb",
    "memory_mb",
    "cpu_cores",
    "cpu_sockets",
    "performance",
    "tags",
    "logs",
    "progress",
    "timestamp",
    "metrics",
    "unreachable",
    "odd",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("2025-07-29T12:00:00Z")),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..8).prop_map(|entries| {
                entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

fn feed(bytes: &[u8]) {
    answers(bytes);
}

proptest! {
    #[test]
    fn arbitrary_json_is_decoded_or_refused(value in any_json()) {
        feed(&serde_json::to_vec(&value).unwrap());
        let id = serde_json::json!({ "id": "7", "odd": value });
        feed(&serde_json::to_vec(&id).unwrap());
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        feed(&bytes);
    }

    #[test]
    fn sizes_are_sane(size in any::<f64>()) {
        if let Some(found) = gib(size) {
            prop_assert!(size >= 0.0);
            prop_assert!(found.is_multiple_of(hypervisor_core::model::ByteSize::mib(1)) || found.as_bytes() == u64::MAX);
        }
    }
}
