//! What goes over the WebSocket: one JSON object in each text frame, `{"type":…,"payload":…}`.

use hypervisor_core::http::decode;
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient;
use super::load::{HostLoad, VmLoad};
use super::place::Place;

/// The server closes the connection, with code 1009, when a client's frame is longer.
const LONGEST: usize = 512;

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ServerFrame {
    /// A host was added or removed.
    HostsChanged,
    /// Something about the guests of this host has changed.
    VmsChanged(String),
    /// The gateway is connected to this host, or no longer.
    HostConnection { host: String, connected: bool },
    /// A guest's load.
    VmLoad { vm: Place, load: Box<VmLoad> },
    /// A host's load.
    HostLoad { host: String, load: HostLoad },
    /// What has no meaning for us, by its type.
    Other(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type", default, deserialize_with = "lenient::text")]
    kind: Option<String>,
    #[serde(default)]
    payload: Option<Value>,
}

#[derive(Deserialize)]
struct OfHost {
    #[serde(rename = "hostId")]
    host: String,
    #[serde(default, deserialize_with = "lenient::flag")]
    connected: bool,
}

#[derive(Deserialize)]
struct VmStats {
    #[serde(rename = "hostId")]
    host: String,
    #[serde(rename = "vmName")]
    vm: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    stats: VmLoad,
}

#[derive(Deserialize)]
struct HostStats {
    #[serde(rename = "hostId")]
    host: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    stats: HostLoad,
}

impl ServerFrame {
    /// Reads a frame. Types that are not known are [`Other`](Self::Other): a newer server may have more.
    ///
    /// # Errors
    /// `Protocol` for what is no such object, or has not what its type promises.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let envelope: Envelope = decode(text.as_bytes())?;
        let kind = envelope.kind.unwrap_or_default();
        let payload = envelope.payload.unwrap_or(Value::Null);
        Ok(match kind.as_str() {
            "hosts-changed" => Self::HostsChanged,
            "vms-changed" => Self::VmsChanged(read::<OfHost>(payload)?.host),
            "host-connection-changed" => {
                let OfHost { host, connected } = read(payload)?;
                Self::HostConnection { host, connected }
            }
            "vm-stats-updated" => {
                let VmStats { host, vm, stats } = read(payload)?;
                Self::VmLoad { vm: Place::new(host, vm), load: Box::new(stats) }
            }
            "host-stats-updated" => {
                let HostStats { host, stats } = read(payload)?;
                Self::HostLoad { host, load: stats }
            }
            _ => Self::Other(kind),
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(payload: Value) -> Result<T> {
    // The detour keeps the place in the document for the error.
    decode(payload.to_string().as_bytes())
}

/// Whose load is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subscription {
    Vm(Place),
    /// The newer generation only.
    Host(String),
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    payload: Payload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    host_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm_name: Option<&'a str>,
}

impl Subscription {
    /// The frame that begins it.
    ///
    /// # Errors
    /// `InvalidInput` where the names are so long that the server would close the connection.
    pub(crate) fn subscribe(&self) -> Result<String> {
        self.frame(["subscribe-vm-stats", "subscribe-host-stats"])
    }

    /// The frame that ends it.
    pub(crate) fn unsubscribe(&self) -> Result<String> {
        self.frame(["unsubscribe-vm-stats", "unsubscribe-host-stats"])
    }

    /// The host that it is about.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Vm(place) => &place.host,
            Self::Host(host) => host,
        }
    }

    fn frame(&self, [of_vm, of_host]: [&str; 2]) -> Result<String> {
        let message = match self {
            Self::Vm(place) => {
                Message { kind: of_vm, payload: Payload { host_id: &place.host, vm_name: Some(&place.name) } }
            }
            Self::Host(host) => Message { kind: of_host, payload: Payload { host_id: host, vm_name: None } },
        };
        let text =
            serde_json::to_string(&message).map_err(|error| Error::invalid("id", error.to_string()))?;
        if text.len() > LONGEST {
            let why = format!("the names are too long: the server takes frames of at most {LONGEST} bytes");
            return Err(Error::invalid("id", why));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn frames_of_both_generations_are_read() {
        let read = |text: &str| ServerFrame::parse(text).unwrap();
        assert_eq!(read(r#"{"type":"hosts-changed"}"#), ServerFrame::HostsChanged);
        assert_eq!(read(r#"{"type":"hosts-changed","payload":null}"#), ServerFrame::HostsChanged);
        let changed = r#"{"type":"vms-changed","payload":{"hostId":"kvmsrv"}}"#;
        assert_eq!(read(changed), ServerFrame::VmsChanged("kvmsrv".into()));
        let connection = r#"{"type":"host-connection-changed","payload":{"connected":true,"hostId":"h2"}}"#;
        assert_eq!(read(connection), ServerFrame::HostConnection { host: "h2".into(), connected: true });
        let ServerFrame::VmLoad { vm, load } = read(
            r#"{"type":"vm-stats-updated","payload":{"hostId":"ghost","stats":{"state":5,"memory":0,"max_mem":0,"vcpu":0,"cpu_time":0,"disk_stats":null,"net_stats":null},"vmName":"nope"}}"#,
        ) else {
            panic!("not a load")
        };
        assert_eq!((vm, load.is_idle()), (Place::new("ghost", "nope"), true));
        let warming = r#"{"type":"vm-stats-warming","payload":{"hostId":"kvmsrv","vmName":"web-01"}}"#;
        assert_eq!(read(warming), ServerFrame::Other("vm-stats-warming".into()));
        assert_eq!(read("{}"), ServerFrame::Other(String::new()));
    }

    #[test]
    fn what_is_no_frame_is_a_protocol_error_that_names_the_place() {
        for (text, place) in [
            ("not json", "understood"),
            ("7", "understood"),
            (r#"{"type":"vms-changed"}"#, "understood"),
            (
                r#"{"type":"vm-stats-updated","payload":{"hostId":"h","vmName":"a","stats":{"cpu_time":[]}}}"#,
                "stats",
            ),
        ] {
            let error = ServerFrame::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{text}");
            assert!(error.message().contains(place), "{text}: {error}");
        }
    }

    #[test]
    fn subscriptions_are_written_as_the_document_has_them() {
        let vm = Subscription::Vm(Place::new("kvmsrv", "ubuntu-vm-01"));
        assert_eq!(
            vm.subscribe().unwrap(),
            r#"{"type":"subscribe-vm-stats","payload":{"hostId":"kvmsrv","vmName":"ubuntu-vm-01"}}"#
        );
        assert_eq!(
            vm.unsubscribe().unwrap(),
            r#"{"type":"unsubscribe-vm-stats","payload":{"hostId":"kvmsrv","vmName":"ubuntu-vm-01"}}"#
        );
        let host = Subscription::Host("kvmsrv".into());
        assert_eq!(
            host.subscribe().unwrap(),
            r#"{"type":"subscribe-host-stats","payload":{"hostId":"kvmsrv"}}"#
        );
        let long = Subscription::Vm(Place::new("h", "x".repeat(500)));
        assert_eq!(long.subscribe().unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(text in any::<String>()) {
            drop(ServerFrame::parse(&text));
        }

        #[test]
        fn no_payload_makes_it_panic(kind in "(hosts-changed|vms-changed|vm-stats-updated|host-stats-updated|host-connection-changed)", payload in super::super::tests::json()) {
            let frame = serde_json::json!({ "type": kind, "payload": payload });
            drop(ServerFrame::parse(&frame.to_string()));
        }
    }
}
