//! The decoders as functions of bytes, for the fuzz targets and for the tests that feed them with anything. Each says whether
//! the bytes were taken for what they should be; what is taken must also be written and read again.
#![allow(clippy::expect_used, clippy::panic, reason = "a fuzzer finds what panics")]

use std::str::from_utf8;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dialect;
use crate::webhook::{Receiver, sign};

/// Answers of a v1 gateway.
pub fn v1(data: &[u8]) -> bool {
    dialect::v1::answers(data)
}

/// Answers of HyperSDK's daemon.
pub fn hypersdk(data: &[u8]) -> bool {
    dialect::hypersdk::answers(data)
}

/// Answers of Virtumancer.
pub fn virtumancer(data: &[u8]) -> bool {
    dialect::virtumancer::answers(data)
}

/// Answers of virtualization-mcp.
pub fn virtualization_mcp(data: &[u8]) -> bool {
    dialect::virtualization_mcp::answers(data)
}

/// What comes over WebSockets: the events of our own gateway and those of Virtumancer.
pub fn frames(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else { return false };
    dialect::v1::frame(text) | dialect::virtumancer::frame(text)
}

/// The bodies of webhooks.
pub fn webhook(data: &[u8]) -> bool {
    let signed = Receiver::new("key").receive(Some(&sign("key", data)), data);
    let read = Receiver::unsigned().receive(None, data);
    assert_eq!(signed.is_ok(), read.is_ok());
    // Whatever a header says, it is no signature of another key.
    let header = String::from_utf8_lossy(data);
    assert!(Receiver::new("other key").receive(Some(&header), b"{}").is_err());
    let Ok(read) = read else { return false };
    let _ = (read.time(), read.vm(), read.vm_record());
    if let Some(event) = read.to_event() {
        again(&event);
    }
    true
}

/// What is read of a server must survive a gateway: it becomes JSON and is read again.
pub(crate) fn again<T: Serialize + DeserializeOwned>(found: &T) {
    let text = serde_json::to_string(found).expect("it can be written");
    if let Err(error) = serde_json::from_str::<T>(&text) {
        panic!("{text} is not read again: {error}");
    }
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    super::mutations::targets! { "client_": v1 hypersdk virtumancer virtualization_mcp frames webhook }
}
