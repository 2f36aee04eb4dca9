//! The drive for cloud-init: Proxmox writes its documents itself, from keys of the configuration.

use std::collections::BTreeMap;
use std::fmt;

use hypervisor_core::model::CloudInit;
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Config;
use crate::wire::form::{self, Form};

/// What the drive for cloud-init says. `Debug` shows no password.
///
/// ```
/// use hypervisor_proxmox::wire::config::CloudInitOptions;
/// let first_boot = CloudInitOptions::new().user("ops").ssh_key("ssh-ed25519 AAAA ops").network(0, "ip=dhcp");
/// assert_eq!(first_boot.networks[&0], "ip=dhcp");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CloudInitOptions {
    /// The name of the first user; without it the image's.
    pub user: Option<String>,
    /// Its password. The server never gives it back.
    pub password: Option<String>,
    /// Its public SSH keys.
    pub ssh_keys: Vec<String>,
    /// How NICs get addresses, by number: `ip=dhcp`, `ip=10.0.0.5/24,gw=10.0.0.1`.
    pub networks: BTreeMap<u16, String>,
    /// DNS servers, separated by blanks.
    pub nameserver: Option<String>,
    /// The DNS domain.
    pub searchdomain: Option<String>,
    /// Whether packages are brought up to date; without it the server's default, which is yes.
    pub upgrade: Option<bool>,
    /// Snippets that take the place of the server's documents: `user=local:snippets/user.yml,network=…`.
    pub custom: Option<String>,
    /// `nocloud`, `configdrive2` or `opennebula`.
    pub format: Option<String>,
}

impl CloudInitOptions {
    /// What the image and the server do by themselves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the first user.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Sets its password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a public SSH key.
    #[must_use]
    pub fn ssh_key(mut self, key: impl Into<String>) -> Self {
        self.ssh_keys.push(key.into());
        self
    }

    /// Sets how a NIC gets its addresses.
    #[must_use]
    pub fn network(mut self, nic: u16, addresses: impl Into<String>) -> Self {
        self.networks.insert(nic, addresses.into());
        self
    }

    /// Sets the snippets that take the place of the server's documents.
    #[must_use]
    pub fn custom(mut self, volumes: impl Into<String>) -> Self {
        self.custom = Some(volumes.into());
        self
    }

    /// The keys of the configuration.
    pub(super) fn encode(&self, form: Form) -> Form {
        // The server decodes the keys once more than everything else.
        let keys = (!self.ssh_keys.is_empty()).then(|| form::encoded_text(&self.ssh_keys.join("\n")));
        let form = form
            .maybe("ciuser", self.user.clone())
            .maybe("cipassword", self.password.clone())
            .maybe("sshkeys", keys)
            .maybe("nameserver", self.nameserver.clone())
            .maybe("searchdomain", self.searchdomain.clone())
            .maybe("ciupgrade", self.upgrade.map(|on| if on { "1" } else { "0" }))
            .maybe("cicustom", self.custom.clone())
            .maybe("citype", self.format.clone());
        self.networks
            .iter()
            .fold(form, |form, (nic, text)| form.text(&format!("ipconfig{nic}"), text.as_str()))
    }

    /// What a configuration says; `None` where it says nothing.
    pub(super) fn decode(config: &Config) -> Option<Self> {
        let text = |key: &str| config.get(key).map(str::to_owned);
        let keys = config.get("sshkeys").map(form::decoded_text).unwrap_or_default();
        let found = Self {
            user: text("ciuser"),
            // The server answers with asterisks.
            password: None,
            ssh_keys: keys.lines().filter(|key| !key.trim().is_empty()).map(str::to_owned).collect(),
            networks: config.family("ipconfig").map(|(nic, text)| (nic, text.to_owned())).collect(),
            nameserver: text("nameserver"),
            searchdomain: text("searchdomain"),
            upgrade: config.flag("ciupgrade"),
            custom: text("cicustom"),
            format: text("citype"),
        };
        (found != Self::default()).then_some(found)
    }

    /// Adds what a spec's documents say, as far as the server has keys for it.
    ///
    /// # Errors
    /// `InvalidInput` naming the document, where it has more than that.
    pub(super) fn with_documents(mut self, documents: &CloudInit, name: &str) -> Result<Self> {
        let refused = |field: &str, why: String| Err(Error::invalid(format!("cloud_init.{field}"), why));
        const OTHERWISE: &str = "put the document on a storage as a snippet and name it in \
            options.proxmox.cloud_init.custom, or use its other fields";
        if documents.network_config.is_some() {
            return refused("network_config", format!("Proxmox takes no document; {OTHERWISE}"));
        }
        if documents.meta_data.is_some() {
            return refused("meta_data", format!("Proxmox writes it itself; {OTHERWISE}"));
        }
        let Some(text) = &documents.user_data else { return Ok(self) };
        for (key, value) in simple_yaml(text)
            .map_err(|why| Error::invalid("cloud_init.user_data", format!("{why}; {OTHERWISE}")))?
        {
            match (key.as_str(), value) {
                ("hostname", Simple::Text(host)) if host == name => {}
                ("user", Simple::Text(user)) => self.user = Some(user),
                ("password", Simple::Text(password)) => self.password = Some(password),
                ("package_upgrade", Simple::Text(on)) if matches!(on.as_str(), "true" | "false") => {
                    self.upgrade = Some(on == "true");
                }
                ("ssh_authorized_keys", Simple::List(keys)) => self.ssh_keys.extend(keys),
                (key, _) => {
                    return refused(
                        "user_data",
                        format!("Proxmox has no setting for this `{}`; {OTHERWISE}", key.escape_debug()),
                    );
                }
            }
        }
        Ok(self)
    }
}

impl fmt::Debug for CloudInitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudInitOptions")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("ssh_keys", &self.ssh_keys.len())
            .field("networks", &self.networks)
            .field("nameserver", &self.nameserver)
            .field("searchdomain", &self.searchdomain)
            .field("upgrade", &self.upgrade)
            .field("custom", &self.custom)
            .field("format", &self.format)
            .finish()
    }
}

enum Simple {
    Text(String),
    List(Vec<String>),
}

/// The part of YAML that simple documents are written in: keys at the margin, with a plain or quoted text or a list of such.
fn simple_yaml(text: &str) -> Result<Vec<(String, Simple)>, &'static str> {
    let mut found: Vec<(String, Simple)> = Vec::new();
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') || line == "---" {
            continue;
        }
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            match found.last_mut() {
                Some((_, Simple::List(items))) => items.push(plain(item)?),
                _ => return Err("it has a list that belongs to no key"),
            }
            continue;
        }
        if line.starts_with([' ', '\t']) {
            return Err("it has nested keys");
        }
        let (key, value) = line.split_once(':').ok_or("it has a line that is no key")?;
        let value = value.trim();
        let value = if value.is_empty() { Simple::List(Vec::new()) } else { Simple::Text(plain(value)?) };
        found.push((key.trim().to_owned(), value));
    }
    Ok(found)
}

fn plain(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            let inner = inner.strip_suffix(quote).ok_or("it has a quote that does not end")?;
            return if inner.contains([quote, '\\']) {
                Err("it has an escape")
            } else {
                Ok(inner.to_owned())
            };
        }
    }
    if text.starts_with(['[', '{', '|', '>', '&', '*', '!']) || text.contains(" #") {
        return Err("it has more than plain text");
    }
    Ok(text.to_owned())
}
