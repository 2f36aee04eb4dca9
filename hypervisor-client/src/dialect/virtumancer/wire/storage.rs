//! Storage and networks, as the newer generation lists them.

use hypervisor_core::model::{
    ByteSize, HostId, NetworkId, NetworkInfo, NetworkKind, PoolId, PoolInfo, PoolKind, VolumeFormat,
    VolumeInfo,
};
use serde::Deserialize;

use super::lenient;
use super::place::{Place, VolumePlace};
use crate::dialect::virtumancer::BACKEND;

/// A storage pool.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PoolRow {
    #[serde(default, deserialize_with = "lenient::text")]
    pub(crate) host_id: Option<String>,
    pub(crate) name: String,
    #[serde(default, deserialize_with = "lenient::text")]
    uuid: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    path: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    state: Option<String>,
    #[serde(default, deserialize_with = "lenient::number")]
    capacity_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient::number")]
    allocation_bytes: Option<u64>,
}

impl PoolRow {
    pub(crate) fn to_info(&self, host: &str) -> PoolInfo {
        let capacity = self.capacity_bytes.filter(|size| *size > 0).map(ByteSize::bytes);
        // The server calls an active pool inactive; libvirt tells no capacity for one that is.
        let active = capacity.is_some() || self.state.as_deref() == Some("active");
        let kind = PoolKind::from(self.kind.as_deref().unwrap_or_default());
        let mut info = PoolInfo::new(Place::new(host, self.name.as_str()).to_string(), kind, active);
        info.path = self.path.clone();
        info.used = self.allocation_bytes.filter(|_| capacity.is_some()).map(ByteSize::bytes);
        info.available = capacity.zip(info.used).map(|(all, used)| all.saturating_sub(used));
        info.capacity = capacity;
        info.hosts = vec![HostId::from(host)];
        for (key, value) in [("uuid", &self.uuid), ("state", &self.state)] {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        info
    }
}

/// A volume.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VolumeRow {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default, deserialize_with = "lenient::text")]
    pub(crate) pool_name: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    path: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    format: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::number")]
    capacity_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient::number")]
    allocation_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient::text")]
    created_at: Option<String>,
}

impl VolumeRow {
    /// Whether its size is missing: it is then the size of the disk that it is.
    pub(crate) fn is_unsized(&self) -> bool {
        self.capacity_bytes.unwrap_or(0) == 0
    }

    pub(crate) fn to_info(&self, pool: &Place, attachments: &[Attachment]) -> VolumeInfo {
        let place = VolumePlace { pool: pool.clone(), name: self.name.clone() };
        let disk = attachments.iter().map(|each| &each.disk).find(|disk| {
            disk.volume_id.as_deref() == Some(&self.id) || (disk.path.is_some() && disk.path == self.path)
        });
        let own = self.capacity_bytes.filter(|size| *size > 0);
        let capacity = own.or_else(|| disk.and_then(|disk| disk.capacity_bytes)).unwrap_or(0);
        let pool = PoolId::from(pool.to_string());
        let mut info =
            VolumeInfo::new(place.to_string(), pool, self.name.as_str(), ByteSize::bytes(capacity));
        info.allocation = self.allocation_bytes.filter(|size| *size > 0).map(ByteSize::bytes);
        info.format = self.format.as_deref().map(VolumeFormat::from);
        info.path = self.path.clone();
        info.created = lenient::time(self.created_at.as_deref());
        info.extra.insert(BACKEND, "id", self.id.as_str());
        if let Some(kind) = &self.kind {
            info.extra.insert(BACKEND, "type", kind.as_str());
        }
        info
    }
}

/// A disk in a guest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Attachment {
    #[serde(deserialize_with = "lenient::or_default")]
    disk: AttachedDisk,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct AttachedDisk {
    #[serde(deserialize_with = "lenient::text")]
    volume_id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    path: Option<String>,
    #[serde(deserialize_with = "lenient::number")]
    capacity_bytes: Option<u64>,
}

/// A network.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NetworkRow {
    #[serde(default, deserialize_with = "lenient::text")]
    pub(crate) host_id: Option<String>,
    pub(crate) name: String,
    #[serde(default, deserialize_with = "lenient::text")]
    uuid: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    bridge_name: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    mode: Option<String>,
}

impl NetworkRow {
    pub(crate) fn to_info(&self, host: &str) -> NetworkInfo {
        let id = NetworkId::from(Place::new(host, self.name.as_str()).to_string());
        let kind = NetworkKind::from(self.mode.as_deref().unwrap_or("isolated"));
        // Only networks that guests are plugged into are listed, and whether they are up is not told.
        let mut info = NetworkInfo::new(id, self.name.as_str(), kind, true).host(host);
        info.bridge = self.bridge_name.clone();
        if let Some(uuid) = &self.uuid {
            info.extra.insert(BACKEND, "uuid", uuid.as_str());
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_with_a_capacity_is_active_whatever_its_state_says() {
        let pool = |json: &str| serde_json::from_str::<PoolRow>(json).unwrap().to_info("kvmsrv");
        let active = pool(
            r#"{"id":"c966","host_id":"kvmsrv","name":"default","uuid":"f244","type":"dir","path":"/images","state":"inactive","capacity_bytes":1000,"allocation_bytes":400}"#,
        );
        assert_eq!((active.id.as_str(), active.active, active.kind), ("kvmsrv/default", true, PoolKind::Dir));
        assert_eq!(active.available, Some(ByteSize::bytes(600)));
        assert!(!pool(r#"{"name":"off","state":"inactive","capacity_bytes":0}"#).active);
    }

    #[test]
    fn a_volume_without_a_size_has_that_of_its_disk() {
        let volume: VolumeRow = serde_json::from_str(
            r#"{"id":"8bf5","storage_pool_id":"c966","name":"db-01","path":"/images/db-01.qcow2","type":"DISK","format":"qcow2","capacity_bytes":0,"allocation_bytes":0,"pool_name":"default"}"#,
        )
        .unwrap();
        assert!(volume.is_unsized());
        let disks: Vec<Attachment> = serde_json::from_str(
            r#"[{"disk":null},{"disk":{"volume_id":null,"path":"/images/db-01.qcow2","capacity_bytes":2147483648}}]"#,
        )
        .unwrap();
        let info = volume.to_info(&Place::new("kvmsrv", "default"), &disks);
        assert_eq!((info.id.as_str(), info.capacity), ("kvmsrv/default/db-01", ByteSize::gib(2)));
        assert_eq!(info.format, Some(VolumeFormat::Qcow2));
    }
}
