//! Every decoder of the dialect, for [`crate::fuzzing`].

use std::time::UNIX_EPOCH;

use hypervisor_core::http::decode;
use hypervisor_core::model::{
    BackupInfo, MetricsPeriod, NetworkInfo, PoolInfo, SnapshotInfo, TaskInfo, VmConfig, VmInfo, VmMetrics,
    VolumeInfo,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::backup::BackupRecord;
use super::envelope::{Envelope, Keyed, Listed, Native, key};
use super::job::JobRecord;
use super::metrics;
use super::network::NetworkRecord;
use super::own::{GatewayInfo, GeneratedCode, Health, Scan, Token, Webhook};
use super::pool::PoolRecord;
use super::snapshot::SnapshotRecord;
use super::vm::VmRecord;
use crate::fuzzing::again;

/// Answers of a documented gateway and of an extended one.
pub(crate) fn answers(bytes: &[u8]) -> bool {
    let vm = one(bytes, |vm: VmRecord| again(&vm.to_info()));
    let network = one(bytes, |network: NetworkRecord| again(&network.to_info()));
    let pool = one(bytes, |pool: PoolRecord| again(&pool.to_info()));
    let backup = one(bytes, |backup: BackupRecord| again(&backup.to_info()));
    let snapshot = one(bytes, |snapshot: SnapshotRecord| snapshot.to_info().iter().for_each(again));
    let job = one(bytes, |job: JobRecord| {
        again(&job.to_info());
        again(&job.log(1, 3));
    });
    let details = decode::<Envelope<Keyed<key::Vm, VmRecord>>>(bytes).ok().and_then(|envelope| envelope.data);
    if let Some(details) = &details {
        again(&details.0.to_info());
        again(&metrics::present(&details.0, UNIX_EPOCH));
    }
    if let Ok(value) = decode::<Value>(bytes) {
        again(&metrics::history(&value, MetricsPeriod::Hour));
    }
    let own = [
        is::<Health>(bytes),
        is::<GatewayInfo>(bytes),
        is::<Scan>(bytes),
        is::<Webhook>(bytes),
        is::<Token>(bytes),
        is::<GeneratedCode>(bytes),
        is::<Listed<Native<VmInfo>>>(bytes),
        is::<Listed<Native<TaskInfo>>>(bytes),
        is::<Listed<Native<NetworkInfo>>>(bytes),
        is::<Listed<Native<PoolInfo>>>(bytes),
        is::<Listed<Native<VolumeInfo>>>(bytes),
        is::<Listed<Native<BackupInfo>>>(bytes),
        is::<Listed<Native<SnapshotInfo>>>(bytes),
        is::<Keyed<key::Config, VmConfig>>(bytes),
        is::<Keyed<key::Metrics, VmMetrics>>(bytes),
    ];
    vm | network | pool | backup | snapshot | job | details.is_some() | own.contains(&true)
}

/// Whether it is one: bare, or in the envelope.
fn is<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    let bare = decode::<T>(bytes).is_ok();
    bare | decode::<Envelope<T>>(bytes).is_ok_and(|envelope| envelope.data.is_some())
}

/// A record by itself, and those of a list.
fn one<T: DeserializeOwned>(bytes: &[u8], each: impl Fn(T)) -> bool {
    let bare = decode::<T>(bytes);
    let listed = decode::<Envelope<Listed<T>>>(bytes).ok().and_then(|envelope| envelope.data);
    let any = bare.is_ok() | listed.is_some();
    bare.into_iter().chain(listed.into_iter().flat_map(|listed| listed.items)).for_each(each);
    any
}
