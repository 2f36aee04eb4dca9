//! The document's body of a new guest, as a spec.

use hypervisor_core::model::{
    ByteSize, CloudInit, DeploySpec, DiskSpec, Feature, NetworkInfo, NicSpec, VmId, VmSpec,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::call::Call;
use crate::compute::named;
use crate::paging;
use crate::problem::{Problem, Result};
use crate::view::ENVIRONMENTS;

/// The body of `POST /v1/vms`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateVm {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    /// The id or name of a template.
    #[serde(default)]
    template: Option<String>,
    /// `production`, `development` or `staging`: becomes a tag.
    #[serde(default)]
    environment: Option<String>,
    #[serde(default)]
    configuration: Configuration,
    #[serde(default)]
    security: Security,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    backup: Backup,
    /// The model's `VmSpec`, instead of the fields above.
    #[serde(default)]
    spec: Option<Box<VmSpec>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Configuration {
    cpu_cores: Option<u32>,
    cpu_sockets: Option<u32>,
    memory_mb: Option<u64>,
    storage_gb: Option<u64>,
    network: Option<NetworkWish>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct NetworkWish {
    vlan_id: Option<u16>,
    static_ip: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Security {
    encrypt_disk: bool,
    enable_firewall: bool,
    ssh_keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Backup {
    enabled: bool,
    schedule: Option<String>,
    retention_days: Option<u32>,
}

/// What is to be made, and the fields of the document that no backend can follow: the answer names them, so that nothing is dropped in
/// silence.
pub(crate) enum Wanted {
    Spec(Box<VmSpec>, Vec<&'static str>),
    Deploy(VmId, Box<DeploySpec>, Vec<&'static str>),
}

/// Reads the body.
pub(crate) async fn read(call: &Call, body: CreateVm) -> Result<Wanted> {
    if let Some(spec) = body.spec {
        return Ok(Wanted::Spec(spec, Vec::new()));
    }
    let name = body.name.ok_or_else(|| Problem::invalid("name", "is missing"))?;
    if let Some(environment) = &body.environment
        && !ENVIRONMENTS.contains(&environment.as_str())
    {
        return Err(Problem::invalid("environment", format!("is none of {}", ENVIRONMENTS.join(", "))));
    }
    let wish = body.configuration;
    let mut unapplied = Vec::new();
    let mut left_out = |asked: bool, field: &'static str| {
        if asked {
            unapplied.push(field);
        }
    };
    left_out(body.security.encrypt_disk, "security.encrypt_disk");
    left_out(body.security.enable_firewall, "security.enable_firewall");
    left_out(body.backup.enabled, "backup");
    left_out(wish.cpu_sockets.is_some(), "configuration.cpu_sockets");
    let network = wish.network.unwrap_or_default();
    left_out(network.static_ip.is_some(), "configuration.network.static_ip");
    let has = |feature| call.hv().capabilities().has(feature);
    let keys = !body.security.ssh_keys.is_empty();
    let cloud_init = (keys && has(Feature::CloudInit)).then(|| keys_of(&body.security.ssh_keys));
    left_out(keys && cloud_init.is_none(), "security.ssh_keys");
    let memory = wish.memory_mb.map(ByteSize::mib);
    if let Some(template) = body.template {
        let template = named(call, &template, true).await?;
        left_out(wish.storage_gb.is_some(), "configuration.storage_gb");
        left_out(network.vlan_id.is_some(), "configuration.network.vlan_id");
        left_out(!body.tags.is_empty(), "tags");
        left_out(body.environment.is_some(), "environment");
        let mut spec = DeploySpec::new(name);
        spec.clone.description = body.description;
        (spec.cpus, spec.memory, spec.cloud_init) = (wish.cpu_cores, memory, cloud_init);
        return Ok(Wanted::Deploy(template.id, Box::new(spec), unapplied));
    }
    let mut spec = VmSpec::new(name);
    spec.description = body.description;
    spec.cpus = wish.cpu_cores.unwrap_or(spec.cpus);
    spec.memory = memory.unwrap_or(spec.memory);
    spec.cloud_init = cloud_init;
    if has(Feature::Tags) {
        spec.tags.extend(body.tags);
        spec.tags.extend(body.environment);
    } else {
        left_out(!body.tags.is_empty(), "tags");
        left_out(body.environment.is_some(), "environment");
    }
    if let Some(size) = wish.storage_gb {
        spec.disks.push(DiskSpec::new_volume(ByteSize::gib(size)));
    }
    if let Some(vlan) = network.vlan_id {
        match nic(call, vlan).await {
            Some(nic) => spec.nics.push(nic),
            None => left_out(true, "configuration.network.vlan_id"),
        }
    }
    Ok(Wanted::Spec(Box::new(spec), unapplied))
}

fn keys_of(keys: &[String]) -> CloudInit {
    let lines: Vec<String> =
        keys.iter().map(|key| format!("  - {}\n", serde_json::Value::from(key.as_str()))).collect();
    CloudInit::user_data(format!("#cloud-config\nssh_authorized_keys:\n{}", lines.concat()))
}

/// A NIC in the network of this VLAN, or with its tag in the first network.
async fn nic(call: &Call, vlan: u16) -> Option<NicSpec> {
    let hv = call.hv();
    let (networks, _) = paging::every(|page| async move { hv.list_networks(&page).await }).await.ok()?;
    let of_vlan = networks.iter().find(|network| network.vlan == Some(vlan));
    let first = || networks.iter().find(|network: &&NetworkInfo| network.active);
    match of_vlan {
        Some(network) => Some(NicSpec::network(&network.id)),
        None if hv.capabilities().has(Feature::NicVlan) => {
            first().map(|network| NicSpec::network(&network.id).vlan(vlan))
        }
        None => None,
    }
}
