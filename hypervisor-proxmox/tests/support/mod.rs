//! A client that does nothing for its caller: it sends bytes and shows the status line as it came.
#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;

use hypervisor_proxmox::fake::FakePve;
use hypervisor_proxmox::wire::form::Form;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["data"].clone()
    }

    pub(crate) fn upid(&self) -> String {
        self.data().as_str().unwrap_or_else(|| panic!("no task: {self:?}")).to_owned()
    }
}

/// Sends one request on a connection of its own; `None` where no answer came.
pub(crate) async fn exchange(authority: &str, head: &str, body: &[u8]) -> Option<Reply> {
    let mut stream = TcpStream::connect(authority).await.ok()?;
    let mut message = head.as_bytes().to_vec();
    message.extend_from_slice(b"\r\n");
    message.extend_from_slice(body);
    stream.write_all(&message).await.ok()?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    if answer.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let first = lines.next()?;
    let mut parts = first.splitn(3, ' ');
    let status = parts.nth(1)?.parse().ok()?;
    let reason = parts.next().unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_lowercase(), value.trim().to_owned()))
        .collect();
    let wanted = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    if read.is_err() || body.len() < wanted {
        return None;
    }
    Some(Reply { status, reason, headers, body: body.to_owned() })
}

/// A client with a token, or with other headers.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) authority: String,
    pub(crate) headers: Vec<String>,
}

impl Client {
    pub(crate) fn new(pve: &FakePve) -> Self {
        Self::token(pve, &pve.token())
    }

    pub(crate) fn token(pve: &FakePve, token: &str) -> Self {
        Self { authority: pve.authority(), headers: vec![format!("Authorization: PVEAPIToken={token}")] }
    }

    pub(crate) fn bare(pve: &FakePve) -> Self {
        Self { authority: pve.authority(), headers: Vec::new() }
    }

    pub(crate) async fn try_send(&self, method: &str, path: &str, form: &str) -> Option<Reply> {
        let kind = "application/x-www-form-urlencoded";
        self.try_raw(method, &format!("/api2/json{path}"), Some(kind), form.as_bytes()).await
    }

    pub(crate) async fn try_raw(
        &self,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: &[u8],
    ) -> Option<Reply> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: pve\r\nConnection: close\r\n");
        for line in &self.headers {
            head.push_str(&format!("{line}\r\n"));
        }
        if !body.is_empty() {
            if let Some(kind) = kind {
                head.push_str(&format!("Content-Type: {kind}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        } else if method != "GET" {
            head.push_str("Content-Length: 0\r\n");
        }
        exchange(&self.authority, &head, body).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, form: &Form) -> Reply {
        let sent = self.try_send(method, path, &form.encode()).await;
        sent.unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &Form::new()).await
    }

    pub(crate) async fn post(&self, path: &str, form: Form) -> Reply {
        self.send("POST", path, &form).await
    }

    pub(crate) async fn put(&self, path: &str, form: Form) -> Reply {
        self.send("PUT", path, &form).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &Form::new()).await
    }

    /// How a task ended. It has to be over.
    pub(crate) async fn exit(&self, upid: &str) -> String {
        let node = upid.split(':').nth(1).unwrap();
        let status = self.get(&format!("/nodes/{node}/tasks/{upid}/status")).await.data();
        assert_eq!(status["status"], "stopped", "{status}");
        status["exitstatus"].as_str().unwrap().to_owned()
    }

    /// Sends a call that starts a task, lets time pass, and says how it ended.
    pub(crate) async fn run(&self, pve: &FakePve, method: &str, path: &str, form: Form) -> String {
        let upid = self.send(method, path, &form).await.upid();
        pve.advance(std::time::Duration::from_secs(60));
        self.exit(&upid).await
    }
}
