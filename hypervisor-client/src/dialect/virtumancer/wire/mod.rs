//! What goes over the wire, both ways: pure, without a server.
//!
//! Every decoder takes the document's shapes and those of the real servers of both generations; what is absent or `null` is the same as
//! empty, and numbers may come as text.

mod error;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
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
pub(crate) use hardware::Plug;
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
            fuzzing::answers(&bytes);
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            fuzzing::answers(&bytes);
        }
    }
}
