//! Guests that are changed.

use std::collections::BTreeSet;

use hypervisor_core::model::{
    ApplyPolicy, GuestKind, Started, UpdateOutcome, VmChange, VmId, VmInfo, VmState,
};
use hypervisor_core::{Error, Operation, Result};
use serde_json::Value;

use super::list;
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::wire::config::{Config, changed_fields, decode_pending, encode_change, fill_in, plugs};
use crate::wire::envelope;
use crate::wire::form::Form;
use crate::wire::scalar::text_of;

const OPERATION: Operation = Operation::UpdateVm;

/// Changes a guest's configuration, with the digest of what was read, so that nobody's change is lost.
pub(crate) async fn update(inner: &Inner, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
    let outcome = inner
        .on_guest(OPERATION, vm, |found| async move {
            let body = list::raw_config(inner, OPERATION, &found).await?;
            let config = Config::read(&body, found.place.kind)?;
            let mut info = VmInfo::new(vm, "", VmState::Stopped);
            fill_in(&mut info, &config);
            info.check_uid(change.expected_uid.as_deref())?;
            let form = encode_change(found.number, change, &config)?;
            if form.is_empty() {
                return Ok(UpdateOutcome::new(Vec::new(), Vec::new()));
            }
            if change.apply == ApplyPolicy::LiveOnly {
                check_live(inner, &found, change, &config).await?;
            }
            let sent = keys_of(&form);
            inner.api.bytes(&Call::put(found.path("/config")?, form).operation(OPERATION)).await?;
            inner.locator.touch(vm);
            outcome(inner, &found, change, &sent).await
        })
        .await?;
    Ok(Started::done(outcome))
}

/// What of the change is in force, and what waits: the server says so only afterwards.
async fn outcome(
    inner: &Inner,
    found: &Found,
    change: &VmChange,
    sent: &BTreeSet<String>,
) -> Result<UpdateOutcome> {
    // The change is made, whatever a look at it ends with.
    let body = list::raw_pending(inner, OPERATION, found).await.map_err(Error::after_part)?;
    let waiting = decode_pending(&body, found.place.kind).map_err(Error::after_part)?;
    let waits = |field: &String| waiting.iter().any(|pending| pending.field == *field);
    let (pending, applied): (Vec<String>, Vec<String>) = changed_fields(change).into_iter().partition(waits);
    if change.apply == ApplyPolicy::LiveOnly && !pending.is_empty() {
        revert(inner, found, &body, sent).await.map_err(Error::after_part)?;
        let why = format!("{} would wait for a power cycle", pending.join(" and "));
        let error = Error::invalid_state(why);
        return Err(if applied.is_empty() { error } else { error.after_part() });
    }
    Ok(UpdateOutcome::new(applied, pending))
}

/// The keys that a form sets or deletes.
fn keys_of(form: &Form) -> BTreeSet<String> {
    let deleted = form.get("delete").unwrap_or_default().split(',').filter(|key| !key.is_empty());
    let set = form.iter().map(|(key, _)| key).filter(|key| !matches!(*key, "delete" | "digest"));
    set.chain(deleted).map(str::to_owned).collect()
}

/// Drops the changes of these keys that wait. What waits of others is not ours.
async fn revert(inner: &Inner, found: &Found, pending: &[u8], sent: &BTreeSet<String>) -> Result<()> {
    let rows: Vec<Value> = envelope::data(pending)?;
    let waits = |row: &&Value| row.get("pending").is_some() || row.get("delete").is_some();
    let keys = rows.iter().filter(waits).filter_map(|row| text_of(row.get("key")?));
    let keys: Vec<String> = keys.filter(|key| sent.contains(key)).collect();
    let form = Form::new().text("revert", keys.join(","));
    inner.api.bytes(&Call::put(found.path("/config")?, form).operation(OPERATION)).await.map(drop)
}

/// Passes if all of the change can be made in the guest as it runs.
async fn check_live(inner: &Inner, found: &Found, change: &VmChange, config: &Config) -> Result<()> {
    if found.place.kind == GuestKind::Container
        || !list::current(inner, OPERATION, found).await?.state.is_active()
    {
        return Ok(());
    }
    let has = |what: &str| plugs(config, what);
    let waits = [
        (change.cpus.is_some() && !has("cpu"), "cpus"),
        (change.memory.is_some() && !(has("memory") && config.flag("numa") == Some(true)), "memory"),
        (change.agent.is_some(), "agent"),
        (change.boot_order.is_some(), "boot_order"),
    ];
    let waits: Vec<&str> = waits.into_iter().filter(|(waits, _)| *waits).map(|(_, field)| field).collect();
    if waits.is_empty() {
        return Ok(());
    }
    let why = format!("{} would wait for a power cycle", waits.join(" and "));
    Err(Error::invalid_state(why)
        .with_hint("CPUs and memory of a running guest change only with `hotplug` and `numa` in its options"))
}
