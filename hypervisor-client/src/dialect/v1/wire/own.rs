//! What this API has beyond the traits: tokens, security scans, generated code, webhooks, health.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hypervisor_core::model::{BackendInfo, Capabilities};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::envelope::Meta;
use super::lenient;
use crate::dialect::names::by_one_name;

/// A new API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenSpec {
    /// Its name.
    pub name: String,
    /// What somebody wants to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long it is good for, in whole seconds; without it as long as the gateway sees fit.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub expires_in: Option<Duration>,
    /// What it may do: `vm:read`, `vm:write`, `network:read`, …
    pub permissions: Vec<String>,
}

fn seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&time.map(|time| time.as_secs()))
}

impl TokenSpec {
    /// A token with these permissions.
    pub fn new<P: Into<String>>(name: impl Into<String>, permissions: impl IntoIterator<Item = P>) -> Self {
        let permissions = permissions.into_iter().map(Into::into).collect();
        Self { name: name.into(), description: None, expires_in: None, permissions }
    }
}

/// An API token that was just made. The gateway shows its text only once; `Debug` never does.
#[derive(Deserialize)]
#[non_exhaustive]
pub struct Token {
    /// By which it is revoked.
    #[serde(deserialize_with = "lenient::id")]
    pub token_id: String,
    /// The token itself.
    pub access_token: SecretString,
    /// `bearer`.
    #[serde(default)]
    pub token_type: Option<String>,
    /// Until when it is good.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// What it may do.
    #[serde(default, deserialize_with = "lenient::list")]
    pub permissions: Vec<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The gateway may say more than one token: of the rest the names alone are shown.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("token_id", &self.token_id)
            .field("expires_at", &self.expires_at)
            .field("permissions", &self.permissions)
            .field("rest", &self.rest.keys())
            .finish_non_exhaustive()
    }
}

/// A session of a user, or the wish for a second factor.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Session {
    /// The token; none where a second factor is wanted first.
    pub access_token: Option<SecretString>,
    /// How long it is good for, in seconds.
    pub expires_in: Option<u64>,
    /// Whether a second factor is wanted.
    #[serde(deserialize_with = "lenient::flag")]
    pub mfa_required: bool,
    /// By which the gateway knows the session.
    pub session_id: Option<SecretString>,
}

/// What is scanned, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanSpec {
    /// `vulnerability`.
    pub scan_type: String,
    /// The ids of the machines.
    pub targets: Vec<String>,
    /// How it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_options: Option<ScanOptions>,
}

/// How a scan is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ScanOptions {
    /// Look closely.
    pub deep_scan: bool,
    /// Look at what the programs need too.
    pub include_dependencies: bool,
}

/// A security scan, and its results once there are any.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Scan {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// What for.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// `running`, `completed`, …
    #[serde(default)]
    pub status: Option<String>,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it should end.
    #[serde(default)]
    pub estimated_completion: Option<String>,
    /// What was found; the document does not say how that looks.
    #[serde(default)]
    pub results: Value,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What is to be generated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerateSpec {
    /// In words.
    pub prompt: String,
    /// What has to be kept in mind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<GenerateContext>,
    /// `terraform`, …
    pub output_format: String,
}

/// What a generator has to keep in mind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GenerateContext {
    /// `production`, `development` or `staging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// `CIS`, `SOC2`, …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compliance_requirements: Vec<String>,
}

/// Generated code. Nobody has checked it but the gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GeneratedCode {
    /// `terraform`, …
    #[serde(default)]
    pub format: Option<String>,
    /// The code.
    pub code: String,
    /// How good the gateway thinks it is, 0 to 100.
    #[serde(default)]
    pub validation_score: Option<f64>,
    /// How safe the gateway thinks it is.
    #[serde(default)]
    pub security_analysis: Option<SecurityAnalysis>,
    /// Which model generated it, and what that took.
    #[serde(skip)]
    pub meta: Meta,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How safe generated code is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SecurityAnalysis {
    /// Whether nothing was found.
    pub passed: Option<bool>,
    /// What was found: text, or objects.
    #[serde(deserialize_with = "lenient::list")]
    pub issues: Vec<Value>,
    /// What would be better.
    #[serde(deserialize_with = "lenient::list")]
    pub recommendations: Vec<String>,
}

/// A webhook to be made. `Debug` does not show the secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct WebhookSpec {
    /// Where events are sent.
    pub url: String,
    /// Which: `vm.created`, `vm.status_changed`, …; see [`crate::webhook::EventType`].
    pub events: Vec<String>,
    /// By which they are signed.
    pub secret: Option<SecretString>,
    /// Whether they are sent.
    pub active: bool,
}

impl WebhookSpec {
    /// These events to this URL.
    pub fn new<E: Into<String>>(url: impl Into<String>, events: impl IntoIterator<Item = E>) -> Self {
        let events = events.into_iter().map(Into::into).collect();
        Self { url: url.into(), events, secret: None, active: true }
    }

    /// Has them signed.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Whether they are sent from the start.
    #[must_use]
    pub fn active(mut self, active: bool) -> Self {
        self.active = active;
        self
    }
}

impl fmt::Debug for WebhookSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSpec")
            .field("url", &self.url.split('?').next())
            .field("events", &self.events)
            .field("secret", &self.secret.as_ref().map(|_| "***"))
            .field("active", &self.active)
            .finish()
    }
}

/// A webhook.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(remote = "Self")]
#[non_exhaustive]
pub struct Webhook {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Where events are sent.
    #[serde(default)]
    pub url: Option<String>,
    /// Which.
    #[serde(default, deserialize_with = "lenient::list")]
    pub events: Vec<String>,
    /// Whether they are sent.
    #[serde(default)]
    pub active: Option<bool>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(Webhook {
    "id": "webhook_id";
});

/// The gateway may repeat the secret: of the rest the names alone are shown.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("url", &self.url)
            .field("events", &self.events)
            .field("active", &self.active)
            .field("rest", &self.rest.keys())
            .finish()
    }
}

/// How the gateway is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Health {
    /// `healthy` when all is well.
    pub status: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// How long it has been up.
    pub uptime_seconds: Option<u64>,
    /// Component -> how it is: mostly text, on some gateways an object.
    pub components: BTreeMap<String, Value>,
    /// What else it says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Health {
    /// Whether all is well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        matches!(self.status.as_deref(), Some("healthy" | "ok"))
    }
}

/// What the gateway is. The document has the route and no example: only a gateway that is extended says what is behind it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GatewayInfo {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it serves.
    pub backend: Option<BackendInfo>,
    /// What that can do.
    pub capabilities: Option<Capabilities>,
    /// What it has beyond the document: `native-v1` stands for the whole model of the SDK.
    #[serde(deserialize_with = "lenient::list")]
    pub extensions: Vec<String>,
    /// How much it takes.
    pub limits: Value,
    /// What else it says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl GatewayInfo {
    /// Whether it speaks the whole model of the SDK.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.capabilities.is_some() && self.extensions.iter().any(|each| each == "native-v1")
    }
}
