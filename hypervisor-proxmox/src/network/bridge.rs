//! Bridges of hosts by the trait: such as join guests and the host and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use hypervisor_core::model::{HostId, NetworkChange, NetworkId, NetworkSpec, Started, TaskId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};

use super::{all, unused};
use crate::api::Call;
use crate::backend::Inner;
use crate::error::{again, of_host};
use crate::tasks::begun;
use crate::wire::form::{Form, segment};
use crate::wire::network::{self as wire, Interfaces};

/// What this connection has written on hosts and not put into force.
#[derive(Default)]
pub(crate) struct Written {
    hosts: Mutex<HashMap<HostId, Ours>>,
    /// Held while the networks of hosts are changed: a look and what follows on it belong together.
    turn: tokio::sync::Mutex<()>,
}

/// The interfaces that were written, and the configuration before the first of them.
#[derive(Clone)]
struct Ours {
    before: Interfaces,
    names: BTreeSet<String>,
}

impl Written {
    fn of(&self, host: &HostId) -> Option<Ours> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Whether it was not ours yet.
    fn add(&self, host: &HostId, before: &Interfaces, name: &str) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = hosts
            .entry(host.clone())
            .or_insert_with(|| Ours { before: before.clone(), names: BTreeSet::new() });
        ours.names.insert(name.to_owned())
    }

    /// Nothing was written of this interface.
    fn remove(&self, host: &HostId, name: &str) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ours) = hosts.get_mut(host) {
            ours.names.remove(name);
            if ours.names.is_empty() {
                hosts.remove(host);
            }
        }
    }

    /// Nothing of ours waits on this host any more.
    fn forget(&self, host: &HostId) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }
}

fn path(host: &HostId, name: Option<&str>) -> Result<String> {
    let host = segment("host", host.as_str())?;
    Ok(match name {
        Some(name) => format!("/nodes/{host}/network/{}", segment("network", name)?),
        None => format!("/nodes/{host}/network"),
    })
}

async fn look(inner: &Inner, operation: Operation, host: &HostId) -> Result<Interfaces> {
    let call = Call::get(path(host, None)?).operation(operation);
    Interfaces::read(&inner.api.bytes(&call).await.map_err(of_host(host))?)
}

/// Passes if nothing waits on the host but what this connection has written.
fn only_ours(inner: &Inner, host: &HostId, now: &Interfaces) -> Result<()> {
    if now.changes.is_none() {
        inner.written.forget(host);
        return Ok(());
    }
    let foreign = match inner.written.of(host) {
        Some(ours) => now.differing(&ours.before).into_iter().any(|name| !ours.names.contains(name)),
        None => true,
    };
    if foreign { Err(waits(host)) } else { Ok(()) }
}

fn waits(host: &HostId) -> Error {
    let why =
        "changes of its network that somebody else has written wait to be applied, and would be applied too";
    Error::new(ErrorKind::Conflict, why)
        .with_target(HostId::NOUN, host)
        .with_effect(Effect::None)
        .with_hint("look at them in the web interface, then apply them (`apply_networks`) or drop them (`revert_networks`)")
}

/// The one host that has the bridge, and its interfaces.
async fn place(inner: &Inner, operation: Operation, network: &NetworkId) -> Result<(HostId, Interfaces)> {
    let view = inner.recent_view(operation).await?;
    let hosts: Vec<HostId> = view.online().cloned().collect();
    let looks = futures::future::join_all(hosts.iter().map(|host| look(inner, operation, host))).await;
    let mut having = Vec::new();
    for (host, interfaces) in hosts.into_iter().zip(looks) {
        let interfaces = interfaces?;
        if interfaces.rows.contains_key(network.as_str()) {
            having.push((host, interfaces));
        }
    }
    let mut names: Vec<String> = having.iter().map(|(host, _)| format!("`{host}`")).collect();
    let Some((host, interfaces)) = having.pop() else { return Err(network.not_found()) };
    if names.len() > 1 {
        let last = names.pop().unwrap_or_default();
        let why = format!("hosts {} and {last} have a bridge of this name each", names.join(", "));
        let error = Error::invalid_state(why).with_target(NetworkId::NOUN, network);
        return Err(error.with_hint("say which one by `delete_bridge`, and apply it by `apply_networks`"));
    }
    if !interfaces.is_own(network.as_str()) {
        let why =
            "it was not made by this SDK, or joins interfaces of its host: a mistake could cut the host off";
        let error = Error::invalid_state(why).with_target(NetworkId::NOUN, network);
        return Err(error.with_hint(
            "`create_bridge`, `delete_bridge` and `apply_networks` of `Proxmox` take any bridge",
        ));
    }
    Ok((host, interfaces))
}

