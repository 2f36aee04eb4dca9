//! The decoders as functions of bytes, for the fuzz targets and for the tests that feed them with anything. Each says whether
//! the bytes were taken for what they should be; what is taken must also be written and read again.
#![allow(clippy::expect_used, reason = "a fuzzer finds what panics")]

use std::fmt::Debug;
use std::str::from_utf8;
use std::time::SystemTime;

use hypervisor_core::Result;
use hypervisor_core::model::{GuestKind, VmInfo, VmState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Upid;
use crate::wire::config::{self, Config};
use crate::wire::{
    agent, backup, cluster, envelope, error, form, marks, network, node, pool, property, resources, rrd,
    snapshot, status, storage, task,
};

/// Property strings, and what the keys of a configuration make of them.
pub fn property(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else { return false };
    let read = property::parse(text);
    assert_eq!(property::parse(&read.to_string()), read, "what is written is read back");
    for kind in [GuestKind::Vm, GuestKind::Container] {
        let keys = [
            "scsi0",
            "virtio1",
            "ide2",
            "sata0",
            "efidisk0",
            "tpmstate0",
            "unused0",
            "rootfs",
            "mp0",
            "net0",
            "boot",
            "bootdisk",
            "agent",
            "smbios1",
            "vga",
            "cpu",
            "ipconfig0",
            "startup",
            "tags",
            "description",
            "meta",
            "serial0",
            "memory",
            "cores",
            "sockets",
            "ostype",
            "name",
            "hostname",
            "features",
            "sshkeys",
            "cicustom",
            "lock",
            "args",
            "onboot",
        ];
        let all: Map<String, Value> = keys.into_iter().map(|key| (key.to_owned(), text.into())).collect();
        configuration(Config::of(all, kind));
    }
    let (tags, token) = marks::read_tags(100, text);
    let written = marks::write_tags(100, &tags, token.as_deref());
    assert_eq!(marks::read_tags(100, &written), (tags, token), "tags are read back");
    let (description, metadata) = marks::read_notes(text);
    if let Ok(written) = marks::write_notes(description.as_deref(), &metadata) {
        assert_eq!(marks::read_notes(&written).1, metadata, "metadata is read back");
    }
    !read.is_empty()
}

fn configuration(read: Config) {
    let found = config::decode(&"100".into(), &read);
    again(&found);
    let mut info = VmInfo::new("100", "", VmState::Stopped).kind(read.kind);
    config::fill_in(&mut info, &read);
    again(&info);
    let _ = read.native();
}

/// Ids of tasks.
pub fn upid(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else { return false };
    let Ok(read) = text.parse::<Upid>() else { return false };
    assert_eq!(read.to_string(), text);
    let _ = (read.started(), read.owner(), read.vm(), read.operation(), read.task_id());
    let subject = read.subject().unwrap_or_default();
    let made =
        Upid::new(read.node(), read.pid(), read.process_start(), 7, read.kind(), &subject, &read.owner());
    if let Ok(made) = made {
        assert_eq!((made.node(), made.kind(), made.user()), (read.node(), read.kind(), read.user()));
    }
    true
}

/// Answers of the API.
pub fn answers(data: &[u8]) -> bool {
    let mut any = false;
    any |= each(cluster::cluster(data).map(|one| vec![one]));
    any |= each(node::hosts(data));
    any |= each(node::host(data, "pve1").map(|one| vec![one]));
    any |= each(node::metrics(data, "pve1", SystemTime::UNIX_EPOCH).map(|one| vec![one]));
    any |= each(network::bridges(data, "pve1"));
    any |= each(network::interface(data, "vmbr0", "pve1").map(|one| one.into_iter().collect()));
    any |= each(network::vnets(data));
    any |= each(pool::groups(data));
    any |= each(pool::group(data, "dev").map(|one| one.into_iter().collect()));
    any |= each(backup::backups(data));
    any |= each(rrd::history(data).map(|one| vec![one]));
    any |= each(storage::pools(data, Some("pve1")));
    any |= each(storage::volumes(data));
    any |= each(storage::volume(data, "local:iso/a.iso").map(|one| one.into_iter().collect()));
    any |= each(snapshot::snapshots(data));
    any |= each(task::task(data).map(|one| vec![one]));
    any |= each(task::tasks(data).map(|(all, _)| all));
    any |= each(task::log(data, 0, true).map(|one| vec![one]));
    for kind in [GuestKind::Vm, GuestKind::Container] {
        any |= each(status::guests(data, kind, "pve1"));
        any |= each(status::guest(data, kind, "pve1").map(|one| vec![one]));
        any |= each(config::decode_pending(data, kind));
        if let Ok(read) = Config::read(data, kind) {
            configuration(read);
            any = true;
        }
    }
    if let Ok(inventory) = resources::inventory(data) {
        let _ = resources::places(&inventory);
        any = true;
    }
    any |= agent::result(data).is_ok()
        | agent::started(data).is_ok()
        | agent::output(data).is_ok()
        | agent::file(data).is_ok();
    any |= each(agent::addresses(data));
    any |= backup::marks(data).is_ok() | envelope::id(data).is_ok() | envelope::value(data).is_ok();
    any
}

/// Refusals: the status line's phrase, and the body.
pub fn refusals(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let (phrase, body) = text.split_once('\n').unwrap_or((&text, ""));
    for status in [200, 400, 401, 403, 404, 500, 501, 595, 596] {
        let reply = error::Reply::new(status, phrase, body.as_bytes());
        let _ = error::is_refusal(&reply);
        again_error(&error::classify(&reply));
    }
    again_error(&error::task_failure(&text));
    let _ = (error::meaning(&text), form::decoded_text(&text), status::tags(&text));
    assert_eq!(form::decoded_text(&form::encoded_text(&text)), text);
    !text.is_empty()
}

fn each<T: Serialize + DeserializeOwned + Debug>(found: Result<Vec<T>>) -> bool {
    found.iter().flatten().for_each(again);
    found.is_ok()
}

/// What is read of a server must survive a gateway: it becomes JSON and is read again.
fn again<T: Serialize + DeserializeOwned + Debug>(found: &T) {
    let text = serde_json::to_string(found).expect("it can be written");
    let read: std::result::Result<T, _> = serde_json::from_str(&text);
    read.expect("it can be read again");
}

fn again_error(error: &hypervisor_core::Error) {
    let text = serde_json::to_string(error).expect("it can be written");
    let read: hypervisor_core::Error = serde_json::from_str(&text).expect("it can be read again");
    assert_eq!((read.kind(), read.retry(), read.effect()), (error.kind(), error.retry(), error.effect()));
}

#[cfg(test)]
#[path = "../../fuzz/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    super::mutations::targets! { "proxmox_": property upid answers refusals }
}
