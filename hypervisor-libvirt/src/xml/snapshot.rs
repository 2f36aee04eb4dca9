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

/// A disk of an external snapshot, and the file that the guest writes into from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) slot: String,
    pub(crate) path: String,
}

/// An external snapshot into files that exist, with the memory where there is a file for it; the other disks are left as
/// they are.
pub(crate) fn external(
    spec: &SnapshotSpec,
    memory: Option<&str>,
    wanted: &[Overlay],
    others: &[String],
) -> Element {
    let disk =
        |slot: &str, kind: &str| Element::new("disk").with_attr("name", slot).with_attr("snapshot", kind);
    let wanted = wanted.iter().map(|overlay| {
        disk(&overlay.slot, "external")
            .with_attr("type", "file")
            .with(Element::new("driver").with_attr("type", "qcow2"))
            .with(Element::new("source").with_attr("file", &overlay.path))
    });
    let others = others.iter().map(|slot| disk(slot, "no"));
    let memory =
        memory.map(|file| Element::new("memory").with_attr("snapshot", "external").with_attr("file", file));
    snapshot(spec).with_all(memory).with(Element::new("disks").with_all(wanted).with_all(others))
}

/// Whether a snapshot's content lies in files of its own, rather than inside the disks.
pub(crate) fn is_external(snapshot: &Element) -> bool {
    let memory = snapshot.attr_at("memory", "snapshot") == Some("external");
    memory || snapshot.all("disks/disk").into_iter().any(|disk| disk.attr_is("snapshot", "external"))
}

/// The file that an external snapshot keeps the memory in.
pub(crate) fn memory_file(snapshot: &Element) -> Option<String> {
    snapshot.attr_at("memory", "file").map(str::to_owned)
}

/// The files that an external snapshot made the guest's disks write into.
pub(crate) fn overlays(snapshot: &Element) -> Vec<Overlay> {
    let disks = snapshot.all("disks/disk").into_iter().filter(|disk| disk.attr_is("snapshot", "external"));
    let overlay = |disk: &Element| {
        let (slot, path) = (disk.attr("name")?.to_owned(), super::device::source_path(disk)?);
        Some(Overlay { slot, path })
    };
    disks.filter_map(overlay).collect()
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
    if is_external(snapshot) {
        info.extra.insert(crate::BACKEND, "external", true);
    }
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
    fn an_external_one_tells_its_files() {
        let overlay = Overlay { slot: "vda".into(), path: "/p/a.s1".into() };
        let spec = SnapshotSpec::new("s1");
        let written = external(&spec, None, std::slice::from_ref(&overlay), &["sda".into()]);
        assert_eq!(
            written.to_string(),
            "<domainsnapshot><name>s1</name><disks><disk name=\"vda\" snapshot=\"external\" type=\"file\">\
             <driver type=\"qcow2\"/><source file=\"/p/a.s1\"/></disk><disk name=\"sda\" snapshot=\"no\"/></disks></domainsnapshot>"
        );
        assert!(is_external(&written) && !is_external(&snapshot(&spec)));
        assert_eq!((overlays(&written), memory_file(&written)), (vec![overlay.clone()], None));
        let found = info(&written, true).unwrap();
        assert_eq!(found.extra.get(crate::BACKEND)["external"], true);
        let written = external(&spec, Some("/p/a.mem"), &[overlay], &[]);
        assert!(
            written.to_string().contains("<memory snapshot=\"external\" file=\"/p/a.mem\"/><disks>"),
            "{written}"
        );
        assert_eq!(memory_file(&written).as_deref(), Some("/p/a.mem"));
        assert!(info(&written, true).unwrap().memory);
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