pub(super) async fn create(inner: &Arc<Inner>, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
    let operation = Operation::CreateNetwork;
    let form = wire::create_own_bridge(spec)?;
    let network = NetworkId::from(form.get("iface").unwrap_or_default());
    let host = match &spec.host {
        Some(host) => {
            inner.check_host(operation, host).await?;
            host.clone()
        }
        None => inner.any_host(operation).await?,
    };
    let _turn = inner.written.turn.lock().await;
    let (networks, _) = all(inner, operation).await?;
    let taken = networks.iter().any(|known| {
        // A network may be on several hosts, each of which is named.
        let same = known.id == network && known.name == spec.name;
        (known.id == network || known.name == spec.name) && (spec.host.is_none() || !same)
    });
    let before = look(inner, operation, &host).await?;
    if taken || before.rows.contains_key(network.as_str()) {
        return Err(Error::already_exists(NetworkId::NOUN, &spec.name));
    }
    only_ours(inner, &host, &before)?;
    write(inner, operation, &host, &network, &before, Call::post(path(&host, None)?, form)).await?;
    if !spec.start {
        return Ok(Started::done(network));
    }
    let task = apply(inner, operation, &host, network.as_str()).await?;
    Ok(Started::running(network.clone(), followed(inner, operation, host, network, task)))
}

pub(super) async fn start(inner: &Arc<Inner>, network: &NetworkId) -> Result<Started<()>> {
    let operation = Operation::StartNetwork;
    let _turn = inner.written.turn.lock().await;
    let (host, now) = place(inner, operation, network).await?;
    only_ours(inner, &host, &now)?;
    // Only what starts with its host is brought up.
    let form = wire::change_own_bridge(&now, network.as_str(), &NetworkChange::new().autostart(true))?;
    let call = Call::put(path(&host, Some(network.as_str()))?, form);
    write(inner, operation, &host, network, &now, call).await?;
    Ok(begun((), apply(inner, operation, &host, network.as_str()).await?))
}

/// Changes a bridge. What is in force already is applied at once, what is not yet waits on.
pub(super) async fn update(
    inner: &Arc<Inner>,
    network: &NetworkId,
    change: &NetworkChange,
) -> Result<Started<()>> {
    let operation = Operation::UpdateNetwork;
    let _turn = inner.written.turn.lock().await;
    let (host, now) = place(inner, operation, network).await?;
    let form = wire::change_own_bridge(&now, network.as_str(), change)?;
    only_ours(inner, &host, &now)?;
    let call = Call::put(path(&host, Some(network.as_str()))?, form);
    write(inner, operation, &host, network, &now, call).await?;
    if !now.is_up(network.as_str()) {
        return Ok(Started::done(()));
    }
    Ok(begun((), apply(inner, operation, &host, network.as_str()).await?))
}

pub(super) async fn delete(inner: &Arc<Inner>, network: &NetworkId) -> Result<Started<()>> {
    let operation = Operation::DeleteNetwork;
    let _turn = inner.written.turn.lock().await;
    let (host, now) = place(inner, operation, network).await?;
    unused(inner, operation, network, Some(&host)).await?;
    only_ours(inner, &host, &now)?;
    let ours = inner.written.of(&host);
    let is_new = ours.as_ref().is_some_and(|ours| !ours.before.rows.contains_key(network.as_str()));
    if is_new && ours.is_some_and(|ours| ours.names.len() == 1) {
        // Nothing else waits: the host's file is as if it had never been.
        revert(inner, operation, &host).await?;
        return Ok(Started::done(()));
    }
    let call = Call::delete(path(&host, Some(network.as_str()))?, Form::new());
    let left = write(inner, operation, &host, network, &now, call).await?;
    if is_new {
        // A file that is only put in order differs in nothing that counts.
        if left.changes.is_some()
            && inner.written.of(&host).is_some_and(|ours| left.differing(&ours.before).is_empty())
        {
            revert(inner, operation, &host).await?;
        }
        return Ok(Started::done(()));
    }
    Ok(begun((), apply(inner, operation, &host, network.as_str()).await?))
}

