//! Snapshots: the daemon hands on `virsh snapshot-list --tree` line by line, with the lines that draw the tree.

use hypervisor_core::model::{SnapshotInfo, SnapshotTree};

use super::soft;

answers! {
    /// A snapshot as the daemon lists it. Only `name` is real, and may be a line of the drawn tree.
    Snapshot {
        must {
            /// Its name.
            name: String,
        }
        may {
            /// What somebody wrote about it.
            description: String,
            /// When it was taken, in the daemon's words.
            creation_time: String,
            /// What the domain was doing.
            state: String,
            /// Whether the domain's present state stands on top of it.
            current: bool,
        }
    }
}

/// The name in a line of the drawn tree, and whether it stands on top of another; `None` for a line that only draws.
fn name(line: &str) -> Option<(&str, bool)> {
    let line = line.trim();
    let rest = line.trim_start_matches(['|', ' ']);
    match rest.strip_prefix("+- ") {
        Some(name) => Some((name.trim(), true)),
        None if rest.is_empty() => None,
        None => Some((line, false)),
    }
}

/// The snapshots with what the lines tell of their order: roots stand on nothing, and the first line below a root on that root. How the
/// deeper ones stand on one another is lost, because the daemon cuts the indentation off.
pub(crate) fn tree(rows: Vec<Snapshot>) -> SnapshotTree {
    let mut snapshots: Vec<SnapshotInfo> = Vec::new();
    let mut root: Option<String> = None;
    for row in rows {
        let Some((name, nested)) = name(&row.name) else { continue };
        let mut info = SnapshotInfo::new(name).current(row.current);
        if !row.description.is_empty() {
            info = info.description(row.description);
        }
        if let Some(created) = super::time::parse(&row.creation_time) {
            info = info.created(created);
        }
        if !row.state.is_empty() {
            info = info.state(super::domain::state(&row.state));
        }
        if nested {
            match root.take() {
                Some(parent) => info = info.parent(parent.as_str()),
                None => info.extra.insert(crate::dialect::hypersdk::BACKEND, "parent_unknown", true),
            }
        } else {
            root = Some(name.to_owned());
        }
        snapshots.push(info);
    }
    SnapshotTree::new(snapshots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &[&str]) -> Vec<Snapshot> {
        let list: Vec<_> = lines.iter().map(|name| serde_json::json!({"name": name})).collect();
        serde_json::from_value(list.into()).unwrap()
    }

    #[test]
    fn the_drawing_is_no_snapshot() {
        let tree = tree(rows(&["s1", "|", "+- s2", "|", "|   +- s3", "root 2"]));
        let found: Vec<_> = tree
            .iter()
            .map(|item| (item.id.as_str(), item.parent.as_ref().map(|parent| parent.as_str())))
            .collect();
        assert_eq!(found, [("root 2", None), ("s1", None), ("s2", Some("s1")), ("s3", None)]);
        let s3 = tree.get(&"s3".into()).unwrap();
        assert_eq!(s3.extra.get("hypersdk")["parent_unknown"], true);
        assert_eq!(tree.roots().count(), 3);
    }

    #[test]
    fn a_name_may_look_a_little_like_the_drawing() {
        let tree = tree(rows(&["a|b", "c+- d", "|", "+- x +- y", "|", "|   +- p|+- q"]));
        let names: Vec<_> = tree.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(names, ["a|b", "c+- d", "p|+- q", "x +- y"]);
    }
}
