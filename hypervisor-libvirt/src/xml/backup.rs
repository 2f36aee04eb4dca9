//! Backups and checkpoints as libvirt takes them.

use super::Element;

/// A disk of a guest and the file that its content goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskTarget {
    /// The disk's slot.
    pub(crate) slot: String,
    /// The file, which exists.
    pub(crate) path: String,
    /// The checkpoint since which the changes are wanted; everything without it.
    pub(crate) since: Option<String>,
}

/// A backup that QEMU writes into qcow2 files. Disks that are not named are left out.
pub(crate) fn backup(disks: &[DiskTarget], others: &[String]) -> Element {
    let wanted = disks.iter().map(|disk| {
        let mut element = Element::new("disk")
            .with_attr("name", &disk.slot)
            .with_attr("backup", "yes")
            .with_attr("type", "file");
        match &disk.since {
            Some(checkpoint) => {
                element.set_attr("backupmode", "incremental").set_attr("incremental", checkpoint.as_str())
            }
            None => element.set_attr("backupmode", "full"),
        };
        element
            .with(Element::new("driver").with_attr("type", "qcow2"))
            .with(Element::new("target").with_attr("file", &disk.path))
    });
    let others =
        others.iter().map(|slot| Element::new("disk").with_attr("name", slot).with_attr("backup", "no"));
    Element::new("domainbackup")
        .with_attr("mode", "push")
        .with(Element::new("disks").with_all(wanted).with_all(others))
}

/// A checkpoint of some disks: from now on libvirt knows what of them changes.
pub(crate) fn checkpoint(name: &str, tracked: &[String], others: &[String]) -> Element {
    let disk = |slot: &String, kind: &str| {
        Element::new("disk").with_attr("name", slot).with_attr("checkpoint", kind)
    };
    let disks = Element::new("disks")
        .with_all(tracked.iter().map(|slot| disk(slot, "bitmap")))
        .with_all(others.iter().map(|slot| disk(slot, "no")));
    Element::new("domaincheckpoint").with_child("name", name).with(disks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_changed_disks_are_told_apart() {
        let full = DiskTarget { slot: "vda".into(), path: "/p/a".into(), since: None };
        let changes = DiskTarget { slot: "vdb".into(), path: "/p/b".into(), since: Some("cp".into()) };
        assert_eq!(
            backup(&[full, changes], &["sda".into()]).to_string(),
            "<domainbackup mode=\"push\"><disks>\
             <disk name=\"vda\" backup=\"yes\" type=\"file\" backupmode=\"full\"><driver type=\"qcow2\"/><target file=\"/p/a\"/></disk>\
             <disk name=\"vdb\" backup=\"yes\" type=\"file\" backupmode=\"incremental\" incremental=\"cp\"><driver type=\"qcow2\"/>\
             <target file=\"/p/b\"/></disk><disk name=\"sda\" backup=\"no\"/></disks></domainbackup>"
        );
    }

    #[test]
    fn a_checkpoint_names_what_it_tracks() {
        assert_eq!(
            checkpoint("cp", &["vda".into()], &["vdb".into()]).to_string(),
            "<domaincheckpoint><name>cp</name><disks><disk name=\"vda\" checkpoint=\"bitmap\"/>\
             <disk name=\"vdb\" checkpoint=\"no\"/></disks></domaincheckpoint>"
        );
    }
}
