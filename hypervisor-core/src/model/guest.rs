//! What the agent inside a guest does, and how a guest is reached.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::capability::Feature;
use super::mac::MacAddr;
use super::macros::{known_or, named_enum, open_enum, setters};
use crate::error::{Error, Result};

named_enum! {
    /// How an address was found out.
    AddressSource {
        /// The network's DHCP server handed it out. The guest may have dropped it.
        Lease = "lease",
        /// The guest's agent says so.
        Agent = "agent",
        /// The host has seen packets with it.
        Arp = "arp",
        /// The guest's configuration says so (containers, cloud-init).
        Config = "config",
    }
}

/// A source that only a newer server knows is taken for the one that promises least.
fn known_source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<AddressSource, D::Error> {
    known_or(deserializer, AddressSource::Config)
}

impl AddressSource {
    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(self) -> Vec<Feature> {
        match self {
            Self::Lease => vec![Feature::LeaseAddresses],
            Self::Agent => vec![Feature::AgentAddresses],
            Self::Arp => vec![Feature::ArpAddresses],
            Self::Config => Vec::new(),
        }
    }
}

/// An address of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct GuestAddress {
    /// The address.
    pub address: IpAddr,
    /// The width of the network.
    #[serde(default)]
    pub prefix: Option<u8>,
    /// How it was found out.
    #[serde(deserialize_with = "known_source")]
    pub source: AddressSource,
    /// The NIC.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// What the guest calls the NIC.
    #[serde(default)]
    pub interface: Option<String>,
}

impl GuestAddress {
    /// An address of which nothing else is known.
    #[must_use]
    pub fn new(address: IpAddr, source: AddressSource) -> Self {
        Self { address, prefix: None, source, mac: None, interface: None }
    }

    setters! { opt prefix: u8; opt mac: MacAddr; opt_into interface: String; }

    /// Whether somebody else could reach the guest by it: neither loopback nor link-local.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        match self.address {
            IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
            IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
        }
    }
}

/// A command to run inside a guest. `Debug` shows neither its environment nor its input: they may carry secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExecSpec {
    /// The program's path inside the guest.
    pub program: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment; empty inherits the agent's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it reads.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<u8>>"))]
    pub stdin: Option<Bytes>,
    /// How long it may take, 30 s unless it is said. The program goes on when the time is over; the error says so.
    #[serde(default = "ExecSpec::usual_deadline")]
    pub deadline: Duration,
}

impl ExecSpec {
    /// This program, for at most 30 s.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            deadline: Self::usual_deadline(),
        }
    }

    const fn usual_deadline() -> Duration {
        Duration::from_secs(30)
    }

    setters! { val args: Vec<String>; val env: BTreeMap<String, String>; opt_into stdin: Bytes; val deadline: Duration; }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.program.is_empty() || self.program.contains('\0') {
            return Err(Error::invalid("program", "must be a path inside the guest"));
        }
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err(Error::invalid("args", "must not contain NUL"));
        }
        match self
            .env
            .iter()
            .find(|(key, value)| key.is_empty() || key.contains(['=', '\0']) || value.contains('\0'))
        {
            Some((key, _)) => Err(Error::invalid("env", format!("`{}` cannot be set", key.escape_debug()))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ExecSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSpec")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &self.env.keys())
            .field("stdin", &self.stdin.as_ref().map(Bytes::len))
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// How a command ended. `Debug` shows how much it wrote, not what: that may hold secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExecOutput {
    /// Its exit code; `None` if a signal ended it.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// What it wrote.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<u8>"))]
    pub stdout: Bytes,
    /// What it wrote as errors.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<u8>"))]
    pub stderr: Bytes,
    /// Whether the agent cut what it wrote.
    #[serde(default)]
    pub truncated: bool,
}

impl fmt::Debug for ExecOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecOutput")
            .field("exit_code", &self.exit_code)
            .field("signal", &self.signal)
            .field("stdout_bytes", &self.stdout.len())
            .field("stderr_bytes", &self.stderr.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}

impl ExecOutput {
    /// A command that ended with this code.
    #[must_use]
    pub fn exited(exit_code: i32, stdout: Bytes, stderr: Bytes) -> Self {
        Self { exit_code: Some(exit_code), signal: None, stdout, stderr, truncated: false }
    }

    setters! { opt signal: i32; val truncated: bool; }

    /// What it wrote, as text: bytes that are no UTF-8 become `\u{fffd}`.
    ///
    /// ```
    /// use hypervisor_core::model::ExecOutput;
    /// let output = ExecOutput::exited(0, "Linux\n".into(), "".into());
    /// assert_eq!(output.stdout_text().trim_end(), "Linux");
    /// ```
    #[must_use]
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// What it wrote as errors, as text.
    #[must_use]
    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }

    /// Whether it ended with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.exit_code == Some(0)
    }
}

