//! What jobs are asked for.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::soft;

/// What a job exports, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JobDefinition {
    /// Its id; the daemon gives one.
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name.
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The inventory path of the machine: `/DC/vm/web`.
    #[serde(deserialize_with = "soft::field")]
    pub vm_path: String,
    /// The directory on the daemon's host that it is written to.
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "String::is_empty")]
    pub output_dir: String,
    /// `ovf`, `ova`, `qcow2`, …
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// One of the names of [`ExportMethods`](super::ExportMethods).
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "String::is_empty")]
    pub export_method: String,
    /// Whether the result is compressed.
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
    /// Where the machine is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcenter: Option<VCenter>,
    /// Whatever else the daemon takes.
    #[serde(deserialize_with = "soft::field", skip_serializing_if = "Value::is_null")]
    pub options: Value,
}

impl JobDefinition {
    /// An export of this machine to this directory on the daemon's host.
    pub fn new(vm_path: impl Into<String>, output_dir: impl Into<String>) -> Self {
        Self { vm_path: vm_path.into(), output_dir: output_dir.into(), ..Self::default() }
    }

    chain! { name: String; format: String; export_method: String; compress: bool; vcenter: Option<VCenter>; options: Value; }
}

/// Where machines are exported from. The daemon repeats the password in every answer about the job; `Debug` does not show it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VCenter {
    /// Its address.
    #[serde(deserialize_with = "soft::field")]
    pub server: String,
    /// The user.
    #[serde(deserialize_with = "soft::field")]
    pub username: String,
    /// The password.
    #[serde(
        deserialize_with = "soft::field",
        serialize_with = "exposed",
        skip_serializing_if = "Option::is_none"
    )]
    pub password: Option<SecretString>,
    /// Accept any certificate.
    #[serde(deserialize_with = "soft::field")]
    pub insecure: bool,
}

impl VCenter {
    /// A vCenter and who asks it.
    pub fn new(server: impl Into<String>, username: impl Into<String>, password: SecretString) -> Self {
        Self { server: server.into(), username: username.into(), password: Some(password), insecure: false }
    }

    chain! { insecure: bool; }
}

fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.expose_secret()).serialize(serializer)
}

/// Which jobs are wanted (`POST /jobs/query`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobQuery {
    /// These.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_ids: Vec<String>,
    /// In one of these states.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// All.
    pub all: bool,
    /// At most so many; 0 is no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl JobQuery {
    /// All jobs.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    chain! { job_ids: Vec<String>; status: Vec<String>; limit: u64; }
}