/// Writes one interface, and looks whether anything else was written meanwhile.
async fn write(
    inner: &Inner,
    operation: Operation,
    host: &HostId,
    network: &NetworkId,
    before: &Interfaces,
    call: Call,
) -> Result<Interfaces> {
    // Before it is sent: what nobody hears the answer to is ours all the same, and must not be taken for somebody else's.
    let is_new = inner.written.add(host, before, network.as_str());
    if let Err(error) = inner.api.bytes(&call.operation(operation)).await {
        if is_new && error.effect() == Effect::None {
            inner.written.remove(host, network.as_str());
        }
        return Err(match error.kind() {
            ErrorKind::AlreadyExists => again(&error, Error::already_exists(NetworkId::NOUN, network)),
            ErrorKind::NotFound => again(&error, network.not_found()),
            _ => of_host(host)(error),
        });
    }
    let now = look(inner, operation, host).await.map_err(|error| {
        error.after_part().with_hint("the change is written, and waits to be applied (`apply_networks`)")
    })?;
    if let Err(error) = only_ours(inner, host, &now) {
        let undone = take_back(inner, operation, host, network.as_str(), false).await;
        return Err(error.with_effect(if undone { Effect::None } else { Effect::Partial }));
    }
    Ok(now)
}

/// Applies what waits. Where the host refuses that, the interface is taken back.
async fn apply(inner: &Inner, operation: Operation, host: &HostId, name: &str) -> Result<Option<TaskId>> {
    let call = Call::put(path(host, None)?, Form::new()).operation(operation);
    match inner.api.task(&call).await {
        Ok(task) => {
            inner.written.forget(host);
            Ok(task)
        }
        Err(error) if error.effect() == Effect::None || error.kind() == ErrorKind::Backend => {
            let undone = take_back(inner, operation, host, name, true).await;
            let error = of_host(host)(error).with_effect(if undone { Effect::None } else { Effect::Partial });
            Err(if undone {
                error.with_hint(
                    "the host cannot put it into force (that needs ifupdown2); nothing of it is left",
                )
            } else {
                error.with_hint("the change is still written on the host: drop it by `revert_networks`")
            })
        }
        Err(error) => Err(of_host(host)(error)),
    }
}

/// Drops what this connection has written of an interface. `alone` says that nobody else's changes wait beside it.
async fn take_back(inner: &Inner, operation: Operation, host: &HostId, name: &str, alone: bool) -> bool {
    let Some(ours) = inner.written.of(host) else { return false };
    if alone && ours.names.len() == 1 {
        return revert(inner, operation, host).await.is_ok();
    }
    // What was there before is left as it is written: only the server's own revert brings it back, and that would drop more than ours.
    if ours.before.rows.contains_key(name) {
        return false;
    }
    let Ok(path) = path(host, Some(name)) else { return false };
    inner.api.bytes(&Call::delete(path, Form::new()).operation(operation)).await.is_ok()
}

/// Drops all that waits on a host.
pub(super) async fn revert(inner: &Inner, operation: Operation, host: &HostId) -> Result<()> {
    let call = Call::delete(path(host, None)?, Form::new()).operation(operation);
    inner.api.bytes(&call).await?;
    inner.written.forget(host);
    Ok(())
}

/// Sees the reload of a host's network through, and takes a bridge out again that does not come up by it.
fn followed(
    inner: &Arc<Inner>,
    operation: Operation,
    host: HostId,
    network: NetworkId,
    task: Option<TaskId>,
) -> TaskId {
    let work = Arc::clone(inner);
    inner.chains.begin(operation, None, move |link| async move {
        let Err(failed) = link.follow(&work, "reloading the network of the host", task).await else {
            return Ok(());
        };
        let _turn = work.written.turn.lock().await;
        let undo = async {
            let now = look(&work, operation, &host).await?;
            if now.is_up(network.as_str()) {
                return Ok(None);
            }
            let call = Call::delete(path(&host, Some(network.as_str()))?, Form::new()).operation(operation);
            work.api.bytes(&call).await?;
            if now.changes.is_some() {
                // It did not come so far as to be applied.
                return Ok(None);
            }
            let call = Call::put(path(&host, None)?, Form::new()).operation(operation);
            work.api.task(&call).await
        };
        match undo.await {
            Ok(task) => link.follow(&work, "taking the bridge out again", task).await.and(Err(failed)),
            Err(_) => Err(failed),
        }
    })
}
