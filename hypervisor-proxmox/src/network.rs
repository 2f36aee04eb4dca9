//! Networks: the bridges of the hosts, and the vnets of the cluster.
//!
//! Proxmox writes first and applies later, and applying takes all that waits on a host, or with vnets in the cluster: also what others have
//! written. The trait's calls therefore apply only where nothing waits but what this connection has written, and take that back where it
//! cannot be applied. Between the last look and the call that applies another change can still slip in: the API has no lock for it.

mod bridge;
mod vnet;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::model::{
    HostId, Lease, NetworkChange, NetworkId, NetworkInfo, NetworkKind, NetworkSpec, NicSource, NicSpec, Page,
    PageRequest, Started, TaskId, Unreachable, VmId,
};
use hypervisor_core::traits::Network;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::time::Instant;

use crate::api::Call;
use crate::backend::{Inner, Proxmox};
use crate::compute::list;
use crate::error::{named, of_host};
use crate::wire::config::{Config, decode};
use crate::wire::form::{Form, segment};
use crate::wire::network as wire;

pub(crate) use bridge::Written;

/// How long a network that was there is taken to be there still, for NICs.
const SEEN_FOR: Duration = Duration::from_secs(60);

/// The networks that were seen on hosts, so that a batch of creates does not ask for each NIC.
#[derive(Default)]
pub(crate) struct Seen(Mutex<HashMap<(HostId, String), Instant>>);

impl Seen {
    fn has(&self, host: &HostId, name: &str) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(host.clone(), name.to_owned())).is_some_and(|when| when.elapsed() < SEEN_FOR)
    }

    fn add(&self, host: &HostId, names: impl IntoIterator<Item = String>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        seen.extend(names.into_iter().map(|name| ((host.clone(), name), now)));
    }
}

#[async_trait]
impl Network for Proxmox {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        let (networks, unreachable) =
            all(&self.inner, Operation::ListNetworks).await.map_err(named(Operation::ListNetworks))?;
        Ok(Page::cut(networks, page, |network| network.id.to_string()).with_unreachable(unreachable))
    }

    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        let operation = Operation::GetNetwork;
        found(&self.inner, operation, network).await.map_err(named(operation))
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        let operation = Operation::CreateNetwork;
        self.inner.require(operation, &[])?;
        spec.validate().map_err(named(operation))?;
        self.inner.require(operation, &spec.needs())?;
        let made = if spec.kind == NetworkKind::Vnet {
            vnet::create(&self.inner, spec).await
        } else {
            bridge::create(&self.inner, spec).await
        };
        made.map_err(named(operation))
    }

    async fn update_network(&self, network: &NetworkId, change: &NetworkChange) -> Result<Started<()>> {
        let operation = Operation::UpdateNetwork;
        self.inner.require(operation, &[])?;
        let found = found(&self.inner, operation, network).await.map_err(named(operation))?;
        change.validate(&found).map_err(named(operation))?;
        self.inner.require(operation, &change.needs())?;
        let done = if found.kind == NetworkKind::Vnet {
            vnet::update(&self.inner, &found, change).await
        } else {
            bridge::update(&self.inner, network, change).await
        };
        done.map_err(named(operation))
    }

    async fn delete_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let operation = Operation::DeleteNetwork;
        self.inner.require(operation, &[])?;
        let work = async {
            let found = found(&self.inner, operation, network).await?;
            if found.kind == NetworkKind::Vnet {
                vnet::delete(&self.inner, &found).await
            } else {
                bridge::delete(&self.inner, network).await
            }
        };
        work.await.map_err(named(operation))
    }

    async fn start_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let operation = Operation::StartNetwork;
        self.inner.require(operation, &[])?;
        let work = async {
            let found = found(&self.inner, operation, network).await?;
            if found.active {
                return Err(Error::invalid_state("the network is up").with_target(NetworkId::NOUN, network));
            }
            if found.kind == NetworkKind::Vnet {
                vnet::start(&self.inner, &found).await
            } else {
                bridge::start(&self.inner, network).await
            }
        };
        work.await.map_err(named(operation))
    }

    async fn stop_network(&self, _: &NetworkId) -> Result<Started<()>> {
        Err(self.inner.refusal(Operation::StopNetwork))
    }

    async fn list_leases(&self, _: &NetworkId) -> Result<Vec<Lease>> {
        Err(self.inner.refusal(Operation::ListLeases))
    }
}

/// One network of all.
async fn found(inner: &Inner, operation: Operation, network: &NetworkId) -> Result<NetworkInfo> {
    let (networks, _) = all(inner, operation).await?;
    networks.into_iter().find(|known| known.id == *network).ok_or_else(|| network.not_found())
}

