//! What starts, stops, copies, moves and deletes guests.

use std::time::Duration;

use hypervisor_core::model::{
    ByteSize, CloneSpec, DeleteVm, DisposeDisks, Feature, GuestKind, MigrateSpec, PowerAction, ShutdownVia,
};
use hypervisor_core::{Error, ErrorKind, Result};

use super::config;
use super::form::Form;

/// The kind of a guest in paths: `qemu` or `lxc`.
#[must_use]
pub const fn kind_path(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Container => "lxc",
        _ => "qemu",
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, what).with_backend(crate::BACKEND)
}

/// A power verb: the last part of `POST …/status/{verb}`, and its parameters.
///
/// # Errors
/// `Unsupported` for what containers do not do, and where the agent alone is to be asked to shut a guest down.
pub fn power(action: &PowerAction, kind: GuestKind) -> Result<(&'static str, Form)> {
    let container = kind == GuestKind::Container;
    let form = Form::new();
    Ok(match action {
        PowerAction::Start => ("start", form),
        PowerAction::Shutdown(how) => {
            if how.via == ShutdownVia::Agent {
                return Err(unsupported(
                    "Proxmox asks the agent first and falls back to the power button; use `auto`",
                ));
            }
            match how.power_off_after {
                Some(after) => ("shutdown", form.number("timeout", seconds(after)).flag("forceStop", true)),
                None => ("shutdown", form),
            }
        }
        // A shutdown that goes on would hold the guest's lock until its timeout.
        PowerAction::PowerOff => ("stop", form.flag("overrule-shutdown", true)),
        PowerAction::Reboot => ("reboot", form),
        PowerAction::Reset if container => {
            return Err(unsupported("a container cannot be reset, only rebooted"));
        }
        PowerAction::Reset => ("reset", form),
        PowerAction::Pause => ("suspend", form),
        PowerAction::Resume => ("resume", form),
        PowerAction::Hibernate if container => {
            return Err(unsupported("a container's memory cannot be kept on disk"));
        }
        PowerAction::Hibernate => ("suspend", form.flag("todisk", true)),
        other => return Err(unsupported(&format!("{} is not known to this driver", other.operation()))),
    })
}

/// Whole seconds; a part of one counts as one.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// The parameters of `POST …/clone`. `template` says whether the original is one: of others the server makes full copies only.
///
/// # Errors
/// `InvalidInput` naming the field; `Unsupported` for a copy that shares the disks of what is no template.
pub fn clone(spec: &CloneSpec, kind: GuestKind, new_id: u32, template: bool) -> Result<Form> {
    spec.validate()?;
    config::host_name(&spec.name)?;
    if spec.linked && !template {
        return Err(unsupported(
            "only the disks of a template can be shared: make one first, or make a full copy",
        )
        .with_hint(format!("see {}", Feature::LinkedClone)));
    }
    if spec.linked && spec.pool.is_some() {
        return Err(Error::invalid("pool", "a copy that shares the disks lies where the template lies"));
    }
    let name = if kind == GuestKind::Container { "hostname" } else { "name" };
    let form = Form::new().number("newid", new_id.into()).text(name, spec.name.as_str());
    // Containers and guests that are no templates are copied in full anyway, but only if asked for.
    let form = form.flag("full", !spec.linked);
    Ok(form
        .maybe("description", spec.description.clone())
        .maybe("pool", spec.group.as_ref().map(|group| group.as_str().to_owned()))
        .maybe("storage", spec.pool.as_ref().map(|pool| pool.as_str().to_owned()))
        .maybe("target", spec.host.as_ref().map(|host| host.as_str().to_owned()))
        .maybe("snapname", spec.snapshot.as_ref().map(|snapshot| snapshot.as_str().to_owned())))
}

/// The parameters of `POST …/migrate`. `running` is whether the guest runs; a container that does is restarted.
///
/// # Errors
/// `InvalidInput` naming the field; `Unsupported` where a container is to go on running meanwhile.
pub fn migrate(spec: &MigrateSpec, kind: GuestKind, running: bool) -> Result<Form> {
    spec.validate()?;
    let form = Form::new().text("target", spec.host.as_str());
    let limit = spec.bandwidth.map(|limit| limit.div_ceil(ByteSize::kib(1)).to_string());
    let pool = spec.pool.as_ref().map(|pool| pool.as_str().to_owned());
    if kind == GuestKind::Container {
        if spec.live == Some(true) {
            return Err(unsupported(
                "a container does not go on running while it moves; it is stopped and started",
            ));
        }
        let form = form.flag_if("restart", running).maybe("target-storage", pool);
        return Ok(form.maybe("bwlimit", limit));
    }
    if running && spec.live == Some(false) {
        return Err(Error::invalid_state("it runs: power it off first, or let it move while it runs"));
    }
    let form = form.flag_if("online", running);
    // Of a guest that is off the server takes the disks along by itself.
    let form = form.flag_if("with-local-disks", running && spec.with_disks);
    Ok(form.maybe("targetstorage", pool).maybe("bwlimit", limit))
}

