//! The decoders as functions of bytes, for the fuzz targets and for the tests that feed them with anything. Each says whether
//! the bytes were taken for what they should be; what is taken must also be written and read again.
#![allow(clippy::expect_used, reason = "a fuzzer finds what panics")]

use std::str::from_utf8;

use hypervisor_core::model::{ConsoleKind, VmChange};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::xml::{Element, capabilities, device, domain, guest, marks, network, snapshot, storage};

fn element(data: &[u8]) -> Option<Element> {
    let read = Element::parse(from_utf8(data).ok()?).ok()?;
    let written = read.to_string();
    assert_eq!(Element::parse(&written).as_ref(), Ok(&read), "what is written is read back: {written}");
    Some(read)
}

/// Definitions of guests.
pub fn domain_xml(data: &[u8]) -> bool {
    let Some(mut read) = element(data) else { return false };
    let _ = (device::disks(&read), device::nics(&read), marks::Marks::read(&read));
    for kind in [ConsoleKind::Vnc, ConsoleKind::Spice, ConsoleKind::Serial] {
        if let Some(access) = guest::console(&read, &kind) {
            again(&access);
        }
    }
    let config = guest::config(&read, guest::plain_disks(&read), false);
    if let Ok(config) = &config {
        again(config);
    }
    let found = marks::Marks::read(&read);
    found.write(&mut read);
    assert_eq!(marks::Marks::read(&read), found, "marks are read back");
    domain::apply(&mut read, &VmChange::new().cpus(2_u32));
    config.is_ok()
}

/// Definitions of volumes and pools.
pub fn volume_xml(data: &[u8]) -> bool {
    let Some(read) = element(data) else { return false };
    let (volume, pool) = (storage::volume_info("default", &read), storage::pool_info(&read, true, true));
    volume.iter().for_each(again);
    pool.iter().for_each(again);
    volume.is_ok() || pool.is_ok()
}

/// Definitions of networks.
pub fn network_xml(data: &[u8]) -> bool {
    let Some(read) = element(data) else { return false };
    let info = network::info(&read, true, true);
    info.iter().for_each(again);
    info.is_ok()
}

/// Definitions of snapshots, and capabilities.
pub fn other_xml(data: &[u8]) -> bool {
    let Some(read) = element(data) else { return false };
    let _ = (snapshot::is_external(&read), snapshot::memory_file(&read), snapshot::overlays(&read));
    let (host, domain) = (capabilities::host(&read), capabilities::domain(&read));
    let info = snapshot::info(&read, true);
    info.iter().for_each(again);
    info.is_ok()
        || host != capabilities::HostCapabilities::default()
        || domain != capabilities::DomainCapabilities::default()
}

/// What is read of a server must survive a gateway: it becomes JSON and is read again.
fn again<T: Serialize + DeserializeOwned>(found: &T) {
    let text = serde_json::to_string(found).expect("it can be written");
    let read: Result<T, _> = serde_json::from_str(&text);
    if let Err(error) = read {
        unreadable(&text, &error);
    }
}

#[allow(clippy::panic, reason = "a fuzzer finds what panics")]
fn unreadable(text: &str, error: &serde_json::Error) {
    panic!("{text} is not read again: {error}");
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    super::mutations::targets! { "libvirt_": domain_xml volume_xml network_xml other_xml }
}
