//! Guests that are copied, and templates.

use std::future::Future;
use std::sync::Arc;

use hypervisor_core::model::{CloneSpec, DeploySpec, GuestKind, Started, TaskId, TemplateSpec, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};

use super::{create, list, start};
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::error::named;
use crate::locate::Place;
use crate::tasks::begun;
use crate::tasks::chain::Link;
use crate::wire::compute;
use crate::wire::config::{Config, encode_deploy, encode_mark};
use crate::wire::form::Form;

/// A copy that was begun.
struct Begun {
    copy: VmId,
    found: Found,
    task: Option<TaskId>,
}

/// Copies a guest. What the call for it cannot do follows in a chain.
pub(crate) async fn clone(inner: &Arc<Inner>, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
    let operation = Operation::CloneVm;
    let begun = begin(inner, operation, vm, spec).await?;
    let token = spec.client_token.clone();
    if !spec.start && token.is_none() {
        return Ok(crate::tasks::begun(begun.copy, begun.task));
    }
    let wants_start = spec.start;
    finish(inner, operation, begun, move |inner, link, copy, found| async move {
        if let Some(token) = token {
            mark(&inner, operation, &copy, &found, &token).await?;
        }
        if wants_start { start::now(&inner, &link, &found, "starting the copy").await } else { Ok(()) }
    })
}

/// Makes a guest from a template: a copy, then what is to be another than the template's, then the start.
pub(crate) async fn deploy(inner: &Arc<Inner>, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
    let operation = Operation::DeployTemplate;
    let spec = spec.clone();
    let begun = begin(inner, operation, template, &spec.clone).await?;
    finish(inner, operation, begun, move |inner, link, copy, found| async move {
        if let Some(token) = &spec.clone.client_token {
            mark(&inner, operation, &copy, &found, token).await?;
        }
        let form = deployment(&inner, operation, &found, &spec).await?;
        if !form.is_empty() {
            let call = Call::put(found.path("/config")?, form).operation(operation);
            inner.api.bytes(&call).await?;
            link.follow(&inner, "setting what is to be another than the template's", None).await?;
        }
        if spec.clone.start { start::now(&inner, &link, &found, "starting the copy").await } else { Ok(()) }
    })
}

async fn deployment(inner: &Inner, operation: Operation, found: &Found, spec: &DeploySpec) -> Result<Form> {
    let body = list::raw_config(inner, operation, found).await?;
    encode_deploy(found.number, spec, &Config::read(&body, found.place.kind)?)
}

/// Sends the clone itself, with a number that is free.
async fn begin(inner: &Inner, operation: Operation, vm: &VmId, spec: &CloneSpec) -> Result<Begun> {
    if let Some(host) = &spec.host {
        inner.check_host(operation, host).await?;
    }
    // Before a number is chosen: an unknown guest should not cost one.
    let kind = inner.find(operation, vm).await?.place.kind;
    let numbers =
        &create::Numbers::new(inner, operation, spec.id.as_ref(), spec.client_token.as_deref()).await?;
    numbers
        .each(|number| async move {
            let copy = VmId::from(number.to_string());
            if let Some(token) = &spec.client_token {
                inner.intents.add(&copy, token, &spec.name);
            }
            let sent = inner
                .on_guest(operation, vm, |source| async move {
                    if spec.linked && !list::current(inner, operation, &source).await?.template {
                        let why = "only disks of templates can be shared: make a template of it first";
                        return Err(Error::invalid_state(why));
                    }
                    let call = Call::post(
                        source.path("/clone")?,
                        compute::clone(spec, source.place.kind, number, spec.linked)?,
                    );
                    let task = inner
                        .api
                        .task(&call.operation(operation))
                        .await
                        .map_err(|error| wrong(error, spec))?;
                    Ok((task, source.place))
                })
                .await;
            match sent {
                Ok((task, place)) => {
                    let host = spec.host.clone().unwrap_or(place.host);
                    let place = Place::new(host, place.kind);
                    inner.locator.learn(number, place.clone());
                    inner.locator.learn_group(&copy, spec.group.clone());
                    Ok(Begun { copy, found: Found { number, place }, task })
                }
                Err(error) => {
                    let lost = error.effect() != Effect::None;
                    let taken = create::is_taken(&error);
                    // What is to follow on a copy is nobody's affair but ours: so its end has to be found out now.
                    if spec.client_token.is_some() && (lost || (taken && numbers.may_be_ours(number))) {
                        let name = if kind == GuestKind::Container { "hostname" } else { "name" };
                        let is_ours = |config: &Config| config.get(name) == Some(&*spec.name);
                        match create::claim(inner, operation, number, true, is_ours).await {
                            Ok(Some(found)) => return Ok(Begun { copy, found, task: None }),
                            Err(look) if taken => return Err(look),
                            _ => {}
                        }
                    }
                    if !lost {
                        inner.intents.remove(&copy);
                    }
                    Err(error)
                }
            }
        })
        .await
}

