//! What goes over the wire, both ways: pure, without a server.
//!
//! Every decoder takes the document's shapes and those of the real servers of both generations; what is absent or `null` is the same as
//! empty, and numbers may come as text.

mod error;
mod frame;
mod hardware;
mod host;
mod lenient;
mod load;
mod place;
mod state;
mod storage;
mod vm;

pub use hardware::{Hardware, HardwareDisk, HardwareNic};
pub use host::{HostFacts, HostRecord};
pub use load::{DeviceTraffic, HostLoad, VmLoad};
pub use vm::DiscoveredVm;

pub(crate) use error::{Blame, Said};
pub(crate) use frame::{ServerFrame, Subscription};
pub(crate) use host::{Info, shown_uri};
pub(crate) use lenient::{Listed, Page as ActivityPage};
pub(crate) use place::{Place, VolumePlace};
pub(crate) use storage::{Attachment, NetworkRow, PoolRow, VolumeRow};
pub(crate) use vm::{NewVm, VmRow};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Any JSON, small, with keys that the decoders know.
    pub(super) fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        let key = "(id|name|uri|state|libvirtState|hostId|vmName|stats|memory|cpu_time|disks|networks|target|source|graphics|connected|info|details|code|\\PC{0,3})";
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_a_decoder_panic(body in json()) {
            let bytes = body.to_string().into_bytes();
            decoders(&bytes);
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            decoders(&bytes);
        }
    }

    fn decoders(bytes: &[u8]) {
        use hypervisor_core::http::decode;
        if let Ok(hosts) = decode::<Listed<HostRecord>>(bytes) {
            hosts.into_vec().iter().for_each(|host| drop((host.to_info(None, true), format!("{host:?}"))));
        }
        if let Ok(host) = decode::<HostRecord>(bytes) {
            drop(host.to_info(Some(&HostFacts::default()), host.is_connected().unwrap_or(true)));
        }
        drop(decode::<Info>(bytes));
        if let Ok(vm) = decode::<VmRow>(bytes) {
            drop(vm.to_info("h", None));
        }
        drop(decode::<Listed<VmRow>>(bytes));
        if let Ok(hardware) = decode::<Hardware>(bytes) {
            hardware.disks.iter().for_each(|disk| drop(disk.to_info(0)));
            hardware.networks.iter().for_each(|nic| drop(nic.to_info("h", 0)));
        }
        if let Ok(load) = decode::<VmLoad>(bytes) {
            drop(load.to_metrics("h/a".into(), std::time::SystemTime::UNIX_EPOCH));
        }
        if let Ok(load) = decode::<HostLoad>(bytes) {
            drop(load.to_metrics("h".into(), std::time::SystemTime::UNIX_EPOCH));
        }
        drop((decode::<PoolRow>(bytes), decode::<VolumeRow>(bytes), decode::<NetworkRow>(bytes)));
        drop((
            decode::<Listed<Attachment>>(bytes),
            decode::<Listed<DiscoveredVm>>(bytes),
            decode::<ActivityPage>(bytes),
        ));
        if let Some(said) = Said::read(bytes) {
            let _ = Blame::of(&said, 500);
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            drop((ServerFrame::parse(text), lenient::time(Some(text))));
        }
    }
}
