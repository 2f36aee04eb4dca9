//! Changes of a configuration: only the keys that change, and the digest of what was read.

use std::collections::BTreeSet;

use hypervisor_core::model::{DeploySpec, GuestKind, NicChange, NicSource, VmChange};
use hypervisor_core::{Error, ErrorKind, Result};

use super::create::{host_name, mib};
use super::pending::name_of;
use super::{CloudInitOptions, Config, boot, disk, nic};
use crate::wire::form::Form;
use crate::wire::marks;

/// The parameters of `PUT /config` that make this change of guest `vmid`; empty where there is nothing to change.
///
/// # Errors
/// `InvalidInput` naming the field; `Conflict` where the configuration is no longer the one that the change was made for.
pub fn encode_change(vmid: u32, change: &VmChange, config: &Config) -> Result<Form> {
    change.validate()?;
    let container = config.kind == GuestKind::Container;
    let mut edit = Edit::of(config);
    if change.if_revision.is_some() && change.if_revision != config.revision() {
        return Err(Error::new(ErrorKind::Conflict, "its configuration is another one by now")
            .with_target("vm", vmid)
            .with_hint("read it again and repeat the change")
            .with_backend(crate::BACKEND));
    }
    if let Some(name) = &change.name {
        host_name(name)?;
        edit.set(if container { "hostname" } else { "name" }, name.as_str());
    }
    if let Some(cpus) = change.cpus {
        set_cpus(&mut edit, config, cpus);
    }
    if let Some(memory) = change.memory {
        let mut text = config.properties("memory").unwrap_or_default();
        boot::set_default(&mut text, "current", &mib(memory).to_string());
        edit.set("memory", text.to_string());
    }
    set_notes(&mut edit, config, change)?;
    set_tags(&mut edit, vmid, config, change);
    if let Some(order) = &change.boot_order {
        if container {
            return Err(Error::invalid("boot_order", "a container boots from its root only"));
        }
        let nics: Vec<String> = config.family("net").map(|(number, _)| format!("net{number}")).collect();
        match boot::encode_order(order, &disk::slots(config), &nics) {
            Some(text) => edit.set("boot", text),
            None => edit.delete("boot"),
        }
    }
    if let Some(autostart) = change.autostart {
        edit.set("onboot", if autostart { "1" } else { "0" });
    }
    if let Some(agent) = change.agent {
        if container {
            return Err(Error::invalid("agent", "containers have none"));
        }
        edit.set("agent", boot::encode_agent(Some(config), agent));
    }
    let more = super::decode::options_of(&change.options)?;
    if let Some(cloud_init) = &more.cloud_init {
        edit.form = cloud_init.encode(edit.form);
    }
    for (key, value) in &more.config {
        // An empty value removes a key, as in the metadata.
        if value.is_empty() { edit.delete(key) } else { edit.set(key, value.as_str()) }
    }
    Ok(edit.finish())
}

/// The fields of a change, as outcomes and pending changes name them: those of the spec, and keys of the configuration that its options
/// set.
#[must_use]
pub fn changed_fields(change: &VmChange) -> Vec<String> {
    let fields = [
        ("name", change.name.is_some()),
        ("cpus", change.cpus.is_some()),
        ("memory", change.memory.is_some()),
        ("description", change.description.is_some()),
        ("tags", !(change.add_tags.is_empty() && change.remove_tags.is_empty())),
        ("metadata", !change.metadata.is_empty()),
        ("boot_order", change.boot_order.is_some()),
        ("autostart", change.autostart.is_some()),
        ("agent", change.agent.is_some()),
    ];
    let mut names: Vec<String> =
        fields.into_iter().filter(|(_, asked)| *asked).map(|(field, _)| field.to_owned()).collect();
    let more = super::decode::options_of(&change.options).unwrap_or_default();
    names.extend(more.config.keys().map(|key| name_of(key).to_owned()));
    names.dedup();
    names
}

/// The parameters of `PUT /config` that mark guest `vmid`, a clone, with the token of the call that made it, and take the marks of
/// its original away.
#[must_use]
pub fn encode_mark(vmid: u32, token: &str, config: &Config) -> Form {
    let mut edit = Edit::of(config);
    let (tags, _) = marks::read_tags(vmid.into(), config.get("tags").unwrap_or_default());
    edit.set("tags", marks::write_tags(vmid.into(), &tags, Some(token)));
    edit.finish()
}

