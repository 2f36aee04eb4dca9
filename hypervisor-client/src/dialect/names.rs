//! Fields that gateways call by more than one name. An alias of serde would refuse what has two of them, and with one row the whole list.

use serde_json::{Map, Value};

/// Makes a type that derives `Deserialize` with `remote = "Self"` take the first of a field's names that says something.
macro_rules! by_one_name {
    ($record:ty { $($field:literal: $($other:literal)+;)+ }) => {
        impl<'de> serde::Deserialize<'de> for $record {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut said = serde_json::Map::deserialize(deserializer)?;
                $($crate::dialect::names::keep_one(&mut said, $field, &[$($other),+]);)+
                let mut place = serde_path_to_error::Track::new();
                let said =
                    serde_path_to_error::Deserializer::new(serde_json::Value::Object(said), &mut place);
                // The derived one, which comes first as it is no trait's.
                let read = Self::deserialize(said);
                read.map_err(|error| {
                    serde::de::Error::custom(format_args!("`{}`: {error}", place.path()))
                })
            }
        }
    };
}
pub(crate) use by_one_name;

/// Leaves of a field's names its own.
pub(crate) fn keep_one(said: &mut Map<String, Value>, field: &str, others: &[&str]) {
    for other in others {
        let Some(value) = said.remove(*other) else { continue };
        if said.get(field).is_none_or(Value::is_null) {
            said.insert(field.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(remote = "Self")]
    struct Row {
        id: String,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }

    by_one_name!(Row { "id": "job_id" "task_id"; });

    #[test]
    fn the_first_name_that_says_something_counts() {
        let read = |row: Value| serde_json::from_value::<Row>(row).map(|row| (row.id, row.rest.len()));
        assert_eq!(read(json!({"id": "a", "job_id": "b", "other": 1})).unwrap(), ("a".to_owned(), 1));
        assert_eq!(read(json!({"task_id": "c", "id": null, "job_id": "b"})).unwrap(), ("b".to_owned(), 0));
        let none = read(json!({"other": 1})).unwrap_err();
        assert!(none.to_string().contains("`id`"), "{none}");
        let wrong = read(json!({"job_id": 3})).unwrap_err();
        assert!(wrong.to_string().starts_with("`id`: invalid type"), "{wrong}");
        assert!(read(json!("a")).is_err());
    }
}