/// Passes if no guest of these hosts is plugged into a network: the server would take it away from under them.
async fn unused(
    inner: &Inner,
    operation: Operation,
    network: &NetworkId,
    host: Option<&HostId>,
) -> Result<()> {
    let view = inner.view(operation).await?;
    let numbers = view.numbers().filter(|number| {
        let place = view.guest(*number).and_then(|guest| guest.host.as_ref());
        host.is_none() || place == host
    });
    let looks = numbers.map(|number| async move {
        let vm = VmId::new(number.to_string());
        let found = inner.find(operation, &vm).await?;
        let config = Config::read(&list::raw_config(inner, operation, &found).await?, found.place.kind)?;
        let plugged = decode(&vm, &config).nics.iter().any(|nic| match &nic.source {
            NicSource::Network(name) => name == network,
            NicSource::Bridge(name) => name == network.as_str(),
            _ => false,
        });
        Ok::<_, Error>(plugged.then_some(vm))
    });
    for look in futures::future::join_all(looks).await {
        match look {
            Ok(None) => {}
            Ok(Some(vm)) => {
                let why = format!("vm `{vm}` is plugged into it, and would lose the connection");
                let error = Error::invalid_state(why).with_target(NetworkId::NOUN, network);
                return Err(error.with_hint("plug its NIC into another network first"));
            }
            // A guest that has gone meanwhile is plugged into nothing.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bridges of every host that answers, those of one name as one, and the vnets.
async fn all(inner: &Inner, operation: Operation) -> Result<(Vec<NetworkInfo>, Vec<Unreachable>)> {
    let view = inner.recent_view(operation).await?;
    let hosts: Vec<HostId> = view.online().cloned().collect();
    let asked = hosts.iter().map(|host| bridges(inner, operation, host));
    let (answers, vnets) = futures::join!(futures::future::join_all(asked), vnets(inner, operation));
    let mut merged: BTreeMap<NetworkId, (NetworkInfo, usize)> = BTreeMap::new();
    let mut unreachable = view.unreachable.clone();
    for (host, answer) in hosts.iter().zip(answers) {
        let bridges = match answer {
            Ok(bridges) => bridges,
            Err(error) if error.kind() == ErrorKind::HostUnreachable => {
                unreachable.push(Unreachable::new(host, error.message()));
                continue;
            }
            // Permissions differ by host: what may not be seen is not there for the caller.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && hosts.len() > 1 => continue,
            Err(error) => return Err(of_host(host)(error)),
        };
        for bridge in bridges {
            let slot = merged.entry(bridge.id.clone()).or_insert_with(|| (bridge.clone(), 0));
            slot.0.active |= bridge.active;
            slot.1 += 1;
        }
    }
    let several = hosts.len() > 1;
    let mut networks: Vec<NetworkInfo> = merged
        .into_values()
        .map(|(mut bridge, count)| {
            if several && count == hosts.len() {
                // Each host has an address of its own in it.
                (bridge.host, bridge.cidr) = (None, None);
            }
            bridge
        })
        .collect();
    networks.extend(vnets?);
    Ok((networks, unreachable))
}

async fn bridges(inner: &Inner, operation: Operation, host: &HostId) -> Result<Vec<NetworkInfo>> {
    let path = format!("/nodes/{}/network", segment("host", host.as_str())?);
    let answer = inner.api.bytes(&Call::get(path).operation(operation)).await?;
    let bridges = wire::bridges(&answer, host.as_str())?;
    inner.networks.add(host, bridges.iter().map(|bridge| bridge.id.to_string()));
    Ok(bridges)
}

async fn vnets(inner: &Inner, operation: Operation) -> Result<Vec<NetworkInfo>> {
    // Only so does the server tell which are not in force.
    let call = Call::get("/cluster/sdn/vnets").query(Form::new().flag("pending", true));
    match inner.api.bytes(&call.operation(operation)).await {
        Ok(answer) => wire::vnets(&answer),
        // A release without software-defined networking, or a caller who may not see it, has no vnets.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// What a NIC is plugged into, by the name that the server knows.
fn name_of(nic: &NicSpec) -> Option<&str> {
    match &nic.source {
        NicSource::Network(network) => Some(network.as_str()),
        NicSource::Bridge(bridge) => Some(bridge),
        _ => None,
    }
}

/// Passes if what the NICs are plugged into is there: the server would take any name, and the guest would not start.
pub(crate) async fn check(
    inner: &Inner,
    operation: Operation,
    host: &HostId,
    nics: &[NicSpec],
) -> Result<()> {
    let unseen = |nic: &&NicSpec| name_of(nic).is_some_and(|name| !inner.networks.has(host, name));
    if !nics.iter().any(|nic| unseen(&nic)) {
        return Ok(());
    }
    let (bridges, vnets) = futures::join!(bridges(inner, operation, host), vnets(inner, operation));
    let bridges = match bridges {
        Ok(bridges) => bridges,
        // Who may not look lets the server decide.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
        Err(error) => return Err(of_host(host)(error)),
    };
    let vnets = vnets?;
    inner.networks.add(host, vnets.iter().map(|vnet| vnet.id.to_string()));
    for nic in nics {
        let Some(name) = name_of(nic) else { continue };
        if !bridges.iter().chain(&vnets).any(|network| network.id.as_str() == name) {
            // The server does not list what the caller may not use.
            let hint = format!("is it there? Then SDN.Use on /sdn/zones/localnetwork/{name} is missing");
            return Err(NetworkId::from(name).not_found().with_hint(hint));
        }
    }
    Ok(())
}

impl Proxmox {
    /// Writes a bridge into the configuration of a host. It is there once the host's networks are applied
    /// ([`apply_networks`](Self::apply_networks)).
    ///
    /// Unlike the trait's `create_network` it can join interfaces of the host (`{"proxmox": {"bridge_ports": "eno2"}}`, and `bridge_vids`,
    /// `bridge_vlan_aware`, `comments`, `gateway`, `gateway6`, `mtu`): a bridge that takes the wrong one cuts the host off.
    ///
    /// # Errors
    /// `InvalidInput` naming the field, `NotFound` for the host, `AlreadyExists`, `PermissionDenied`.
    pub async fn create_bridge(&self, host: &HostId, spec: &NetworkSpec) -> Result<NetworkId> {
        let operation = Operation::CreateNetwork;
        let form = wire::create_bridge(spec).map_err(named(operation))?;
        let name = NetworkId::from(form.get("iface").unwrap_or_default());
        let path = format!("/nodes/{}/network", segment("host", host.as_str())?);
        let call = Call::post(path, form).operation(operation);
        self.inner.api.bytes(&call).await.map_err(of_host(host)).map_err(named(operation))?;
        Ok(name)
    }

    /// Takes a bridge, or another interface, out of the configuration of a host.
    ///
    /// # Errors
    /// `NotFound` for the host or the interface, `PermissionDenied`.
    pub async fn delete_bridge(&self, host: &HostId, name: &str) -> Result<()> {
        let path =
            format!("/nodes/{}/network/{}", segment("host", host.as_str())?, segment("network", name)?);
        let call = Call::delete(path, Form::new()).operation(Operation::DeleteNetwork);
        self.inner.api.bytes(&call).await.map(drop).map_err(named(Operation::DeleteNetwork))
    }

    /// Drops what is written into the network configuration of a host and not in force, whoever has written it.
    ///
    /// # Errors
    /// `NotFound` for the host, `PermissionDenied`.
    pub async fn revert_networks(&self, host: &HostId) -> Result<()> {
        let operation = Operation::DeleteNetwork;
        bridge::revert(&self.inner, operation, host).await.map_err(of_host(host)).map_err(named(operation))
    }

    /// Puts the changed network configuration of a host into force: all that is written, whoever has written it.
    ///
    /// # Errors
    /// `NotFound` for the host, `PermissionDenied`; `Backend` where the host has no `ifupdown2`.
    pub async fn apply_networks(&self, host: &HostId) -> Result<Option<TaskId>> {
        let path = format!("/nodes/{}/network", segment("host", host.as_str())?);
        let call = Call::put(path, Form::new()).operation(Operation::StartNetwork);
        self.inner.api.task(&call).await.map_err(of_host(host)).map_err(named(Operation::StartNetwork))
    }

    /// Writes a vnet into the configuration of the cluster; the zone is in the options (`{"proxmox": {"zone": …}}`). It is there once the
    /// cluster's networks are applied ([`apply_sdn`](Self::apply_sdn)).
    ///
    /// # Errors
    /// `InvalidInput` naming the field, `NotFound` for the zone, `AlreadyExists`, `PermissionDenied`.
    pub async fn create_vnet(&self, spec: &NetworkSpec) -> Result<NetworkId> {
        let operation = Operation::CreateNetwork;
        let form = wire::create_vnet(spec).map_err(named(operation))?;
        let call = Call::post("/cluster/sdn/vnets", form).operation(operation);
        self.inner.api.bytes(&call).await.map_err(named(operation))?;
        Ok(spec.name.as_str().into())
    }

    /// Takes a vnet out of the configuration of the cluster.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_vnet(&self, vnet: &NetworkId) -> Result<()> {
        let path = format!("/cluster/sdn/vnets/{}", segment("network", vnet.as_str())?);
        let call = Call::delete(path, Form::new()).operation(Operation::DeleteNetwork);
        self.inner.api.bytes(&call).await.map(drop).map_err(named(Operation::DeleteNetwork))
    }

    /// Puts the changed network configuration of the cluster into force.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn apply_sdn(&self) -> Result<Option<TaskId>> {
        let call = Call::put("/cluster/sdn", Form::new()).operation(Operation::StartNetwork);
        self.inner.api.task(&call).await.map_err(named(Operation::StartNetwork))
    }
}
