//! The bodies of what makes and changes machines.

use std::collections::BTreeSet;

use hypervisor_core::model::{
    BackendOptions, ByteSize, CloneSpec, DeploySpec, DiskSource, DiskSpec, VmChange, VmSpec,
};
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dialect::v1::BACKEND;

/// What a new machine can be told that only this API knows, for [`VmSpec::with`].
///
/// ```
/// use hypervisor_client::dialect::v1::V1Options;
/// use hypervisor_core::model::VmSpec;
/// let options = V1Options { environment: Some("staging".into()), vlan_id: Some(100), ..V1Options::default() };
/// let spec = VmSpec::new("app-1").with(&options)?;
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V1Options {
    /// The template that it starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// `production`, `development` or `staging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Its VLAN, 1 to 4094.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan_id: Option<u16>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,
    /// Whether its disk is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt_disk: Option<bool>,
    /// Whether its firewall is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_firewall: Option<bool>,
    /// The SSH keys that may log in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// How it is backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPlan>,
}

impl BackendOptions for V1Options {
    const BACKEND: &'static str = BACKEND;
}

/// How a new machine is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPlan {
    /// Whether it is.
    pub enabled: bool,
    /// How often: `daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// For how many days backups are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

/// Megabytes, where it is a whole number of them.
pub(crate) fn whole_mib(field: &str, size: ByteSize) -> Result<u64> {
    if size.is_multiple_of(ByteSize::mib(1)) {
        return Ok(size.div_ceil(ByteSize::mib(1)));
    }
    Err(Error::invalid(field, format!("{size} is not a whole number of MiB, in which the gateway counts")))
}

fn whole_gib(field: &str, size: ByteSize) -> Result<u64> {
    if size.is_multiple_of(ByteSize::gib(1)) {
        return Ok(size.div_ceil(ByteSize::gib(1)));
    }
    Err(Error::invalid(field, format!("{size} is not a whole number of GiB, in which the gateway counts")))
}

/// The documented body of a create. `vlan` is that of the network that the guest's NIC is to be in.
///
/// # Errors
/// `InvalidInput` for what the documented body has no place for: nothing is left out silently.
pub(crate) fn create_body(spec: &VmSpec, vlan: Option<u16>) -> Result<Value> {
    let options: V1Options = spec.options.options()?;
    let mut configuration = json!({
        "cpu_cores": spec.cpus,
        "memory_mb": whole_mib("memory", spec.memory)?,
    });
    if let Some(size) = disk_size(spec)? {
        put(&mut configuration, "storage_gb", json!(size));
    }
    let mut network = json!({});
    put_some(&mut network, "vlan_id", vlan.or(options.vlan_id));
    put_some(&mut network, "static_ip", options.static_ip.clone());
    if network != json!({}) {
        put(&mut configuration, "network", network);
    }
    let lacking = [
        ("host", spec.host.is_some()),
        ("group", spec.group.is_some()),
        ("machine", spec.machine.is_some()),
        ("cpu_model", spec.cpu_model.is_some()),
        ("serial", spec.serial.is_some()),
        ("boot.order", !spec.boot.order.is_empty()),
        ("boot.firmware", spec.boot.firmware.is_some()),
    ];
    refuse(&lacking)?;
    let mut body = json!({ "name": spec.name, "configuration": configuration });
    put_some(&mut body, "description", spec.description.clone());
    put_some(&mut body, "template", options.template.clone());
    put_some(&mut body, "environment", options.environment.clone());
    put_tags(&mut body, &spec.tags);
    let mut security = json!({});
    put_some(&mut security, "encrypt_disk", options.encrypt_disk);
    put_some(&mut security, "enable_firewall", options.enable_firewall);
    if !options.ssh_keys.is_empty() {
        put(&mut security, "ssh_keys", json!(options.ssh_keys));
    }
    if security != json!({}) {
        put(&mut body, "security", security);
    }
    put_some(&mut body, "backup", options.backup);
    Ok(body)
}

/// What of a spec the documented body can say, for a gateway that takes the whole spec beside it.
pub(crate) fn best_body(spec: &VmSpec) -> Value {
    let mut body = json!({
        "name": spec.name,
        "configuration": {
            "cpu_cores": spec.cpus,
            "memory_mb": spec.memory.div_ceil(ByteSize::mib(1)),
        },
    });
    put_some(&mut body, "description", spec.description.clone());
    put_tags(&mut body, &spec.tags);
    body
}

/// The documented body of a create from a template.
pub(crate) fn deploy_body(template: &str, spec: &DeploySpec) -> Result<Value> {
    let CloneSpec { host, group, pool, .. } = &spec.clone;
    refuse(&[
        ("clone.host", host.is_some()),
        ("clone.group", group.is_some()),
        ("clone.pool", pool.is_some()),
        ("network", spec.network.is_some()),
    ])?;
    let mut configuration = json!({});
    put_some(&mut configuration, "cpu_cores", spec.cpus);
    let memory = spec.memory.map(|memory| whole_mib("memory", memory)).transpose()?;
    put_some(&mut configuration, "memory_mb", memory);
    let mut body = json!({ "name": spec.clone.name, "template": template, "configuration": configuration });
    put_some(&mut body, "description", spec.clone.description.clone());
    Ok(body)
}

/// The documented body of an update. `tags` are all that the machine is to have.
pub(crate) fn update_body(change: &VmChange, tags: Option<&BTreeSet<String>>) -> Result<Value> {
    refuse(&[
        ("boot_order", change.boot_order.is_some()),
        ("agent", change.agent == Some(false)),
        ("options", !change.options.is_empty()),
    ])?;
    let mut body = json!({});
    put_some(&mut body, "name", change.name.clone());
    put_some(&mut body, "description", change.description.clone());
    let mut configuration = json!({});
    put_some(&mut configuration, "cpu_cores", change.cpus);
    let memory = change.memory.map(|memory| whole_mib("memory", memory)).transpose()?;
    put_some(&mut configuration, "memory_mb", memory);
    if configuration != json!({}) {
        put(&mut body, "configuration", configuration);
    }
    put_some(&mut body, "tags", tags);
    Ok(body)
}

fn disk_size(spec: &VmSpec) -> Result<Option<u64>> {
    let disk = match spec.disks.as_slice() {
        [] => return Ok(None),
        [disk] => disk,
        _ => return Err(Error::invalid("disks", "the gateway makes machines with one disk")),
    };
    let mut plain = DiskSpec::new_volume(ByteSize::gib(1));
    plain.source = disk.source.clone();
    match &disk.source {
        DiskSource::New { size, pool: None } if *disk == plain => whole_gib("disks[0].size", *size).map(Some),
        DiskSource::New { pool: Some(_), .. } => {
            Err(Error::invalid("disks[0].pool", "the gateway chooses the pool itself"))
        }
        _ => {
            Err(Error::invalid("disks[0]", "the gateway takes the size of a new disk and nothing else of it"))
        }
    }
}

/// Refuses what the documented API cannot express.
fn refuse(lacking: &[(&str, bool)]) -> Result<()> {
    match lacking.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Error::invalid(*field, "the gateway's API has no such field")),
        None => Ok(()),
    }
}

fn put_tags(body: &mut Value, tags: &BTreeSet<String>) {
    if !tags.is_empty() {
        put(body, "tags", json!(tags));
    }
}

pub(crate) fn put(body: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = body {
        map.insert(key.to_owned(), value);
    }
}

pub(crate) fn put_some<T: Serialize>(body: &mut Value, key: &str, value: Option<T>) {
    if let Some(value) = value.and_then(|value| serde_json::to_value(value).ok()) {
        put(body, key, value);
    }
}