/// The parameters of `PUT /config` that make of a clone what a deploy asks for; empty where there is nothing to set.
///
/// # Errors
/// `InvalidInput` naming the field; `InvalidState` where the template has no drive for cloud-init.
pub fn encode_deploy(vmid: u32, spec: &DeploySpec, config: &Config) -> Result<Form> {
    spec.validate()?;
    let mut change = VmChange::new();
    change.cpus = spec.cpus;
    change.memory = spec.memory;
    change.autostart = spec.autostart.then_some(true);
    let mut edit = Edit { form: encode_change(vmid, &change, config)?, ..Edit::of(config) };
    if let Some(token) = &spec.clone.client_token {
        edit.form = merged(edit.form, &encode_mark(vmid, token, config));
    }
    if let Some(network) = &spec.network {
        let (number, text) = config
            .family("net")
            .next()
            .ok_or_else(|| Error::invalid("network", "the template has no NIC"))?;
        let plug = NicChange::new().source(NicSource::Network(network.clone()));
        edit.set(&format!("net{number}"), nic::change(text, &plug, config.kind)?.to_string());
    }
    if let Some(documents) = &spec.cloud_init {
        let has_drive =
            config.iter().any(|(key, text)| disk::split_slot(key).is_some() && disk::is_cloud_init(text));
        if !has_drive {
            return Err(Error::invalid_state("the template has no drive for cloud-init")
                .with_hint("add one to it: `ide2=STORAGE:cloudinit`")
                .with_backend(crate::BACKEND));
        }
        edit.form = CloudInitOptions::new().with_documents(documents, &spec.clone.name)?.encode(edit.form);
    }
    Ok(edit.finish())
}

fn merged(form: Form, more: &Form) -> Form {
    more.iter().fold(form, |form, (key, value)| form.text(key, value))
}

/// Keeps the number of sockets where it divides the CPUs; within the most that the guest has, only plugs them in or out.
fn set_cpus(edit: &mut Edit<'_>, config: &Config, cpus: u32) {
    let number = |key: &str| config.number(key).filter(|number| *number > 0);
    let (sockets, cpus) = (number("sockets").unwrap_or(1), u64::from(cpus));
    if number("vcpus").is_some() {
        if cpus <= sockets.saturating_mul(number("cores").unwrap_or(1)) {
            return edit.set("vcpus", cpus.to_string());
        }
        edit.delete("vcpus");
    }
    if cpus % sockets == 0 {
        return edit.set("cores", (cpus / sockets).to_string());
    }
    edit.set("sockets", "1");
    edit.set("cores", cpus.to_string());
}

fn set_notes(edit: &mut Edit<'_>, config: &Config, change: &VmChange) -> Result<()> {
    if change.description.is_none() && change.metadata.is_empty() {
        return Ok(());
    }
    let (mut text, mut metadata) = marks::read_notes(config.get("description").unwrap_or_default());
    if let Some(description) = &change.description {
        text = Some(description.clone());
    }
    metadata.extend(change.metadata.clone());
    metadata.retain(|_, value| !value.is_empty());
    let notes = marks::write_notes(text.as_deref(), &metadata)?;
    if notes.is_empty() {
        edit.delete("description")
    } else {
        edit.set("description", notes)
    }
    Ok(())
}

fn set_tags(edit: &mut Edit<'_>, vmid: u32, config: &Config, change: &VmChange) {
    if change.add_tags.is_empty() && change.remove_tags.is_empty() {
        return;
    }
    let (mut tags, token) = marks::read_tags(vmid.into(), config.get("tags").unwrap_or_default());
    tags.retain(|tag| !change.remove_tags.contains(tag));
    tags.extend(change.add_tags.iter().cloned());
    let list = marks::write_tags(vmid.into(), &tags, token.as_deref());
    if list.is_empty() { edit.delete("tags") } else { edit.set("tags", list) }
}

/// What is set and what is deleted, against what is there.
pub(super) struct Edit<'a> {
    pub(super) form: Form,
    delete: BTreeSet<String>,
    config: &'a Config,
}

impl<'a> Edit<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        Self { form: Form::new(), delete: BTreeSet::new(), config }
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.form.set(key, value);
    }

    /// Deletes a key that is there; the server refuses to set and delete the same one.
    pub(super) fn delete(&mut self, key: &str) {
        if self.config.get(key).is_some() {
            self.delete.insert(key.to_owned());
        }
    }

    pub(super) fn finish(mut self) -> Form {
        if self.form.is_empty() && self.delete.is_empty() {
            return self.form;
        }
        if !self.delete.is_empty() {
            let keys: Vec<&str> = self.delete.iter().map(String::as_str).collect();
            self.form.set("delete", keys.join(","));
        }
        if let Some(digest) = &self.config.digest {
            self.form.set("digest", digest.as_str());
        }
        self.form
    }
}
