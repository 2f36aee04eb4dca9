//! The hosts that the server manages: beyond the shared traits.

use std::fmt;
use std::time::Duration;

use hypervisor_core::http::{Method, Request};
use hypervisor_core::model::HostId;
use hypervisor_core::{Effect, Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::BACKEND;
use super::api::About;
use super::backend::Virtumancer;
use super::routes::Generation;
use super::wire::{HostFacts, HostLoad, HostRecord, shown_uri};

/// How often a host is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(250);

/// A host to add.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AddHost {
    /// Its id, which becomes part of the ids of its guests; current servers make one up where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How its libvirt is reached: `qemu+ssh://user@host/system`, `qemu+tcp://host/system`, `qemu:///system`, `qemu+unix://…`.
    pub uri: String,
}

/// Without a password that somebody may have put into the URI.
impl fmt::Debug for AddHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddHost").field("id", &self.id).field("uri", &shown_uri(&self.uri)).finish()
    }
}

impl AddHost {
    /// The host at this URI, under this id.
    pub fn new(id: impl Into<String>, uri: impl Into<String>) -> Self {
        Self { id: Some(id.into()), uri: uri.into() }
    }

    /// The host at this URI; the server makes up its id. Current servers only.
    pub fn unnamed(uri: impl Into<String>) -> Self {
        Self { id: None, uri: uri.into() }
    }
}

/// What is to change in a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HostChange {
    /// The name that people see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the server leaves it alone when the connection is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_reconnect_disabled: Option<bool>,
}

impl HostChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether the server leaves it alone when the connection is lost.
    #[must_use]
    pub fn auto_reconnect_disabled(mut self, disabled: bool) -> Self {
        self.auto_reconnect_disabled = Some(disabled);
        self
    }
}

impl Virtumancer {
    /// Lists the hosts as the server keeps them (`GET /hosts`).
    ///
    /// # Errors
    /// What the server says.
    pub async fn hosts(&self) -> Result<Vec<HostRecord>> {
        self.inner.api.hosts().await
    }