/// The query of `DELETE …/{vmid}`: the guest and its volumes, and, with `purge`, its place in jobs and high availability.
///
/// # Errors
/// `Unsupported` where volumes are to be kept: the server deletes all that a guest owns.
pub fn delete(options: &DeleteVm, purge: bool) -> Result<Form> {
    if options.disks != DisposeDisks::Delete {
        return Err(unsupported("Proxmox deletes the volumes that a guest owns with it"));
    }
    Ok(Form::new().flag("purge", purge).flag("destroy-unreferenced-disks", false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::Shutdown;

    use crate::wire::params;

    fn call(kind: GuestKind, method: &str, rest: &str, form: &Form) {
        let path = format!("/nodes/pve1/{}/100{rest}", kind_path(kind));
        let sent: Vec<(String, String)> =
            form.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let found = params::find(method, &path).unwrap_or_else(|| panic!("{method} {path}"));
        assert_eq!(found.check(&sent), Ok(()), "{path}");
    }

    const KINDS: [GuestKind; 2] = [GuestKind::Vm, GuestKind::Container];

    #[test]
    fn every_verb_is_a_call_that_the_server_has() {
        let shutdown = Shutdown::new().power_off_after(Duration::from_millis(1500));
        let verbs = [
            PowerAction::Start,
            PowerAction::Shutdown(Shutdown::new()),
            PowerAction::Shutdown(shutdown),
            PowerAction::PowerOff,
            PowerAction::Reboot,
            PowerAction::Reset,
            PowerAction::Pause,
            PowerAction::Resume,
            PowerAction::Hibernate,
        ];
        for kind in KINDS {
            for verb in verbs {
                match power(&verb, kind) {
                    Ok((path, form)) => call(kind, "POST", &format!("/status/{path}"), &form),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unsupported);
                        assert!(
                            kind == GuestKind::Container
                                && matches!(verb, PowerAction::Reset | PowerAction::Hibernate)
                        );
                    }
                }
            }
        }
        assert_eq!(
            power(&PowerAction::Shutdown(shutdown), GuestKind::Vm).unwrap().1.encode(),
            "timeout=2&forceStop=1"
        );
        assert_eq!(
            power(&PowerAction::Hibernate, GuestKind::Vm).unwrap(),
            ("suspend", Form::new().flag("todisk", true))
        );
    }

    #[test]
    fn copies_and_moves_are_calls_that_the_server_has() {
        let spec =
            CloneSpec::new("copy").pool("fast").host("pve2").snapshot("s1").group("prod").description("x");
        for kind in KINDS {
            call(kind, "POST", "/clone", &clone(&spec, kind, 111, false).unwrap());
            call(
                kind,
                "POST",
                "/clone",
                &clone(&CloneSpec::new("copy").linked(true), kind, 111, true).unwrap(),
            );
            let to = MigrateSpec::to("pve2").with_disks(true).pool("fast").bandwidth(ByteSize::mib(10));
            for running in [true, false] {
                call(kind, "POST", "/migrate", &migrate(&to, kind, running).unwrap());
            }
            call(kind, "DELETE", "", &delete(&DeleteVm::with_disks(), true).unwrap());
        }
        let to = MigrateSpec::to("pve2").live(true);
        assert_eq!(migrate(&to, GuestKind::Container, true).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(migrate(&to, GuestKind::Vm, true).unwrap().encode(), "target=pve2&online=1");
        let cold = MigrateSpec::to("pve2").live(false);
        assert_eq!(migrate(&cold, GuestKind::Vm, true).unwrap_err().kind(), ErrorKind::InvalidState);
        assert_eq!(
            clone(&CloneSpec::new("copy"), GuestKind::Vm, 111, true).unwrap().encode(),
            "newid=111&name=copy&full=1"
        );
        assert!(
            clone(&CloneSpec::new("a_b"), GuestKind::Vm, 111, false)
                .unwrap_err()
                .fields()
                .contains_key("name")
        );
        let shared = clone(&CloneSpec::new("copy").linked(true), GuestKind::Vm, 111, false);
        assert_eq!(shared.unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(delete(&DeleteVm::keep_disks(), true).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
