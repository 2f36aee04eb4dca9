//! What a current server lists of its guests' devices. Some keys are in Pascal case.

use serde_json::{Value, json};

use super::answer::NOW;
use super::guest::FakeVm;
use super::world::World;

fn managed(world: &World) -> impl Iterator<Item = &FakeVm> {
    world.hosts.iter().flat_map(|host| &host.vms).filter(|vm| vm.managed)
}

fn port(vm: &FakeVm) -> Value {
    json!({
        "id": format!("port-{}", vm.uuid), "created_at": NOW, "updated_at": NOW, "deleted_at": null,
        "mac_address": vm.mac(), "model_name": "virtio", "ip_address": "", "host_id": "", "source_type": "",
        "source_ref": "", "port_group": "", "virtual_port_json": "", "filter_ref_json": "", "vlan_tags_json": "",
        "trust_guest_rx_filters": false, "primary_vlan": null, "address_json": "",
    })
}

/// The ports of all guests. A host of its own has none.
pub(super) fn ports(world: &World) -> Value {
    let ports = managed(world).filter(|vm| vm.nic).map(|vm| {
        let mut port = port(vm);
        super::guest::merge(&mut port, json!({"network_id": format!("network-{}", vm.host)}));
        port
    });
    ports.collect()
}

pub(super) fn port_attachments(world: &World, only: Option<(&str, &str)>) -> Value {
    let wanted = |vm: &&FakeVm| vm.nic && only.is_none_or(|(host, name)| vm.host == host && vm.name == name);
    let attached = managed(world).filter(wanted).map(|vm| {
        json!({
            "id": format!("plug-{}", vm.uuid), "vm_uuid": vm.uuid, "device_name": "vnet0", "mac_address": vm.mac(),
            "model_name": "virtio", "host_id": vm.host, "ordinal": 0, "metadata": "", "port": port(vm),
            "network": {
                "id": format!("network-{}", vm.host), "created_at": NOW, "updated_at": NOW, "deleted_at": null,
                "host_id": vm.host, "name": "default", "uuid": "", "bridge_name": "", "mode": "nat",
            },
        })
    });
    attached.collect()
}

fn video_model() -> Value {
    json!({
        "ID": 1, "CreatedAt": NOW, "UpdatedAt": NOW, "DeletedAt": null, "ModelName": "vga", "VRAM": 16384, "Heads": 1,
        "Accel3D": false,
    })
}

pub(super) fn video_models() -> Value {
    json!([video_model()])
}

pub(super) fn video_attachments(world: &World, host: &str, name: &str) -> Value {
    let cards = managed(world).filter(|vm| vm.host == host && vm.name == name).map(|vm| {
        json!({
            "ID": 1, "CreatedAt": NOW, "UpdatedAt": NOW, "DeletedAt": null, "VMUUID": vm.uuid, "VideoModelID": 1,
            "VideoModel": video_model(), "MonitorIndex": 0, "Primary": true,
        })
    });
    cards.collect()
}
