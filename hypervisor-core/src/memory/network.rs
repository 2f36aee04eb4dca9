//! Networks and the addresses that they hand out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;

use super::Memory;
use super::clock::wall;
use super::state::{Net, World};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    EventKind, Lease, MacAddr, NetworkChange, NetworkId, NetworkInfo, NetworkKind, NetworkSpec, NicSource,
    Page, PageRequest, Started, VmId, VmState,
};
use crate::operation::Operation;
use crate::traits::Network;

/// How long a lease is good for.
const LEASE: Duration = Duration::from_secs(3600);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Network for Memory {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        self.call(Operation::ListNetworks, &[], Ok(()), |world| {
            let all = world.networks.values().map(Net::shown).collect();
            Ok(world.page(all, page, |network| network.id.to_string()))
        })
        .await
    }

    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        self.call(Operation::GetNetwork, &[], Ok(()), |world| world.network(network).map(Net::shown)).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        let valid = spec.validate();
        self.call(Operation::CreateNetwork, &spec.needs(), valid, |world| world.create_network(spec)).await
    }

    async fn update_network(&self, network: &NetworkId, change: &NetworkChange) -> Result<Started<()>> {
        self.call(Operation::UpdateNetwork, &change.needs(), Ok(()), |world| {
            world.update_network(network, change)
        })
        .await
    }

    async fn delete_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.call(Operation::DeleteNetwork, &[], Ok(()), |world| {
            if world.network(network)?.live.is_some() {
                return Err(refused(network, "it is up; take it down first"));
            }
            world.networks.remove(network);
            world.emit(EventKind::NetworkChanged(network.clone()));
            Ok(Started::done(()))
        })
        .await
    }

    async fn start_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.call(Operation::StartNetwork, &[], Ok(()), |world| {
            if world.network(network)?.live.is_some() {
                return Err(refused(network, "it is up"));
            }
            world.bring_up(network);
            Ok(Started::done(()))
        })
        .await
    }

    async fn stop_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.call(Operation::StopNetwork, &[], Ok(()), |world| {
            if world.network(network)?.live.is_none() {
                return Err(refused(network, "it is down"));
            }
            if let Some(net) = world.networks.get_mut(network) {
                net.live = None;
                net.leases.clear();
            }
            world.emit(EventKind::NetworkChanged(network.clone()));
            Ok(Started::done(()))
        })
        .await
    }

    async fn list_leases(&self, network: &NetworkId) -> Result<Vec<Lease>> {
        self.call(Operation::ListLeases, &[], Ok(()), |world| {
            let net = world.network(network)?;
            let prefix = net.live.as_ref().and_then(|live| live.cidr).map(|cidr| cidr.prefix_len());
            let leases = net.leases.iter().filter_map(|(mac, address)| {
                let guest = world.vms.values().find(|vm| {
                    vm.state.is_active() && vm.setup.nics.iter().any(|nic| nic.mac == Some(*mac))
                })?;
                let mut lease = Lease::new(*mac, *address)
                    .hostname(guest.setup.spec.name.as_str())
                    .expires(wall(world.now.saturating_add(LEASE)));
                lease.prefix = prefix;
                Some(lease)
            });
            Ok(leases.collect())
        })
        .await
    }
}

fn refused(network: &NetworkId, why: &str) -> Error {
    Error::invalid_state(why).with_target(NetworkId::NOUN, network)
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

impl Net {
    /// As the API shows it: the configuration, and whether it is up.
    fn shown(&self) -> NetworkInfo {
        NetworkInfo { active: self.live.is_some(), ..self.info.clone() }
    }

    /// The address of a NIC: the one that it had before, else the first free one. `None` where there is no DHCP or no free address.
    fn lease(&mut self, mac: MacAddr) -> Option<IpAddr> {
        if let Some(address) = self.leases.get(&mac) {
            return Some(*address);
        }
        let range = self.live.as_ref()?.dhcp?;
        let taken = |address: &IpAddr| self.leases.values().any(|other| other == address);
        let free = match (range.start, range.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                let mut all = (u32::from(start)..=u32::from(end)).map(|address| IpAddr::V4(address.into()));
                all.find(|address| !taken(address))
            }
            (IpAddr::V6(start), IpAddr::V6(end)) => {
                let mut all = (u128::from(start)..=u128::from(end)).map(|address| IpAddr::V6(address.into()));
                all.find(|address| !taken(address))
            }
            _ => None,
        }?;
        self.leases.insert(mac, free);
        Some(free)
    }
}

impl World {
    pub(super) fn add_default_network(&mut self) {
        let Ok(cidr) = "192.168.122.1/24".parse() else { return };
        let spec =
            NetworkSpec::nat("default", cidr).dhcp_from_cidr().bridge("virbr0").autostart(true).start(true);
        // Nothing can be in its way yet.
        let _ = self.create_network(&spec);
    }

    pub(super) fn network(&self, id: &NetworkId) -> Result<&Net> {
        self.networks.get(id).ok_or_else(|| id.not_found())
    }

