//! Storage pools. The document has no example of them: what is read is what its other objects are like.

use hypervisor_core::model::{ByteSize, PoolInfo, PoolKind, PoolSpec};
use hypervisor_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::lenient;
use super::vm_body::put_some;
use crate::dialect::names::by_one_name;
use crate::dialect::v1::BACKEND;

/// A storage pool. Every field but the id may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(remote = "Self")]
#[non_exhaustive]
pub struct PoolRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it stands on.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Whether it can be used.
    #[serde(default)]
    pub status: Option<String>,
    /// Where it lies.
    #[serde(default)]
    pub path: Option<String>,
    /// How much fits, in GiB.
    #[serde(default)]
    pub total_gb: Option<f64>,
    /// How much is in use, in GiB.
    #[serde(default)]
    pub used_gb: Option<f64>,
    /// How much is left, in GiB.
    #[serde(default)]
    pub available_gb: Option<f64>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(PoolRecord {
    "total_gb": "capacity_gb";
    "available_gb": "free_gb";
});

/// GiB with a fraction as bytes, to the MiB.
pub(crate) fn gib(size: f64) -> Option<ByteSize> {
    let mib = size * 1024.0;
    // 2^44 MiB are 2^64 bytes: more than that is no size.
    if !mib.is_finite() || !(0.0..17_592_186_044_416.0).contains(&mib) {
        return None;
    }
    format!("{mib:.0}").parse().ok().map(ByteSize::mib)
}

impl PoolRecord {
    /// In the words of the SDK.
    #[must_use]
    pub fn to_info(&self) -> PoolInfo {
        let kind = PoolKind::parse(self.kind.as_deref().unwrap_or("unknown"));
        let status = self.status.as_deref().unwrap_or("active").to_ascii_lowercase();
        let active = !matches!(status.as_str(), "inactive" | "offline" | "error" | "disabled" | "stopped");
        let mut info = PoolInfo::new(self.id.as_str(), kind, active);
        info.path = self.path.clone();
        info.capacity = self.total_gb.and_then(gib);
        info.used = self.used_gb.and_then(gib);
        info.available = self.available_gb.and_then(gib);
        if let Some(name) = &self.name {
            info.extra.insert(BACKEND, "name", name.as_str());
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        info
    }
}

/// The body of a create. The document does not show one: `name` and `type` as in its networks, `path` and `source` for what those need.
///
/// # Errors
/// `InvalidInput` for what has no place in it.
pub(crate) fn create_body(spec: &PoolSpec) -> Result<Value> {
    let lacking = [
        ("autostart", spec.autostart),
        ("hosts", !spec.hosts.is_empty()),
        ("content", !spec.content.is_empty()),
        ("options", !spec.options.is_empty()),
    ];
    if let Some((field, _)) = lacking.iter().find(|(_, asked)| *asked) {
        return Err(Error::invalid(*field, "the gateway's API has no such field"));
    }
    let mut body = json!({ "name": spec.name, "type": spec.kind.as_str() });
    put_some(&mut body, "path", spec.target.clone());
    put_some(&mut body, "source", spec.source.clone());
    Ok(body)
}
