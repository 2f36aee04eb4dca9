//! Networks.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hypervisor_core::model::{
    Lease, NetworkChange, NetworkId, NetworkInfo, NetworkSpec, Page, PageRequest, Started,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::network::Network as Handle;
use virt_sys as sys;

use crate::backend::Libvirt;
use crate::error::{Fail, Outcome, named};
use crate::ffi;
use crate::xml::Element;
use crate::xml::network as xml;

/// The network of this id.
pub(crate) fn find(conn: &Connect, network: &NetworkId) -> Outcome<Handle> {
    // A name with a zero byte was not given by us, and cannot be asked for.
    if network.as_str().contains('\0') {
        return Err(network.not_found().into());
    }
    Handle::lookup_by_name(conn, network.as_str()).map_err(|error| {
        let fail = Fail::from(error);
        if fail.has_code(sys::VIR_ERR_NO_NETWORK) { network.not_found().into() } else { fail }
    })
}

fn info(network: &Handle) -> Outcome<NetworkInfo> {
    let definition = Element::parse(&network.get_xml_desc(0)?)?;
    Ok(xml::info(&definition, network.is_active()?, network.get_autostart()?)?)
}

fn list(conn: &Connect) -> Outcome<Vec<NetworkInfo>> {
    let networks = match conn.list_all_networks(0) {
        Ok(networks) => networks,
        Err(error) => match Fail::from(error) {
            // A driver without networks (a session on some systems) has none.
            fail if fail.is_unsupported() => return Ok(Vec::new()),
            fail => return Err(fail),
        },
    };
    let infos = networks.iter().filter_map(|network| match info(network) {
        // It was deleted between the two calls.
        Err(fail) if fail.has_code(sys::VIR_ERR_NO_NETWORK) => None,
        other => Some(other),
    });
    infos.collect()
}

fn create(conn: &Connect, spec: &NetworkSpec) -> Outcome<NetworkId> {
    let id = NetworkId::from(spec.name.as_str());
    let definition = xml::network(spec)?.to_string();
    match find(conn, &id) {
        Ok(_) => return Err(Error::already_exists(NetworkId::NOUN, &id).into()),
        Err(fail) if fail.kind() == ErrorKind::NotFound => {}
        Err(fail) => return Err(fail),
    }
    let named = |fail: Fail| Fail::Ours(Error::from(fail).with_target(NetworkId::NOUN, &id));
    let network = Handle::define_xml(conn, &definition).map_err(|error| named(error.into()))?;
    let finish = || -> Outcome<()> {
        if spec.autostart {
            network.set_autostart(true)?;
        }
        if spec.start {
            network.create()?;
        }
        Ok(())
    };
    match finish() {
        Ok(()) => Ok(id),
        Err(fail) => {
            let fail = named(fail);
            match network.undefine() {
                Ok(()) => Err(fail),
                Err(left) => {
                    let error = Error::from(fail).with_effect(Effect::Partial);
                    let hint = format!("Its definition could not be removed: {}", left.message());
                    Err(error.with_hint(hint).into())
                }
            }
        }
    }
}

/// The definition that is used when the network is next brought up.
fn definition(network: &Handle) -> Outcome<String> {
    match network.get_xml_desc(sys::VIR_NETWORK_XML_INACTIVE) {
        Ok(text) => Ok(text),
        Err(error) => match Fail::from(error) {
            // The test driver knows one definition only.
            fail if fail.is_unsupported() => Ok(network.get_xml_desc(0)?),
            fail => Err(fail),
        },
    }
}

fn update(conn: &Connect, id: &NetworkId, change: &NetworkChange) -> Outcome<()> {
    let network = find(conn, id)?;
    change.validate(&info(&network)?)?;
    let mut definition = Element::parse(&definition(&network)?)?;
    let before = definition.clone();
    xml::apply(&mut definition, change);
    if definition != before {
        Handle::define_xml(conn, &definition.to_string())?;
    }
    if let Some(autostart) = change.autostart {
        network.set_autostart(autostart)?;
    }
    Ok(())
}

fn refuse(id: &NetworkId, why: &str) -> Fail {
    Error::invalid_state(why).with_target(NetworkId::NOUN, id).into()
}

fn leases(conn: &Connect, id: &NetworkId) -> Outcome<Vec<Lease>> {
    let found = ffi::leases(&find(conn, id)?)?;
    // libvirt's file may hold what is no address; a lease without a MAC (some of IPv6's) belongs to no NIC.
    let leases = found.into_iter().filter_map(|found| {
        let mut lease = Lease::new(found.mac?.parse().ok()?, found.address.parse().ok()?);
        lease.prefix = u8::try_from(found.prefix).ok();
        lease.hostname = found.hostname.filter(|name| !name.is_empty());
        let seconds = u64::try_from(found.expires).ok().filter(|seconds| *seconds > 0);
        lease.expires =
            seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        Some(lease)
    });
    Ok(leases.collect())
}

#[async_trait]
impl hypervisor_core::traits::Network for Libvirt {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        let host = self.inner.host();
        let all = self.inner.call(Operation::ListNetworks, list).await?;
        let all = all.into_iter().map(|network| network.host(&host)).collect();
        Ok(Page::cut(all, page, |network: &NetworkInfo| network.id.to_string()))
    }

    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        let (id, host) = (network.clone(), self.inner.host());
        self.inner.call(Operation::GetNetwork, move |conn| Ok(info(&find(conn, &id)?)?.host(host))).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        let operation = Operation::CreateNetwork;
        spec.validate().map_err(named(operation))?;
        self.inner.require(operation, &spec.needs())?;
        self.inner.check_host(spec.host.as_ref()).map_err(named(operation))?;
        let spec = spec.clone();
        self.inner.call(operation, move |conn| create(conn, &spec)).await.map(Started::done)
    }

    async fn update_network(&self, network: &NetworkId, change: &NetworkChange) -> Result<Started<()>> {
        let operation = Operation::UpdateNetwork;
        self.inner.require(operation, &change.needs())?;
        let (id, change) = (network.clone(), change.clone());
        self.inner.call(operation, move |conn| update(conn, &id, &change)).await.map(Started::done)
    }

    async fn delete_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let id = network.clone();
        let work = move |conn: &Connect| {
            let network = find(conn, &id)?;
            if network.is_active()? {
                return Err(refuse(&id, "it is up; stop it first"));
            }
            Ok(network.undefine()?)
        };
        self.inner.call(Operation::DeleteNetwork, work).await.map(Started::done)
    }

    async fn start_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let id = network.clone();
        let work = move |conn: &Connect| {
            let network = find(conn, &id)?;
            if network.is_active()? {
                return Err(refuse(&id, "it is up already"));
            }
            network.create()?;
            Ok(())
        };
        self.inner.call(Operation::StartNetwork, work).await.map(Started::done)
    }

    async fn stop_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let id = network.clone();
        let work = move |conn: &Connect| {
            let network = find(conn, &id)?;
            if !network.is_active()? {
                return Err(refuse(&id, "it is down already"));
            }
            Ok(network.destroy()?)
        };
        self.inner.call(Operation::StopNetwork, work).await.map(Started::done)
    }

    async fn list_leases(&self, network: &NetworkId) -> Result<Vec<Lease>> {
        let id = network.clone();
        self.inner.call(Operation::ListLeases, move |conn| leases(conn, &id)).await
    }
}
