//! Errors as data, so that what a batch reports can be stored and sent. The source stays behind: it is this process's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Effect, Error, ErrorKind, Retry};
use crate::model::TaskId;
use crate::model::macros::read_text;
use crate::operation::Operation;

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Wire {
    kind: String,
    retry: String,
    effect: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::operation::if_known"
    )]
    operation: Option<Operation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<TaskId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    log_tail: Vec<String>,
    #[serde(default = "once")]
    attempts: u32,
}

const fn once() -> u32 {
    1
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = &*self.0;
        let wire = Wire {
            kind: inner.kind.as_str().to_owned(),
            retry: inner.retry.as_str().to_owned(),
            effect: inner.effect.as_str().to_owned(),
            message: inner.message.clone(),
            operation: inner.operation,
            target: inner.target.clone(),
            backend: inner.backend.as_deref().map(str::to_owned),
            code: inner.code.clone(),
            retry_after: inner.retry_after,
            fields: inner.fields.clone(),
            request_id: inner.request_id.clone(),
            hint: inner.hint.clone(),
            task: inner.task.clone(),
            log_tail: inner.log_tail.clone(),
            attempts: inner.attempts,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    /// What a newer version says that this one does not know is taken for the worst: a failure of the backend, of unknown effect, not to be
    /// repeated.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let mut error = Error::new(ErrorKind::named(&wire.kind).unwrap_or(ErrorKind::Backend), wire.message);
        let inner = &mut *error.0;
        inner.retry = Retry::named(&wire.retry).unwrap_or(Retry::Never);
        inner.effect = Effect::named(&wire.effect).unwrap_or(Effect::Unknown);
        inner.operation = wire.operation;
        inner.target = wire.target;
        inner.backend = wire.backend.map(Into::into);
        inner.code = wire.code;
        inner.retry_after = wire.retry_after;
        inner.fields = wire.fields;
        inner.request_id = wire.request_id;
        inner.hint = wire.hint;
        inner.task = wire.task;
        inner.log_tail = wire.log_tail;
        inner.attempts = wire.attempts;
        Ok(error)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Error {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NativeError".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}

/// Plain words on the wire; read back, a word that is not known is an error, as nobody could say what it means.
macro_rules! words {
    ($($name:ident)*) => { $(
        impl $name {
            pub(super) fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| each.as_str() == name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let unknown = || serde::de::Error::custom(concat!("this is no ", stringify!($name)));
                read_text(deserializer, Self::named)?.ok_or_else(unknown)
            }
        }
    )* };
}

words! { ErrorKind Retry Effect }

/// For what a server reports: a kind that only a newer version has is none.
pub(crate) fn kind_if_known<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ErrorKind>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(name.and_then(|name| ErrorKind::named(&name)))
}

/// For what a server reports: an effect that only a newer version has is none that is known.
pub(crate) fn effect_if_known<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Effect>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(name.and_then(|name| Effect::named(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_stored_and_read_again() {
        for effect in Effect::ALL {
            let json = serde_json::to_string(effect).unwrap();
            assert_eq!(json, format!("\"{effect}\""));
            assert_eq!(serde_json::from_str::<Effect>(&json).unwrap(), *effect);
        }
        for retry in Retry::ALL {
            let json = serde_json::to_string(retry).unwrap();
            assert_eq!(serde_json::from_str::<Retry>(&json).unwrap(), *retry);
        }
        for kind in ErrorKind::ALL {
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(serde_json::from_str::<ErrorKind>(&json).unwrap(), *kind);
            assert_eq!(kind.as_str().parse::<ErrorKind>().unwrap(), *kind);
        }
        assert!(serde_json::from_str::<Effect>("\"much\"").unwrap_err().to_string().contains("Effect"));
        assert!("odd".parse::<ErrorKind>().unwrap_err().fields().contains_key("kind"));
    }

    #[test]
    fn an_error_survives_the_wire_but_for_its_source() {
        for kind in ErrorKind::ALL {
            let error = Error::new(*kind, "why")
                .with_operation(Operation::CreateVm)
                .with_target("vm", "web-1")
                .with_backend("shelf")
                .with_code("504")
                .with_retry_after(Duration::from_millis(1500))
                .with_field("name", "is taken")
                .with_request_id("r")
                .with_hint("Look first")
                .with_task("t".into())
                .with_log_tail(vec!["line".into()])
                .with_attempts(3);
            let json = serde_json::to_string(&error).unwrap();
            let back: Error = serde_json::from_str(&json).unwrap();
            assert_eq!(format!("{back:#?}"), format!("{error:#?}"));
            assert_eq!(serde_json::to_string(&back).unwrap(), json);
        }
        let sent = Error::new(ErrorKind::Connect, "").with_source(std::fmt::Error);
        let json = serde_json::to_string(&sent).unwrap();
        assert_eq!(json, r#"{"kind":"connect","retry":"safe","effect":"none","attempts":1}"#);
    }

    #[test]
    fn what_a_newer_server_says_is_taken_for_the_worst() {
        let json = r#"{"kind":"haunted","retry":"at_midnight","effect":"spooky","operation":"teleport_vm"}"#;
        let error: Error = serde_json::from_str(json).unwrap();
        assert_eq!(error.kind(), ErrorKind::Backend);
        assert_eq!((error.retry(), error.effect()), (Retry::Never, Effect::Unknown));
        assert_eq!((error.operation(), error.attempts()), (None, 1));
    }
}
