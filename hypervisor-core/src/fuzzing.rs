//! The model's decoders as a function of bytes, for the fuzz target and for the tests that feed it with anything.
#![allow(clippy::expect_used, clippy::panic, reason = "a fuzzer finds what panics")]

use std::str::from_utf8;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::model::{
    BackupInfo, BatchReport, BatchRequest, ByteSize, Capabilities, Capability, CloneSpec, Event, HostInfo,
    MacAddr, MetricsHistory, NetworkInfo, NetworkSpec, Page, PoolInfo, SnapshotInfo, SnapshotTree, Started,
    TaskInfo, VmChange, VmConfig, VmId, VmInfo, VmMetrics, VmSpec, VolumeInfo, parse_duration,
};
use crate::operation::Operation;

/// What gateways send each other: specs, infos, events and errors as JSON, and the texts that stand for sizes, times and names.
/// Whether the bytes were taken for one of them.
pub fn model(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else { return false };
    let (size, mac) = (text.parse::<ByteSize>(), text.parse::<MacAddr>());
    size.iter().for_each(|size| drop((size.to_string(), size.div_ceil(ByteSize::gib(1)))));
    mac.iter().for_each(|mac| assert_eq!(mac.to_string().parse::<MacAddr>().as_ref().ok(), Some(mac)));
    let named = text.parse::<Operation>().is_ok() | text.parse::<Capability>().is_ok();
    let texts = size.is_ok() | mac.is_ok() | named | parse_duration(text).is_some();
    let specs = [
        is(text, |spec: VmSpec| drop((spec.validate(), spec.needs()))),
        is(text, |spec: CloneSpec| drop(spec.needs())),
        is(text, |change: VmChange| drop(change.needs())),
        is(text, |spec: NetworkSpec| drop(spec.validate())),
        is(text, |batch: BatchRequest| drop(batch.validate())),
    ];
    let infos = [
        is(text, |_: VmInfo| ()),
        is(text, |_: VmConfig| ()),
        is(text, |_: VmMetrics| ()),
        is(text, |_: MetricsHistory| ()),
        is(text, |_: HostInfo| ()),
        is(text, |_: PoolInfo| ()),
        is(text, |_: VolumeInfo| ()),
        is(text, |_: NetworkInfo| ()),
        is(text, |_: SnapshotInfo| ()),
        is(text, |_: SnapshotTree| ()),
        is(text, |_: BackupInfo| ()),
        is(text, |_: TaskInfo| ()),
        is(text, |_: Event| ()),
        is(text, |error: Error| drop(format!("{error} {error:?}"))),
        is(text, |_: Started<VmId>| ()),
        is(text, |_: Page<VmInfo>| ()),
        is(text, |_: Capabilities| ()),
        is(text, |_: BatchReport| ()),
    ];
    texts | specs.contains(&true) | infos.contains(&true)
}

/// What is read must also be written and read again.
fn is<T: Serialize + DeserializeOwned>(text: &str, also: impl Fn(T)) -> bool {
    let Ok(read) = serde_json::from_str::<T>(text) else { return false };
    let written = serde_json::to_string(&read).expect("it can be written");
    if let Err(error) = serde_json::from_str::<T>(&written) {
        panic!("{written} is not read again: {error}");
    }
    also(read);
    true
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    super::mutations::targets! { "core_": model }
}
