use super::*;
use crate::model::{AddressSource, DeleteVm, NetworkChange, NetworkSpec, NicChange, NicSource, NicSpec};
use crate::{Guest as _, Network as _};

fn lab() -> NetworkSpec {
    NetworkSpec::nat("lab", "10.1.2.1/29".parse().unwrap()).dhcp_from_cidr()
}

#[tokio::test(start_paused = true)]
async fn networks_are_not_in_each_others_way() {
    let memory = Memory::new();
    memory.create_network(&lab()).await.unwrap();
    assert_eq!(kind(memory.create_network(&lab()).await), ErrorKind::AlreadyExists);
    let same = NetworkSpec::nat("other", "10.1.2.1/24".parse().unwrap());
    assert_eq!(kind(memory.create_network(&same).await), ErrorKind::Conflict);
    let bridge = NetworkSpec::on_bridge("other", "virbr0");
    assert_eq!(kind(memory.create_network(&bridge).await), ErrorKind::Conflict);
    memory.start_network(&"lab".into()).await.unwrap();
    assert_eq!(kind(memory.start_network(&"lab".into()).await), ErrorKind::InvalidState);
    assert_eq!(kind(memory.delete_network(&"lab".into()).await), ErrorKind::InvalidState);
    memory.stop_network(&"lab".into()).await.unwrap();
    memory.delete_network(&"lab".into()).await.unwrap();
    assert_eq!(kind(memory.get_network(&"lab".into()).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn running_guests_have_leases_until_addresses_run_out() {
    let memory = Memory::new();
    memory.create_network(&lab().start(true)).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..6 {
        let spec = VmSpec::new(format!("vm-{number}")).agent(true).nic(NicSpec::network("lab")).start(true);
        ids.push(memory.create_vm(&spec).await.unwrap().output);
    }
    // Six hosts fit into a /29, and the network has one of them.
    let leases = memory.list_leases(&"lab".into()).await.unwrap();
    assert_eq!(leases.len(), 5);
    assert!(leases.iter().any(|lease| lease.hostname.as_deref() == Some("vm-0")));
    assert!(memory.list_addresses(&ids[5], Some(AddressSource::Lease)).await.unwrap().is_empty());
    let all = memory.list_addresses(&ids[0], None).await.unwrap();
    assert_eq!(all.iter().filter(|address| address.is_reachable()).count(), 3, "{all:?}");
    memory.delete_vm(&ids[0], &DeleteVm::with_disks().power_off(true)).await.unwrap();
    memory.power_vm(&ids[5], &PowerAction::Reboot).await.unwrap();
    assert_eq!(memory.list_addresses(&ids[5], Some(AddressSource::Lease)).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_change_when_the_network_comes_up_again() {
    let memory = Memory::new();
    memory.create_network(&lab().start(true)).await.unwrap();
    let spec = VmSpec::new("web").nic(NicSpec::network("lab"));
    let id = memory.create_vm(&spec).await.unwrap().output;
    let moved = NetworkSpec::nat("lab", "10.9.9.1/24".parse().unwrap()).dhcp_from_cidr();
    let change = NetworkChange::new().cidr(moved.cidr.unwrap()).dhcp(moved.dhcp.unwrap());
    memory.update_network(&"lab".into(), &change).await.unwrap();
    memory.stop_network(&"lab".into()).await.unwrap();
    assert_eq!(kind(memory.power_vm(&id, &PowerAction::Start).await), ErrorKind::InvalidState);
    memory.start_network(&"lab".into()).await.unwrap();
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    let lease = memory.list_leases(&"lab".into()).await.unwrap()[0].address;
    assert_eq!(lease.to_string(), "10.9.9.2");
    let unplug = NicChange::new().source(NicSource::Disconnected);
    memory.update_nic(&id, &"net0".into(), &unplug).await.unwrap();
    assert!(memory.list_leases(&"lab".into()).await.unwrap().is_empty());
}
