//! Creating a guest with its disks.

use std::sync::Arc;
use std::time::SystemTime;

use hypervisor_core::model::{DiskSource, VmId, VmSpec};
use hypervisor_core::{Error, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::volumes::{Made, Plan, Planned, check_networks};
use super::{Shared, lookup};
use crate::backend::Inner;
use crate::blocking::CallError as _;
use crate::error::{Fail, Outcome, named};
use crate::options::VmOptions;
use crate::seed;
use crate::xml::Element;
use crate::xml::device::{nic_element, random_mac};
use crate::xml::domain::{Machine, build};

/// Creates a guest. A create that fails takes back what it has made.
pub(super) async fn create(inner: &Shared, spec: VmSpec) -> Result<VmId> {
    let operation = Operation::CreateVm;
    inner.check_host(spec.host.as_ref()).map_err(named(operation))?;
    if let Some(group) = &spec.group {
        return Err(named(operation)(group.not_found().with_hint("libvirt has no resource groups")));
    }
    let uuid = match &spec.id {
        None => Uuid::new_v4(),
        Some(id) => Uuid::parse_str(id.as_str())
            .map_err(|error| named(operation)(Error::invalid("id", format!("must be a UUID: {error}"))))?,
    };
    let own = Arc::clone(inner);
    let copies = spec.disks.iter().any(|disk| matches!(disk.source, DiskSource::Copy { .. }));
    let options: VmOptions = spec.options.options().map_err(named(operation))?;
    options.validate(&spec).map_err(named(operation))?;
    inner.check_cpus(options.max_cpus).map_err(named(operation))?;
    let seeded = spec.cloud_init.is_some();
    spec.cloud_init.as_ref().map_or(Ok(()), seed::check).map_err(named(operation))?;
    let work = move |conn: &Connect| make(&own, conn, &spec, &options, uuid);
    if copies || seeded { inner.call_slow(operation, work).await } else { inner.call(operation, work).await }
}

fn make(inner: &Inner, conn: &Connect, spec: &VmSpec, options: &VmOptions, uuid: Uuid) -> Outcome<VmId> {
    let id = VmId::from(uuid.to_string());
    lookup::refuse_taken_name(conn, &spec.name)?;
    let token = spec.client_token.as_deref();
    token.map_or(Ok(()), |token| inner.leftovers.clear(conn, token))?;
    if spec.id.is_some() && lookup::domain(conn, &id).is_ok() {
        return Err(Error::already_exists(VmId::NOUN, &id).into());
    }
    check_networks(conn, &spec.nics)?;
    let machine = Machine {
        kind: inner.probe.kind.clone(),
        machine: spec.machine.clone().or_else(|| inner.probe.machine.clone()),
        architecture: inner.probe.host_capabilities.architecture.clone().filter(|_| !inner.probe.test),
        uuid: uuid.to_string(),
        created: SystemTime::now(),
    };
    let plan = Plan {
        conn,
        guest: &spec.name,
        default_pool: &inner.config.pool,
        machine: machine.machine.as_deref(),
    };
    let mut taken = Vec::new();
    let planned = spec.disks.iter().enumerate();
    let planned = planned.map(|(index, disk)| plan.disk(disk, &mut taken, &format!("disks[{index}]")));
    let planned = planned.collect::<Outcome<Vec<_>>>();
    let planned = planned.map_err(|fail| explain(inner, token, fail))?;
    let nics =
        spec.nics.iter().enumerate().map(|(index, nic)| {
            nic_element(nic, nic.mac.unwrap_or_else(random_mac), &format!("nics[{index}]"))
        });
    let nics = nics.collect::<Result<Vec<_>>>()?;

    let seed_pool = seed::pool_of(spec, &inner.config.pool);
    let seed_volume = spec.cloud_init.iter().map(|_| seed::volume_of(&seed_pool, &spec.name));
    let wanted: Vec<_> = planned.iter().filter_map(Planned::volume).chain(seed_volume).collect();
    let carry_out = || -> Outcome<()> {
        let mut made = Made::default();
        let mut disks = Vec::with_capacity(planned.len());
        for disk in planned {
            match disk.realise(&mut made) {
                Ok(disk) => disks.push(disk),
                Err(fail) => return Err(made.undo(fail)),
            }
        }
        let mut definition = build(spec, &machine, &disks, nics);
        options.write(&mut definition);
        if let Some(seed) = &spec.cloud_init
            && let Err(fail) = seed::add(conn, &seed_pool, seed, &mut definition, &mut made)
        {
            return Err(made.undo(fail));
        }
        inner.users.forget();
        define(conn, spec, &definition).map_err(|fail| made.undo_undefined(fail))
    };
    match (carry_out(), token) {
        (Ok(()), token) => {
            if let Some(token) = token {
                inner.leftovers.forget(token);
            }
            Ok(id)
        }
        (Err(fail), Some(token)) if fail.is_disconnect() => {
            inner.leftovers.keep(token, wanted);
            Err(fail)
        }
        (Err(fail), token) => Err(explain(inner, token, fail)),
    }
}

fn explain(inner: &Inner, token: Option<&str>, fail: Fail) -> Fail {
    match token {
        Some(token) => inner.leftovers.explain(token, fail),
        None => fail,
    }
}

/// Defines a guest, and starts it where that is asked for. A guest that fails to start is not kept.
fn define(conn: &Connect, spec: &VmSpec, definition: &Element) -> Outcome<()> {
    let text = definition.to_string();
    if spec.ephemeral {
        Domain::create_xml(conn, &text, sys::VIR_DOMAIN_NONE)?;
        return Ok(());
    }
    let domain = Domain::define_xml(conn, &text)?;
    let finish = || -> Outcome<()> {
        if spec.autostart {
            domain.set_autostart(true)?;
        }
        if spec.start {
            domain.create()?;
        }
        Ok(())
    };
    finish().map_err(|fail| undefine(&domain, fail))
}

/// Removes a definition that is no longer wanted, and returns the failure that led to this.
pub(crate) fn undefine(domain: &Domain, fail: Fail) -> Fail {
    if fail.is_disconnect() {
        // It may be defined and even run: whoever asks again finds it.
        return fail;
    }
    match domain.undefine_flags(sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) {
        Ok(()) => fail,
        Err(left) => {
            let error = Error::from(fail).with_effect(hypervisor_core::Effect::Partial);
            Fail::Ours(error.with_hint(format!("Its definition could not be removed: {}", left.message())))
        }
    }
}
