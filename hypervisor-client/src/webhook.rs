//! The receiving end of a v1 gateway's webhooks: reads events and checks their signatures. Any HTTP server can feed it.
//!
//! ```
//! use hypervisor_client::webhook::{EventType, Receiver, sign};
//! let receiver = Receiver::new("your-webhook-secret");
//! let body = br#"{"event":"vm.created","timestamp":"2025-07-29T12:00:00Z",
//!     "data":{"vm":{"id":"vm-102","name":"app-server-01","status":"running"}},"webhook":{"id":"webhook-001","attempt":1}}"#;
//! let signature = sign("your-webhook-secret", body);
//! let event = receiver.receive(Some(&signature), body)?;
//! assert_eq!(event.event, EventType::VmCreated);
//! assert_eq!(event.vm().unwrap().as_str(), "vm-102");
//! assert!(receiver.receive(None, body).is_err());
//! # Ok::<(), hypervisor_core::Error>(())
//! ```

use std::fmt;
use std::time::SystemTime;

use hypervisor_core::http::decode;
use hypervisor_core::model::{Event, EventKind, TaskId, TaskState, VmId, VmState};
use hypervisor_core::{Error, ErrorKind, Result};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::dialect::v1::{BACKEND, VmRecord};
use crate::time;

/// The header that carries the signature: `sha256=` and the HMAC-SHA256 of the body in hexadecimal. The document promises that events are
/// signed and does not say how; this is what `hypervisor-gateway` sends.
pub const SIGNATURE_HEADER: &str = "X-Webhook-Signature";

/// The largest event that is read.
const MOST: usize = 1 << 20;

/// What a webhook tells of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// A machine was made.
    VmCreated,
    /// A machine is gone.
    VmDeleted,
    /// A machine does something else now.
    VmStatusChanged,
    /// A backup was made.
    BackupCompleted,
    /// A security scan has ended.
    ScanCompleted,
    /// A job has ended.
    JobCompleted,
    /// Something needs attention.
    SystemAlert,
    /// Something that this version does not know.
    Other(String),
}

impl EventType {
    /// Every known one.
    pub const KNOWN: [Self; 7] = [
        Self::VmCreated,
        Self::VmDeleted,
        Self::VmStatusChanged,
        Self::BackupCompleted,
        Self::ScanCompleted,
        Self::JobCompleted,
        Self::SystemAlert,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::VmCreated => "vm.created",
            Self::VmDeleted => "vm.deleted",
            Self::VmStatusChanged => "vm.status_changed",
            Self::BackupCompleted => "backup.completed",
            Self::ScanCompleted => "security.scan_completed",
            Self::JobCompleted => "job.completed",
            Self::SystemAlert => "system.alert",
            Self::Other(name) => name,
        }
    }
}

impl From<EventType> for String {
    fn from(event: EventType) -> Self {
        event.as_str().to_owned()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Self::KNOWN.into_iter().find(|known| known.as_str() == name);
        Ok(known.unwrap_or(Self::Other(name)))
    }
}

/// What a webhook brings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct WebhookEvent {
    /// What happened.
    pub event: EventType,
    /// When, as the gateway wrote it.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// To what: `{"vm": {…}}`, `{"job": {…}}`, …
    #[serde(default)]
    pub data: Value,
    /// Which webhook brings it. The same event may come more than once.
    #[serde(default)]
    pub webhook: Delivery,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Which webhook brings an event, and for the how manieth time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Delivery {
    /// The webhook's id.
    pub id: Option<String>,
    /// From 1.
    pub attempt: Option<u32>,
}

impl WebhookEvent {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        time::parse(self.timestamp.as_deref()?)
    }

    /// The machine that it is about.
    #[must_use]
    pub fn vm(&self) -> Option<VmId> {
        let id = self.data.pointer("/vm/id").or_else(|| self.data.get("vm_id"))?;
        id.as_str().map(VmId::from)
    }

    /// The machine as the gateway shows it.
    #[must_use]
    pub fn vm_record(&self) -> Option<VmRecord> {
        serde_json::from_value(self.data.get("vm")?.clone()).ok()
    }

    /// In the words of [`watch`](hypervisor_core::Events::watch); `None` for what these have no word for.
    #[must_use]
    pub fn to_event(&self) -> Option<Event> {
        let kind = match self.event {
            EventType::VmCreated => EventKind::VmCreated(self.vm()?),
            EventType::VmDeleted => EventKind::VmDeleted(self.vm()?),
            EventType::VmStatusChanged => {
                let state = self.vm_record().map_or(VmState::Unknown("unknown".to_owned()), |vm| vm.state());
                EventKind::VmStateChanged { vm: self.vm()?, state }
            }
            EventType::JobCompleted => {
                let id = self.data.pointer("/job/id").or_else(|| self.data.get("job_id"))?.as_str()?;
                let status = self.data.pointer("/job/status").and_then(Value::as_str);
                let state = match status {
                    Some("failed" | "error") => TaskState::Failed,
                    Some("cancelled" | "canceled") => TaskState::Cancelled,
                    _ => TaskState::Succeeded,
                };
                EventKind::TaskChanged { task: TaskId::from(id), state }
            }
            _ => return None,
        };
        let mut event = Event::new(self.time().unwrap_or_else(SystemTime::now), kind);
        event.extra.insert(BACKEND, "event", self.event.as_str());
        Some(event)
    }
}

