//! What no backend has, and an embedding server can supply.

use async_trait::async_trait;
use hypervisor_core::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is to be generated: the body of `POST /v1/ai/generate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Generate {
    /// What is wanted, in words.
    pub prompt: String,
    /// What has to be known for it.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// The language of the answer: `terraform`, for example.
    #[serde(default)]
    pub output_format: Option<String>,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Generated {
    /// Its language.
    pub format: String,
    /// The code.
    pub code: String,
    /// How sure its maker is of it, from 0 to 100.
    #[serde(default)]
    pub validation_score: Option<u8>,
    /// What was found when it was looked over: `passed`, `issues`, `recommendations`.
    #[serde(default)]
    pub security_analysis: Option<Value>,
    /// Which model has made it.
    #[serde(skip)]
    pub model: Option<String>,
    /// How many tokens that took.
    #[serde(skip)]
    pub tokens_used: Option<u64>,
}

impl Generated {
    /// This code in this language.
    pub fn new(format: impl Into<String>, code: impl Into<String>) -> Self {
        Self {
            format: format.into(),
            code: code.into(),
            validation_score: None,
            security_analysis: None,
            model: None,
            tokens_used: None,
        }
    }
}

/// Makes infrastructure code from words.
#[async_trait]
pub trait Generator: Send + Sync {
    /// Makes it.
    ///
    /// # Errors
    /// Whatever the caller is to see.
    async fn generate(&self, request: &Generate) -> Result<Generated>;
}

/// What is to be scanned: the body of `POST /v1/security/scans`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct ScanRequest {
    /// `vulnerability`, `compliance`, ….
    pub scan_type: String,
    /// The guests.
    #[serde(default)]
    pub targets: Vec<String>,
    /// How.
    #[serde(default)]
    pub scan_options: Map<String, Value>,
}

/// A scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Scan {
    /// Its id.
    pub id: String,
    /// As asked for.
    #[serde(rename = "type")]
    pub scan_type: String,
    /// `running`, `completed` or `failed`.
    pub status: String,
    /// RFC 3339.
    #[serde(default)]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub estimated_completion: Option<String>,
    /// What was found, once it is completed.
    #[serde(default)]
    pub results: Option<Value>,
}

impl Scan {
    /// A scan that runs.
    pub fn running(id: impl Into<String>, scan_type: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            scan_type: scan_type.into(),
            status: "running".to_owned(),
            started_at: None,
            estimated_completion: None,
            results: None,
        }
    }
}

/// Scans guests.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// Begins a scan.
    ///
    /// # Errors
    /// Whatever the caller is to see.
    async fn start(&self, request: &ScanRequest) -> Result<Scan>;

    /// Reads a scan.
    ///
    /// # Errors
    /// `NotFound` for an id that was never given.
    async fn get(&self, id: &str) -> Result<Scan>;
}
