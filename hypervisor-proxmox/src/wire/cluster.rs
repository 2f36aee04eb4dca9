//! `/cluster/status`, `/cluster/nextid` and what a cluster calls itself.

use hypervisor_core::Result;
use hypervisor_core::model::{ClusterInfo, HostInfo, HostState};

use super::scalar::row;
use super::status::extra_of;

row! {
    /// A row of `/cluster/status`: the cluster itself, or one of its nodes.
    StatusRow {
        /// `cluster` or `node`.
        kind: String = "type",
        /// The name of either.
        name: String = "name",
        /// Whether enough nodes see one another.
        quorate: bool = "quorate",
        /// How many nodes there are.
        nodes: u64 = "nodes",
        /// The version of the cluster's configuration.
        version: u64 = "version",
        /// Whether the node is online.
        online: bool = "online",
        /// Whether it is the node that answered.
        local: bool = "local",
        /// Its number in the cluster; 0 for a single node.
        nodeid: u64 = "nodeid",
        /// Its address.
        ip: String = "ip",
    }
}

/// Reads `/cluster/status`. A node that is in no cluster is quorate by itself and has no name for the cluster.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn cluster(body: &[u8]) -> Result<ClusterInfo> {
    let rows: Vec<StatusRow> = super::envelope::data(body)?;
    let mut cluster = ClusterInfo::new(Vec::new());
    for row in rows {
        if row.kind.as_deref() == Some("cluster") {
            cluster.name = row.name;
            cluster.quorate = row.quorate.unwrap_or(false);
            cluster.extra = extra_of(row.rest);
            for (key, number) in [("nodes", row.nodes), ("version", row.version)] {
                if let Some(number) = number {
                    cluster.extra.insert(crate::BACKEND, key, number);
                }
            }
        } else if let Some(name) = row.name {
            let state = if row.online == Some(false) { HostState::Offline } else { HostState::Online };
            let mut host = HostInfo::new(name, state);
            host.extra = extra_of(row.rest);
            if let Some(address) = row.ip {
                host.extra.insert(crate::BACKEND, "ip", address);
            }
            if let Some(local) = row.local {
                host.extra.insert(crate::BACKEND, "local", local);
            }
            cluster.hosts.push(host);
        }
    }
    cluster.hosts.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_node_has_no_row_for_the_cluster() {
        let single =
            cluster(br#"{"data":[{"local":1,"nodeid":0,"name":"pve1","online":1,"type":"node"}]}"#).unwrap();
        assert_eq!((single.name, single.quorate, single.hosts.len()), (None, true, 1));
        let split = cluster(
            br#"[{"type":"cluster","name":"lab","quorate":0,"nodes":2},{"type":"node","name":"b","online":0},{"type":"node","name":"a","online":1}]"#,
        )
        .unwrap();
        assert!(!split.quorate);
        assert_eq!((split.hosts[1].id.as_str(), &split.hosts[1].state), ("b", &HostState::Offline));
        assert_eq!(split.extra.get("proxmox")["nodes"], 2);
    }
}