/// A file written inside a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct WriteFile {
    /// Add to what is there; otherwise it is replaced.
    pub append: bool,
}

impl WriteFile {
    /// Replaces what is there.
    #[must_use]
    pub fn replace() -> Self {
        Self { append: false }
    }

    /// Adds to what is there.
    #[must_use]
    pub fn append() -> Self {
        Self { append: true }
    }
}

open_enum! {
    /// A way to a guest's screen or keyboard.
    ConsoleKind {
        /// VNC.
        Vnc = "vnc",
        /// SPICE.
        Spice = "spice",
        /// The serial port.
        Serial = "serial" | "terminal",
    }
}

/// How to reach a console. The password is never part of `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ConsoleAccess {
    /// What answers there.
    pub kind: ConsoleKind,
    /// The address to connect to, where it is a socket.
    #[serde(default)]
    pub address: Option<String>,
    /// The port, where it is a TCP socket.
    #[serde(default)]
    pub port: Option<u16>,
    /// The port for TLS.
    #[serde(default)]
    pub tls_port: Option<u16>,
    /// The URL, where it is a WebSocket.
    #[serde(default)]
    pub url: Option<String>,
    /// The path of the terminal on the host, where it is one.
    #[serde(default)]
    pub path: Option<String>,
    /// The password or ticket, valid for a short time.
    #[serde(default)]
    pub password: Option<String>,
    /// How long it is valid.
    #[serde(default)]
    pub valid_for: Option<Duration>,
}

impl ConsoleAccess {
    /// A console of which nothing else is known.
    #[must_use]
    pub fn new(kind: ConsoleKind) -> Self {
        Self {
            kind,
            address: None,
            port: None,
            tls_port: None,
            url: None,
            path: None,
            password: None,
            valid_for: None,
        }
    }

    setters! {
        opt_into address: String; opt port: u16; opt tls_port: u16; opt_into url: String; opt_into path: String;
        opt_into password: String; opt valid_for: Duration;
    }
}

impl fmt::Debug for ConsoleAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleAccess")
            .field("kind", &self.kind)
            .field("address", &self.address)
            .field("port", &self.port)
            .field("tls_port", &self.tls_port)
            // The query of a WebSocket URL often carries the ticket.
            .field("url", &self.url.as_deref().map(|url| url.split('?').next().unwrap_or_default()))
            .field("path", &self.path)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("valid_for", &self.valid_for)
            .finish()
    }
}

/// A picture of a guest's screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Screenshot {
    /// `image/png` or `image/x-portable-pixmap`.
    pub media_type: String,
    /// The picture.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<u8>"))]
    pub data: Bytes,
}

impl Screenshot {
    /// A picture of this type.
    pub fn new(media_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { media_type: media_type.into(), data: data.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_stay_out_of_debug() {
        let access =
            ConsoleAccess::new(ConsoleKind::Vnc).url("wss://h/vnc?ticket=hunter2").password("hunter2");
        assert!(!format!("{access:?}").contains("hunter2"));
        let exec = ExecSpec::new("/bin/sh")
            .arg("-c")
            .env([("TOKEN".into(), "hunter2".into())].into())
            .stdin("hunter2");
        assert!(!format!("{exec:?}").contains("hunter2"));
        assert!(exec.validate().is_ok());
        assert!(ExecSpec::new("").validate().is_err());
    }
}