    fn create_network(&mut self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        let id = NetworkId::from(spec.name.as_str());
        if self.networks.contains_key(&id) {
            return Err(Error::already_exists(NetworkId::NOUN, &id));
        }
        if let Some(host) = &spec.host {
            self.reachable(host)?;
        }
        let makes_bridge = !matches!(spec.kind, NetworkKind::Bridge | NetworkKind::Vnet);
        let bridge = spec.bridge.clone().or_else(|| makes_bridge.then(|| self.free_bridge()));
        let mut info = NetworkInfo::new(id.clone(), spec.name.as_str(), spec.kind.clone(), false);
        info.autostart = spec.autostart;
        info.bridge = bridge;
        info.cidr = spec.cidr;
        info.dhcp = spec.dhcp;
        info.vlan = spec.vlan;
        info.domain.clone_from(&spec.domain);
        info.host.clone_from(&spec.host);
        self.not_in_the_way(&info)?;
        self.networks.insert(id.clone(), Net { info, live: None, leases: Default::default() });
        if spec.start {
            self.bring_up(&id);
        } else {
            self.emit(EventKind::NetworkChanged(id.clone()));
        }
        Ok(Started::done(id))
    }

    fn free_bridge(&self) -> String {
        let taken = |name: &String| self.networks.values().any(|net| net.info.bridge.as_ref() == Some(name));
        let mut names = (0_u32..).map(|number| format!("virbr{number}"));
        names.find(|name| !taken(name)).unwrap_or_default()
    }

    /// Passes if no other network makes the same bridge or has the same addresses.
    fn not_in_the_way(&self, info: &NetworkInfo) -> Result<()> {
        let conflict = |message: String| {
            Err(Error::new(ErrorKind::Conflict, message).with_target(NetworkId::NOUN, &info.id))
        };
        for other in self.networks.values().map(|net| &net.info).filter(|other| other.id != info.id) {
            // A bridge that exists outside may carry several networks; one that a network makes is its own.
            let both_use = info.kind == NetworkKind::Bridge && other.kind == NetworkKind::Bridge;
            if let Some(bridge) = info.bridge.as_ref().filter(|bridge| other.bridge.as_ref() == Some(bridge))
                && !both_use
            {
                return conflict(format!("bridge `{bridge}` belongs to network `{}`", other.id));
            }
            if let (Some(mine), Some(theirs)) = (&info.cidr, &other.cidr)
                && overlap(mine, theirs)
            {
                return conflict(format!(
                    "{} overlaps {} of network `{}`",
                    mine.trunc(),
                    theirs.trunc(),
                    other.id
                ));
            }
        }
        Ok(())
    }

    fn update_network(&mut self, id: &NetworkId, change: &NetworkChange) -> Result<Started<()>> {
        let mut info = self.network(id)?.shown();
        change.validate(&info)?;
        info.autostart = change.autostart.unwrap_or(info.autostart);
        info.cidr = change.cidr.or(info.cidr);
        info.dhcp = change.dhcp.or(info.dhcp);
        info.vlan = change.vlan.or(info.vlan);
        info.domain = change.domain.clone().or(info.domain);
        info.bridge = change.bridge.clone().or(info.bridge);
        self.not_in_the_way(&info)?;
        if let Some(net) = self.networks.get_mut(id) {
            net.info = info;
        }
        self.emit(EventKind::NetworkChanged(id.clone()));
        Ok(Started::done(()))
    }

    fn bring_up(&mut self, id: &NetworkId) {
        if let Some(net) = self.networks.get_mut(id) {
            net.live = Some(net.info.clone());
            self.emit(EventKind::NetworkChanged(id.clone()));
        }
        let running: Vec<VmId> = self.vms.keys().cloned().collect();
        running.iter().for_each(|vm| self.lease_addresses(vm));
    }

    /// Gives the NICs of a running guest their addresses.
    pub(super) fn lease_addresses(&mut self, id: &VmId) {
        let Some(vm) = self.vms.get(id).filter(|vm| vm.state == VmState::Running) else { return };
        for nic in vm.setup.nics.iter().filter(|nic| !nic.link_down) {
            if let (NicSource::Network(network), Some(mac)) = (&nic.source, nic.mac)
                && let Some(net) = self.networks.get_mut(network)
            {
                net.lease(mac);
            }
        }
    }

    /// Takes back the addresses of NICs that are not in their network any more. A guest that is off keeps its own.
    pub(super) fn drop_leases(&mut self) {
        let nics = self.vms.values().flat_map(|vm| &vm.setup.nics).filter(|nic| !nic.link_down);
        let plugged: BTreeSet<(&NetworkId, MacAddr)> = nics
            .filter_map(|nic| match &nic.source {
                NicSource::Network(network) => Some((network, nic.mac?)),
                _ => None,
            })
            .collect();
        for (id, net) in &mut self.networks {
            net.leases.retain(|mac, _| plugged.contains(&(id, *mac)));
        }
    }
}
