//! Vnets of the cluster by the trait. Applying them reloads the network of every host, with what waits there.

use std::collections::BTreeSet;
use std::sync::Arc;

use hypervisor_core::model::{HostId, NetworkChange, NetworkId, NetworkInfo, NetworkSpec, Started};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use serde_json::{Map, Value};

use super::{all, unused};
use crate::api::Call;
use crate::backend::Inner;
use crate::error::{again, of_host};
use crate::wire::form::{Form, segment};
use crate::wire::network::{self as wire, Interfaces};
use crate::wire::scalar::text_of;

fn path(vnet: &NetworkId) -> Result<String> {
    Ok(format!("/cluster/sdn/vnets/{}", segment("network", vnet.as_str())?))
}

/// What waits in a list of the cluster's networking.
async fn waiting(inner: &Inner, operation: Operation, what: &str) -> Result<BTreeSet<String>> {
    let call = Call::get(format!("/cluster/sdn/{what}s")).query(Form::new().flag("pending", true));
    let rows: Vec<Map<String, Value>> =
        crate::wire::envelope::data(&inner.api.bytes(&call.operation(operation)).await?)?;
    let waits = rows.iter().filter(|row| row.get("state").is_some_and(|state| !state.is_null()));
    Ok(waits.filter_map(|row| text_of(row.get(what)?)).collect())
}

/// Passes if nothing waits in the cluster's networking and on its hosts but this vnet: applying it would apply that too.
async fn alone(inner: &Inner, operation: Operation, vnet: &NetworkId) -> Result<()> {
    let refused = |what: String, hint: &str| {
        let why =
            format!("{what} that somebody else has written wait to be applied, and would be applied too");
        let error = Error::new(ErrorKind::Conflict, why).with_target(NetworkId::NOUN, vnet);
        Err(error.with_effect(Effect::None).with_hint(hint))
    };
    let (vnets, zones) = futures::join!(waiting(inner, operation, "vnet"), waiting(inner, operation, "zone"));
    let mut others = vnets?;
    others.remove(vnet.as_str());
    others.extend(zones?);
    if !others.is_empty() {
        let names: Vec<&str> = others.iter().map(String::as_str).collect();
        let what = format!("changes of the cluster's networks ({})", names.join(", "));
        return refused(what, "look at them under Datacenter, SDN, and apply them (`apply_sdn`)");
    }
    let view = inner.recent_view(operation).await?;
    let hosts: Vec<HostId> = view.online().cloned().collect();
    let looks = hosts.iter().map(|host| async move {
        let call =
            Call::get(format!("/nodes/{}/network", segment("host", host.as_str())?)).operation(operation);
        Interfaces::read(&inner.api.bytes(&call).await.map_err(of_host(host))?)
    });
    for (host, look) in hosts.iter().zip(futures::future::join_all(looks).await) {
        if look?.changes.is_some() {
            let hint = "apply them (`apply_networks`) or drop them (`revert_networks`) first";
            return refused(format!("changes of the network of host `{host}`"), hint);
        }
    }
    Ok(())
}

pub(super) async fn create(inner: &Arc<Inner>, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
    let operation = Operation::CreateNetwork;
    let form = wire::create_vnet(spec)?;
    let vnet = NetworkId::from(spec.name.as_str());
    let (networks, _) = all(inner, operation).await?;
    if networks.iter().any(|known| known.id == vnet || known.name == spec.name) {
        return Err(Error::already_exists(NetworkId::NOUN, &spec.name));
    }
    if spec.start {
        alone(inner, operation, &vnet).await?;
    }
    let call = Call::post("/cluster/sdn/vnets", form).operation(operation);
    inner.api.bytes(&call).await.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => again(&error, Error::already_exists(NetworkId::NOUN, &vnet)),
        _ => error,
    })?;
    if !spec.start {
        return Ok(Started::done(vnet));
    }
    let take_back = Call::delete(path(&vnet)?, Form::new());
    apply(inner, operation, Some(take_back)).await.map(|done| done.with(vnet))
}

