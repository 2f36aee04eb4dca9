//! What a backend has beyond the shared model, as data that survives a gateway.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// Facts that a backend reports beyond the shared model: backend name -> its own data. `Debug` shows names only: options often carry
/// passwords.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Extra(BTreeMap<String, Value>);

impl Extra {
    /// The facts of `backend`, `Null` where there are none.
    #[must_use]
    pub fn get(&self, backend: &str) -> &Value {
        self.0.get(backend).unwrap_or(&Value::Null)
    }

    /// Adds one fact under the backend's name.
    pub fn insert(&mut self, backend: &str, key: &str, value: impl Into<Value>) {
        let slot = self.0.entry(backend.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(map) = slot {
            map.insert(key.to_owned(), value.into());
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets typed options for one backend; other backends do not look at them.
    pub fn set<O: BackendOptions>(&mut self, options: &O) -> Result<()> {
        let value =
            serde_json::to_value(options).map_err(|error| Error::invalid("options", error.to_string()))?;
        self.0.insert(O::BACKEND.to_owned(), value);
        Ok(())
    }

    /// The typed options for one backend, the defaults where none were given.
    ///
    /// # Errors
    /// `InvalidInput` where they do not fit the type.
    pub fn options<O: BackendOptions>(&self) -> Result<O> {
        match self.0.get(O::BACKEND) {
            None => Ok(O::default()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
                Error::new(ErrorKind::InvalidInput, "")
                    .with_field(format!("options.{}", O::BACKEND), error.to_string())
            }),
        }
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |data: &Value| match data {
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        f.debug_map().entries(self.0.iter().map(|(backend, data)| (backend, names(data)))).finish()
    }
}

/// Options that only one backend knows, carried by the specs as data.
pub trait BackendOptions: Serialize + DeserializeOwned + Default {
    /// The name of the backend, as in [`BackendInfo::backend`](crate::model::BackendInfo::backend).
    const BACKEND: &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_out_of_debug() {
        let mut extra = Extra::default();
        extra.insert("proxmox", "cipassword", "hunter2");
        let shown = format!("{extra:?} {extra:#?}");
        assert!(shown.contains("cipassword") && !shown.contains("hunter2"), "{shown}");
    }
}