/// Reads a webhook's events. `Debug` does not show its secret.
#[derive(Clone)]
pub struct Receiver {
    key: Option<hmac::Key>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("signed", &self.key.is_some()).finish()
    }
}

impl Receiver {
    /// For a webhook with this secret: every event has to be signed by it.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self { key: Some(key(secret.into().expose_secret())) }
    }

    /// For a webhook without a secret: anybody who knows the URL can make up events.
    #[must_use]
    pub fn unsigned() -> Self {
        Self { key: None }
    }

    /// Reads an event out of a request's body. `signature` is the value of the header [`SIGNATURE_HEADER`] (`X-Signature` on some
    /// gateways), with or without `sha256=` at its start. It is compared in constant time, before anything else is looked at.
    ///
    /// # Errors
    /// `Unauthenticated` for a signature that is missing or wrong, `Protocol` for what is no event.
    pub fn receive(&self, signature: Option<&str>, body: &[u8]) -> Result<WebhookEvent> {
        if let Some(key) = &self.key {
            let refused = |why: &str| Error::new(ErrorKind::Unauthenticated, why);
            let signature = signature.ok_or_else(|| refused("the event is not signed"))?.trim();
            let hex = signature.strip_prefix("sha256=").unwrap_or(signature);
            let bytes = from_hex(hex).ok_or_else(|| refused("the event's signature is not hexadecimal"))?;
            hmac::verify(key, body, &bytes).map_err(|_| refused("the event's signature is wrong"))?;
        }
        if body.len() > MOST {
            return Err(Error::new(ErrorKind::Protocol, format!("the event has more than {MOST} bytes")));
        }
        decode(body)
    }
}

/// The value of [`SIGNATURE_HEADER`] for a body: what the gateway sends, and what tests of a receiver need.
#[must_use]
pub fn sign(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&key(secret), body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit)).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document's own example.
    const BODY: &[u8] =
        br#"{"event":"vm.created","timestamp":"2025-07-29T12:00:00Z","data":{"vm":{"id":"vm-102",
        "name":"app-server-01","status":"running"}},"webhook":{"id":"webhook-001","attempt":1}}"#;

    #[test]
    fn the_documents_event_is_read() {
        let event = Receiver::unsigned().receive(None, BODY).unwrap();
        assert_eq!((event.webhook.id.as_deref(), event.webhook.attempt), (Some("webhook-001"), Some(1)));
        assert_eq!(event.vm_record().unwrap().state(), VmState::Running);
        let told = event.to_event().unwrap();
        assert_eq!(told.kind, EventKind::VmCreated("vm-102".into()));
        assert_eq!(time::format(told.time), "2025-07-29T12:00:00Z");
    }

    #[test]
    fn rfc_4231_test_case_2() {
        let signed = sign("Jefe", b"what do ya want for nothing?");
        let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed, format!("sha256={wanted}"));
    }

    #[test]
    fn a_wrong_signature_is_refused_before_the_body_is_looked_at() {
        let receiver = Receiver::new("canary");
        let good = sign("canary", BODY);
        assert!(receiver.receive(Some(&good), BODY).is_ok());
        assert!(receiver.receive(good.strip_prefix("sha256="), BODY).is_ok());
        let mut other = BODY.to_vec();
        other.push(b' ');
        let short = &good[..good.len() - 2];
        for (signature, body) in [
            (None, BODY),
            (Some(""), BODY),
            (Some("sha256=zz"), BODY),
            (Some("sha256=é"), BODY),
            (Some(short), BODY),
            (Some(good.as_str()), other.as_slice()),
            (Some(sign("other", BODY).as_str()), BODY),
            (Some(good.as_str()), b"not even JSON".as_slice()),
        ] {
            let error = receiver.receive(signature, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{signature:?}");
            assert!(!format!("{error:?} {receiver:?}").contains("canary"));
        }
        let error = Receiver::unsigned().receive(None, b"{\"event\": 1}").unwrap_err();
        assert!(error.to_string().contains("`event`"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = Receiver::unsigned().receive(None, &body);
        }
    }
}