    /// Adds a host (`POST /hosts`). Early servers connect first and answer when they are connected; current ones answer at once, accept
    /// every URI, and keep a host that they cannot reach: see [`wait_for_host`](Self::wait_for_host). The id of a host that was removed may
    /// stay taken on current servers, though no list shows it.
    ///
    /// # Errors
    /// `InvalidInput` for an id or URI that cannot be one, `AlreadyExists` for an id that is taken, `HostUnreachable` where an early server
    /// could not connect: nothing was added then.
    pub async fn add_host(&self, host: &AddHost) -> Result<HostRecord> {
        if host.uri.trim().is_empty() {
            return Err(Error::invalid("uri", "must not be empty"));
        }
        match host.id.as_deref() {
            Some("" | "." | "..") => return Err(Error::invalid("id", "cannot be a part of a path")),
            None => self.at_least(Generation::Current, "a host without an id")?,
            Some(_) => {}
        }
        let request = Request::post(self.path("/hosts", &[])?).json(host);
        let about = About::Host(host.id.clone().unwrap_or_else(|| shown_uri(&host.uri)));
        self.inner.api.json(request, &about).await.map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => {
                let why = error.message().to_owned();
                error.with_field("uri", why)
            }
            // It says so only before anything is kept.
            ErrorKind::HostUnreachable => error.with_effect(Effect::None),
            _ => error,
        })
    }

    /// Waits until the server is connected to a host, at most this long.
    ///
    /// # Errors
    /// `NotFound`; `HostUnreachable` where the server has given up (`ERROR`); `Timeout`.
    pub async fn wait_for_host(&self, host: &HostId, deadline: Duration) -> Result<HostRecord> {
        // A deadline beyond what the clock can show is none.
        let until = Instant::now().checked_add(deadline);
        loop {
            let found = self.inner.api.host(host.as_str()).await?;
            let failed = found.state.as_deref().is_some_and(|state| state.eq_ignore_ascii_case("error"));
            match found.is_connected() {
                Some(true) => return Ok(found),
                // Early servers list only what they could connect to.
                None if self.inner.api.info(host.as_str()).await?.connected => return Ok(found),
                Some(false) if failed => {
                    let error = Error::new(ErrorKind::HostUnreachable, found.trouble());
                    return Err(error.with_target(HostId::NOUN, host).with_backend(BACKEND));
                }
                _ if until.is_some_and(|until| Instant::now() >= until) => {
                    let message = format!("the server is not connected to it after {deadline:?}");
                    let error = Error::new(ErrorKind::Timeout, message).with_effect(Effect::None);
                    return Err(error.with_target(HostId::NOUN, host).with_backend(BACKEND));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Removes a host from the server (`DELETE /hosts/{id}`); its guests go on running. An unknown host is as good as removed.
    ///
    /// # Errors
    /// What the server says.
    pub async fn remove_host(&self, host: &HostId) -> Result<()> {
        let request = Request::delete(self.path("/hosts/{host}", &[("host", host.as_str())])?);
        match self.inner.api.done(request, &About::Host(host.to_string())).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Reads what libvirt says of a host (`GET /hosts/{id}/info`); nothing where the server is not connected to it.
    ///
    /// # Errors
    /// Early servers: `HostUnreachable`, `NotFound`.
    pub async fn host_info(&self, host: &HostId) -> Result<Option<HostFacts>> {
        Ok(self.inner.api.info(host.as_str()).await?.facts)
    }

    /// Changes a host's name, or whether the server connects again by itself (`PATCH /hosts/{id}`). Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported`.
    pub async fn update_host(&self, host: &HostId, change: &HostChange) -> Result<HostRecord> {
        self.at_least(Generation::Current, "changing a host")?;
        let path = self.path("/hosts/{host}", &[("host", host.as_str())])?;
        let request = Request::new(Method::PATCH, path).json(change);
        self.inner.api.json(request, &About::Host(host.to_string())).await
    }

    /// Has the server connect to a host (`POST /hosts/{id}/connect`). Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn connect_host(&self, host: &HostId) -> Result<()> {
        self.host_verb(host, "connect").await
    }

    /// Has the server part from a host until it is told to connect again (`POST /hosts/{id}/disconnect`). Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported`.
    pub async fn disconnect_host(&self, host: &HostId) -> Result<()> {
        self.host_verb(host, "disconnect").await
    }

    async fn host_verb(&self, host: &HostId, verb: &str) -> Result<()> {
        self.at_least(Generation::Current, verb)?;
        let path = self.path("/hosts/{host}/{verb}", &[("host", host.as_str()), ("verb", verb)])?;
        self.inner.api.done(Request::post(path), &About::Host(host.to_string())).await
    }

    /// Reads a host's load and the number of its guests (`GET /hosts/{id}/stats`). Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn host_stats(&self, host: &HostId) -> Result<HostLoad> {
        self.at_least(Generation::Current, "the load of a host")?;
        let path = self.path("/hosts/{host}/stats", &[("host", host.as_str())])?;
        self.inner.api.json(Request::get(path), &About::Host(host.to_string())).await
    }

    /// Reads what a host can do, as the server has it (`GET /hosts/{id}/capabilities`). Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn host_capabilities(&self, host: &HostId) -> Result<Value> {
        self.at_least(Generation::Current, "the capabilities of a host")?;
        let path = self.path("/hosts/{host}/capabilities", &[("host", host.as_str())])?;
        self.inner.api.json(Request::get(path), &About::Host(host.to_string())).await
    }

    /// Has the server find out anew what a host can do (`POST /hosts/{id}/capabilities/refresh`). Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn refresh_host_capabilities(&self, host: &HostId) -> Result<()> {
        self.at_least(Generation::Current, "the capabilities of a host")?;
        let path = self.path("/hosts/{host}/capabilities/refresh", &[("host", host.as_str())])?;
        self.inner.api.done(Request::post(path), &About::Host(host.to_string())).await
    }
}
