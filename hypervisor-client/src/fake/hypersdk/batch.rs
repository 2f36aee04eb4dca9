//! Batches: status 200 whatever becomes of the items.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::answer::{Answer, nanos, stamp};
use super::domains::{no_domain, take, virsh};
use super::route::{Call, Handled};
use super::state::State;

fn batch(
    state: &mut State,
    call: &Call,
    verb: &str,
    run: impl Fn(&mut State, &str) -> Result<(), String>,
) -> Handled {
    let domains = call.json()?.texts("domains")?;
    let begun = SystemTime::now();
    let mut failed = 0;
    let mut results: Vec<Value> = Vec::with_capacity(domains.len());
    for domain in &domains {
        results.push(match run(state, domain) {
            Ok(()) => json!({"domain": domain, "success": true}),
            Err(wrote) => {
                failed += 1;
                json!({"domain": domain, "success": false, "error": wrote})
            }
        });
    }
    Ok(Answer::ok(&json!({
        "operation": verb, "total": domains.len(), "successful": domains.len() - failed, "failed": failed,
        "results": results, "start_time": nanos(begun), "end_time": nanos(SystemTime::now()), "duration": "1.272µs",
    })))
}

pub(super) fn start(state: &mut State, call: &Call) -> Handled {
    let verb = if call.json()?.flag("paused")? { "start-paused" } else { "start" };
    batch(state, call, "start", |state, domain| virsh(state, verb, domain))
}

pub(super) fn stop(state: &mut State, call: &Call) -> Handled {
    let verb = if call.json()?.flag("force")? { "destroy" } else { "shutdown" };
    batch(state, call, verb, |state, domain| virsh(state, verb, domain))
}

pub(super) fn reboot(state: &mut State, call: &Call) -> Handled {
    let verb = if call.json()?.flag("force")? { "reset" } else { "reboot" };
    batch(state, call, verb, |state, domain| virsh(state, verb, domain))
}

pub(super) fn pause(state: &mut State, call: &Call) -> Handled {
    batch(state, call, "suspend", |state, domain| virsh(state, "suspend", domain))
}

pub(super) fn resume(state: &mut State, call: &Call) -> Handled {
    batch(state, call, "resume", |state, domain| virsh(state, "resume", domain))
}

pub(super) fn snapshot(state: &mut State, call: &Call) -> Handled {
    let mut prefix = call.json()?.text("name_prefix")?;
    if prefix.is_empty() {
        "snapshot".clone_into(&mut prefix);
    }
    let at = stamp(SystemTime::now());
    batch(state, call, "snapshot", |state, domain| take(state, domain, &format!("{prefix}-{domain}-{at}")))
}

pub(super) fn delete(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (storage, snapshots_only) = (body.flag("remove_storage")?, body.flag("snapshots_only")?);
    batch(state, call, "undefine", |state, domain| {
        state.power_off(domain);
        if let Some(vm) = state.find_mut(domain)
            && (storage || snapshots_only)
        {
            vm.snapshots.clear();
            vm.current = None;
        }
        if snapshots_only {
            return Ok(());
        }
        let Some(vm) = state.find(domain) else { return Err(no_domain(domain)) };
        if !vm.snapshots.is_empty() {
            let count = vm.snapshots.len();
            return Err(format!(
                "error: Failed to undefine domain '{domain}'\nerror: Requested operation is not valid: cannot delete inactive domain with {count} snapshots\n\n"
            ));
        }
        let (name, disks) = (vm.name.clone(), vm.disks.clone());
        state.vms.remove(&name);
        for disk in disks.iter().filter(|_| storage) {
            if let Some((pool, volume)) = state.volume_of(disk)
                && let Some(volumes) = state.pools.get_mut(&pool)
            {
                volumes.remove(&volume);
            }
        }
        Ok(())
    })
}