pub(super) async fn start(inner: &Arc<Inner>, vnet: &NetworkInfo) -> Result<Started<()>> {
    let operation = Operation::StartNetwork;
    if vnet.extra.get(crate::BACKEND)["state"] == "deleted" {
        return Err(vnet.id.not_found());
    }
    alone(inner, operation, &vnet.id).await?;
    apply(inner, operation, None).await.map(|done| done.with(()))
}

/// Changes the number of a vnet. What is in force already is applied at once, what is not yet waits on.
pub(super) async fn update(
    inner: &Arc<Inner>,
    vnet: &NetworkInfo,
    change: &NetworkChange,
) -> Result<Started<()>> {
    let operation = Operation::UpdateNetwork;
    for (given, field) in [
        (change.autostart == Some(false), "autostart"),
        (change.cidr.is_some(), "cidr"),
        (change.dhcp.is_some(), "dhcp"),
        (change.domain.is_some(), "domain"),
        (change.bridge.is_some(), "bridge"),
    ] {
        if given {
            return Err(Error::invalid(field, "of a vnet only the VLAN can be changed here"));
        }
    }
    let Some(vlan) = change.vlan else { return Ok(Started::done(())) };
    if vnet.active {
        alone(inner, operation, &vnet.id).await?;
    }
    let form = Form::new().number("tag", vlan.into());
    let call = Call::put(path(&vnet.id)?, form).operation(operation);
    inner.api.bytes(&call).await.map_err(|error| missing(error, &vnet.id))?;
    if !vnet.active {
        return Ok(Started::done(()));
    }
    let before = vnet.vlan.map(|vlan| Form::new().number("tag", vlan.into()));
    let before = before.unwrap_or_else(|| Form::new().text("delete", "tag"));
    let take_back = Call::put(path(&vnet.id)?, before);
    apply(inner, operation, Some(take_back)).await.map(|done| done.with(()))
}

pub(super) async fn delete(inner: &Arc<Inner>, vnet: &NetworkInfo) -> Result<Started<()>> {
    let operation = Operation::DeleteNetwork;
    let state = vnet.extra.get(crate::BACKEND)["state"].as_str().unwrap_or_default().to_owned();
    if state == "deleted" {
        return Err(vnet.id.not_found());
    }
    unused(inner, operation, &vnet.id, None).await?;
    if state != "new" {
        alone(inner, operation, &vnet.id).await?;
    }
    let call = Call::delete(path(&vnet.id)?, Form::new()).operation(operation);
    inner.api.bytes(&call).await.map_err(|error| missing(error, &vnet.id))?;
    if state == "new" {
        return Ok(Started::done(()));
    }
    apply(inner, operation, None).await.map(|done| done.with(()))
}

fn missing(error: Error, vnet: &NetworkId) -> Error {
    if error.is_not_found() { again(&error, vnet.not_found()) } else { error }
}

/// Applies the cluster's networks. Where that is refused, `take_back` is called.
async fn apply(inner: &Inner, operation: Operation, take_back: Option<Call>) -> Result<Applied> {
    let call = Call::put("/cluster/sdn", Form::new()).operation(operation);
    match inner.api.task(&call).await {
        Ok(task) => Ok(Applied(task)),
        Err(error) if error.effect() == Effect::None || error.kind() == ErrorKind::Backend => {
            let undone = match take_back {
                Some(call) => inner.api.bytes(&call.operation(operation)).await.is_ok(),
                None => false,
            };
            let error = error.with_effect(if undone { Effect::None } else { Effect::Partial });
            Err(if undone {
                error
            } else {
                error.with_hint("the change is written, and waits to be applied (`apply_sdn`)")
            })
        }
        Err(error) => Err(error),
    }
}

/// The task that applies.
struct Applied(Option<hypervisor_core::model::TaskId>);

impl Applied {
    fn with<T>(self, output: T) -> Started<T> {
        crate::tasks::begun(output, self.0)
    }
}
