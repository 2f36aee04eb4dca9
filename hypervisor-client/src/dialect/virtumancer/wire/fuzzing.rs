//! Every decoder of the dialect, for [`crate::fuzzing`].

use std::time::SystemTime;

use hypervisor_core::http::decode;

use super::{
    ActivityPage, Attachment, Blame, DiscoveredVm, Hardware, HostFacts, HostLoad, HostRecord, Info, Listed,
    NetworkRow, Place, PoolRow, Said, ServerFrame, VmLoad, VmRow, VolumeRow, lenient,
};
use crate::fuzzing::again;

/// Answers of both generations.
pub(crate) fn answers(bytes: &[u8]) -> bool {
    let mut any = false;
    if let Ok(hosts) = decode::<Listed<HostRecord>>(bytes) {
        any = true;
        for host in &hosts.into_vec() {
            again(&host.to_info(None, true));
            again(&host.to_info(Some(&HostFacts::default()), host.is_connected().unwrap_or(true)));
            let _ = format!("{host:?}");
        }
    }
    any |= decode::<HostRecord>(bytes).is_ok() | decode::<Info>(bytes).is_ok();
    if let Ok(vms) = decode::<Listed<VmRow>>(bytes) {
        any = true;
        vms.into_vec().iter().for_each(|vm| again(&vm.to_info("h", None)));
    }
    if let Ok(vm) = decode::<VmRow>(bytes) {
        any = true;
        again(&vm.to_info("h", Some(true)));
    }
    if let Ok(hardware) = decode::<Hardware>(bytes) {
        any = true;
        hardware.disks.iter().for_each(|disk| again(&disk.to_info(0)));
        hardware.networks.iter().for_each(|nic| again(&nic.to_info("h", 0)));
    }
    if let Ok(load) = decode::<VmLoad>(bytes) {
        any = true;
        again(&load.to_metrics("h/a".into(), SystemTime::UNIX_EPOCH));
    }
    if let Ok(load) = decode::<HostLoad>(bytes) {
        any = true;
        again(&load.to_metrics("h".into(), SystemTime::UNIX_EPOCH));
    }
    for pool in decode::<Listed<PoolRow>>(bytes).into_iter().flat_map(Listed::into_vec) {
        again(&pool.to_info("h"));
    }
    let attachments = decode::<Listed<Attachment>>(bytes).map(Listed::into_vec).unwrap_or_default();
    for volume in decode::<Listed<VolumeRow>>(bytes).into_iter().flat_map(Listed::into_vec) {
        again(&volume.to_info(&Place::new("h", "p"), &attachments));
    }
    for network in decode::<Listed<NetworkRow>>(bytes).into_iter().flat_map(Listed::into_vec) {
        again(&network.to_info("h"));
    }
    any |= decode::<Listed<DiscoveredVm>>(bytes).is_ok() | decode::<ActivityPage>(bytes).is_ok();
    if let Some(said) = Said::read(bytes) {
        let _ = Blame::of(&said, 500);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (lenient::time(Some(text)), text.parse::<hypervisor_core::model::MacAddr>());
    }
    any
}

/// A frame of the WebSocket.
pub(crate) fn frame(text: &str) -> bool {
    match ServerFrame::parse(text) {
        Ok(ServerFrame::VmLoad { vm, load }) => {
            again(&load.to_metrics(format!("{vm}").as_str().into(), SystemTime::UNIX_EPOCH));
            true
        }
        Ok(ServerFrame::HostLoad { load, .. }) => {
            again(&load.to_metrics("h".into(), SystemTime::UNIX_EPOCH));
            true
        }
        read => read.is_ok(),
    }
}
