//! JSON schemas of what has a form of its own on the wire; the models derive theirs.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::model::{Capabilities, Support};
use crate::{ErrorKind, Operation};

impl JsonSchema for Operation {
    fn schema_name() -> Cow<'static, str> {
        "Operation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::ALL.iter().map(|operation| operation.as_str()).collect();
        json_schema!({ "type": "string", "enum": names, "description": "The name of an operation." })
    }
}

impl JsonSchema for ErrorKind {
    fn schema_name() -> Cow<'static, str> {
        "ErrorKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
        json_schema!({ "type": "string", "enum": names, "description": "What sort of failure it is." })
    }
}

impl JsonSchema for Capabilities {
    fn schema_name() -> Cow<'static, str> {
        "Capabilities".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let support = generator.subschema_for::<Support>();
        json_schema!({
            "type": "object",
            "description": "What a backend can do, by the name of the operation or feature. What is missing is unsupported.",
            "additionalProperties": support,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Error;
    use crate::model::{Event, VmInfo, VmSpec};

    fn schema<T: JsonSchema>() -> serde_json::Value {
        schemars::schema_for!(T).to_value()
    }

    #[test]
    fn a_schema_names_the_fields_that_are_written() {
        for (schema, written) in [
            (schema::<VmInfo>(), json!(VmInfo::new("1", "a", crate::model::VmState::Running))),
            (schema::<VmSpec>(), json!(VmSpec::new("a"))),
            (schema::<Error>(), json!(Error::new(ErrorKind::Locked, "why").with_target("vm", "1"))),
        ] {
            for field in written.as_object().unwrap().keys() {
                assert!(schema["properties"].get(field).is_some(), "{field} is missing: {schema:#}");
            }
        }
        assert_eq!(schema::<VmInfo>()["$defs"]["VmId"]["type"], "string");
        assert_eq!(schema::<VmInfo>()["$defs"]["ByteSize"]["type"], "integer");
        assert!(schema::<Event>().to_string().contains("vm_state_changed"));
        assert!(schema::<ErrorKind>()["enum"].as_array().unwrap().contains(&json!("not_found")));
    }
}