fn wrong(error: Error, spec: &CloneSpec) -> Error {
    // The text of the server names the snapshot only by its words.
    match &spec.snapshot {
        Some(snapshot)
            if error.is_not_found()
                && error.target().is_some_and(|target| target.starts_with("snapshot")) =>
        {
            crate::error::again(&error, snapshot.not_found())
        }
        _ => error,
    }
}

/// Follows the clone, and then does the rest.
fn finish<F, Fut>(inner: &Arc<Inner>, operation: Operation, begun: Begun, rest: F) -> Result<Started<VmId>>
where
    F: FnOnce(Arc<Inner>, Link, VmId, Found) -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let Begun { copy, found, task } = begun;
    let (work, of) = (Arc::clone(inner), copy.clone());
    let chain = inner.chains.start(operation, &copy, move |link| async move {
        link.follow(&work, "copying", task).await?;
        rest(work, link, of, found).await
    });
    Ok(Started::running(copy, chain))
}

/// Writes the mark of a clone where it can be found by other processes. The tags that it has are the original's.
async fn mark(inner: &Inner, operation: Operation, copy: &VmId, found: &Found, token: &str) -> Result<()> {
    let body = list::raw_config(inner, operation, found).await?;
    let form = encode_mark(found.number, token, &Config::read(&body, found.place.kind)?);
    let call = Call::put(found.path("/config")?, form).operation(operation);
    inner.api.bytes(&call).await?;
    inner.intents.remove(copy);
    Ok(())
}

/// Makes a template of a stopped guest, or of a copy of it.
pub(crate) async fn template(inner: &Arc<Inner>, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
    let operation = Operation::CreateTemplate;
    if let Some(name) = &spec.name {
        let mut copy = CloneSpec::new(name);
        copy.description.clone_from(&spec.description);
        let begun = begin(inner, operation, vm, &copy).await?;
        return finish(inner, operation, begun, move |inner, link, _, found| async move {
            let task = become_template(&inner, operation, &found).await?;
            link.follow(&inner, "making a template of the copy", task).await
        });
    }
    let task = inner
        .on_guest(operation, vm, |found| async move {
            let info = list::current(inner, operation, &found).await?;
            if info.state.is_active() {
                let why = format!("it is {}; only a stopped guest becomes a template", info.state);
                return Err(named(operation)(Error::invalid_state(why)));
            }
            if info.template {
                return Err(named(operation)(Error::new(ErrorKind::InvalidState, "it is a template")));
            }
            if let Some(description) = &spec.description {
                let form = Form::new().text("description", description.as_str());
                inner.api.bytes(&Call::put(found.path("/config")?, form).operation(operation)).await?;
            }
            become_template(inner, operation, &found).await
        })
        .await?;
    inner.locator.touch(vm);
    Ok(begun(vm.clone(), task))
}

async fn become_template(inner: &Inner, operation: Operation, found: &Found) -> Result<Option<TaskId>> {
    let task =
        inner.api.task(&Call::post(found.path("/template")?, Form::new()).operation(operation)).await?;
    inner.locator.touch(&VmId::from(found.number.to_string()));
    Ok(task)
}
