//! Snapshots, both ways.

use std::time::{Duration, SystemTime};

use hypervisor_core::model::{SnapshotInfo, SnapshotSpec, VmState};

use super::{Element, XmlError};

/// The snapshot that a spec asks for. Disks that cannot be written to are left to libvirt, which skips them.
pub(crate) fn snapshot(spec: &SnapshotSpec) -> Element {
    let mut snapshot = Element::new("domainsnapshot").with_child("name", &spec.name);
    if let Some(description) = &spec.description {
        snapshot.push(Element::new("description").with_text(description));
    }
    snapshot
}

/// What a snapshot's definition says about it.
pub(crate) fn info(snapshot: &Element, current: bool) -> Result<SnapshotInfo, XmlError> {
    let name = snapshot.text_at("name").ok_or_else(|| XmlError::new("<name> of the snapshot is missing"))?;
    let mut info = SnapshotInfo::new(name).current(current);
    info.parent = snapshot.text_at("parent/name").map(Into::into);
    info.description = snapshot.raw_text_at("description");
    let seconds = snapshot.text_at("creationTime").and_then(|text| text.parse().ok());
    info.created =
        seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    info.state = snapshot.text_at("state").map(|state| match state.as_str() {
        "running" | "blocked" => VmState::Running,
        "paused" | "pmsuspended" => VmState::Paused,
        // Of a running guest, without its memory: what a revert brings back is off.
        "shutoff" | "shutdown" | "disk-snapshot" => VmState::Stopped,
        "crashed" => VmState::Crashed,
        _ => VmState::Unknown(state),
    });
    info.memory = match snapshot.attr_at("memory", "snapshot") {
        Some(kind) => kind != "no",
        // The test driver writes no <memory>; its snapshots of running guests have one.
        None => info.state.as_ref().is_some_and(VmState::is_active),
    };
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read() {
        let xml = "<domainsnapshot><name>b</name><description>d</description><state>running</state>\
             <parent><name>a</name></parent><creationTime>1700000000</creationTime><memory snapshot='internal'/></domainsnapshot>";
        let found = info(&Element::parse(xml).unwrap(), true).unwrap();
        assert_eq!((found.id.as_str(), found.parent.as_ref().map(|id| id.as_str())), ("b", Some("a")));
        assert!(found.memory && found.current);
        assert_eq!(found.created, SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_700_000_000)));
        let off =
            "<domainsnapshot><name>c</name><state>shutoff</state><memory snapshot='no'/></domainsnapshot>";
        let found = info(&Element::parse(off).unwrap(), false).unwrap();
        assert_eq!((found.state, found.memory), (Some(VmState::Stopped), false));
    }

    #[test]
    fn a_spec_is_written() {
        let written = snapshot(&SnapshotSpec::new("a").description("x & y"));
        assert_eq!(
            written.to_string(),
            "<domainsnapshot><name>a</name><description>x &amp; y</description></domainsnapshot>"
        );
    }
}
