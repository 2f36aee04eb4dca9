//! Snapshots.

use hypervisor_core::model::{GuestKind, SnapshotInfo, SnapshotSpec, VmState};
use hypervisor_core::{Error, Result};

use super::form::Form;
use super::scalar::row;
use super::status::extra_of;
use super::storage::time;

row! {
    /// A row of a guest's snapshots.
    SnapshotRow {
        /// Its name; `current` is the guest's present state, which is no snapshot.
        name: String = "name",
        /// The snapshot that it was taken on top of.
        parent: String = "parent",
        /// What somebody wrote about it.
        description: String = "description",
        /// When it was taken, in seconds since 1970.
        snaptime: u64 = "snaptime",
        /// Whether it holds the memory too.
        vmstate: bool = "vmstate",
        /// Why it is not usable: `prepare` or `delete`.
        snapstate: String = "snapstate",
    }
}

/// The snapshots of a guest. The pseudo entry `current` tells which one the present state stands on.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn snapshots(body: &[u8]) -> Result<Vec<SnapshotInfo>> {
    let rows: Vec<SnapshotRow> = super::envelope::data(body)?;
    let present =
        rows.iter().find(|row| row.name.as_deref() == Some("current")).and_then(|row| row.parent.clone());
    let taken = rows.into_iter().filter(|row| row.name.as_deref() != Some("current"));
    let infos = taken.filter_map(|row| {
        let name = row.name?;
        let mut info = SnapshotInfo::new(name.as_str()).current(present.as_deref() == Some(&name));
        info.parent = row.parent.filter(|parent| !parent.is_empty()).map(Into::into);
        info.description =
            row.description.map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty());
        info.created = row.snaptime.map(time);
        info.memory = row.vmstate.unwrap_or(false);
        // Only a running guest has memory to keep; without it nobody remembers whether it ran.
        info.state = info.memory.then_some(VmState::Running);
        info.extra = extra_of(row.rest);
        if let Some(state) = row.snapstate {
            info.extra.insert(crate::BACKEND, "snapstate", state);
        }
        Some(info)
    });
    Ok(infos.collect())
}

/// The parameters that take a snapshot. `running` says whether there is memory to keep.
///
/// # Errors
/// `InvalidInput` where the name is none that Proxmox takes, or the memory of a container is asked for.
pub fn create(spec: &SnapshotSpec, kind: GuestKind, running: bool) -> Result<Form> {
    spec.validate()?;
    let starts_well = spec.name.starts_with(|c: char| c.is_ascii_alphabetic());
    let fits = spec.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !starts_well || !fits || !(2..=40).contains(&spec.name.len()) {
        let why =
            format!("`{}` must be 2 to 40 letters, digits, `_` or `-`, beginning with a letter", spec.name);
        return Err(Error::invalid("name", why));
    }
    if matches!(spec.name.as_str(), "current" | "pending") {
        return Err(Error::invalid("name", format!("`{}` has a meaning of its own to Proxmox", spec.name)));
    }
    let form =
        Form::new().text("snapname", spec.name.as_str()).maybe("description", spec.description.clone());
    match (kind, spec.memory) {
        (GuestKind::Container, Some(true)) => {
            Err(Error::invalid("memory", "a container's memory cannot be kept"))
        }
        (GuestKind::Container, _) => Ok(form),
        (_, memory) => Ok(form.flag_if("vmstate", running && memory == Some(true))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_state_is_no_snapshot() {
        let body = br#"{"data":[{"snaptime":1795198157,"vmstate":1,"name":"s1","description":"first\n"},
            {"name":"s2","parent":"s1","snaptime":"1795198158","vmstate":0},
            {"name":"current","description":"You are here!","parent":"s2","running":0}]}"#;
        let all = snapshots(body).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].description.as_deref(), all[0].memory, all[0].current),
            (Some("first"), true, false)
        );
        assert_eq!((all[1].parent.as_ref().unwrap().as_str(), all[1].current), ("s1", true));
    }

    #[test]
    fn names_that_the_server_refuses_are_not_sent() {
        for wrong in ["1bad", "a", "current", "pending", "a.b", &"x".repeat(41)] {
            let error = create(&SnapshotSpec::new(wrong), GuestKind::Vm, true).unwrap_err();
            assert!(error.fields().contains_key("name"), "{wrong}");
        }
        let spec = SnapshotSpec::new("s1").memory(true);
        assert_eq!(create(&spec, GuestKind::Vm, true).unwrap().encode(), "snapname=s1&vmstate=1");
        assert_eq!(create(&spec, GuestKind::Vm, false).unwrap().encode(), "snapname=s1");
        assert!(create(&spec, GuestKind::Container, true).is_err());
    }
}
