//! Fields as a Go server and its text parsers send them: numbers that may be strings, `null` for an empty list, zero times.

use std::time::SystemTime;

use secrecy::SecretString;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

use super::time;

/// What can be made of whatever the server sent for it.
pub(crate) trait Soft: Sized {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn field<'de, D: Deserializer<'de>, T: Soft>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

fn wrong<E: serde::de::Error>(expected: &str, found: &Value) -> E {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        scalar => scalar.to_string().chars().take(40).collect(),
    };
    E::custom(format!("{expected} is expected, but came {found}"))
}

impl Soft for String {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::new()),
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            other => Err(wrong("text", &other)),
        }
    }
}

impl Soft for bool {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" | "on" | "enable" | "enabled" => Ok(true),
                "" | "false" | "no" | "0" | "off" | "disable" | "disabled" => Ok(false),
                _ => Err(wrong("yes or no", &value)),
            },
            _ => Err(wrong("yes or no", &value)),
        }
    }
}

impl Soft for f64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let found = match &value {
            Value::Null => Some(0.0),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        found.filter(|found| found.is_finite()).ok_or_else(|| wrong("a number", &value))
    }
}

impl Soft for u64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let found = match &value {
            Value::Null => Some(0),
            Value::Number(number) => {
                number.as_u64().or_else(|| number.as_f64().and_then(|number| whole(&format!("{number:.0}"))))
            }
            Value::String(text) if text.trim().is_empty() => Some(0),
            Value::String(text) => whole(text.trim()),
            _ => None,
        };
        found.ok_or_else(|| wrong("a whole number", &value))
    }
}

/// The text form avoids a cast that loses; what is below nothing (`-1` of libvirt for "not known") is nothing.
fn whole(text: &str) -> Option<u64> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => text.parse::<i128>().ok().filter(|number| *number < 0).map(|_| 0),
    }
}

impl Soft for u32 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u64::read(deserializer)?).map_err(D::Error::custom)
    }
}

impl Soft for u16 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u64::read(deserializer)?).map_err(D::Error::custom)
    }
}

/// A point in time; Go's zero time and what cannot be read are none.
impl Soft for Option<SystemTime> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<Value>::deserialize(deserializer)?;
        Ok(text.as_ref().and_then(Value::as_str).and_then(time::parse))
    }
}

impl Soft for Option<SecretString> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::read(deserializer)?;
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

impl<T: DeserializeOwned> Soft for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Self>::deserialize(deserializer)?.unwrap_or_default())
    }
}

impl Soft for Value {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}
