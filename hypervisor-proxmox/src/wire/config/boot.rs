//! What a guest boots from and by, its screen and its agent.

use hypervisor_core::model::{BootDevice, Firmware, GraphicsKind};

use super::Config;
use super::disk::{self, is_cdrom};
use crate::wire::property::{self, Properties};

/// What is tried, in this order.
pub(super) fn order(config: &Config) -> Vec<BootDevice> {
    let Some(boot) = config.properties("boot") else { return Vec::new() };
    let mut found: Vec<BootDevice> = Vec::new();
    let mut add = |device: BootDevice| {
        if !found.contains(&device) {
            found.push(device);
        }
    };
    if boot.get("order").is_some() {
        boot.list("order").filter_map(|slot| device_in(config, slot)).for_each(&mut add);
    } else {
        // Of releases before 6.2: `cdn` are the disk, the CD drive and the network.
        for letter in boot.get_or_bare("legacy").unwrap_or_default().chars() {
            match letter {
                'c' => add(BootDevice::Disk),
                'd' => add(BootDevice::Cdrom),
                'n' => add(BootDevice::Network),
                _ => {}
            }
        }
    }
    found
}

fn device_in(config: &Config, slot: &str) -> Option<BootDevice> {
    if slot.starts_with("net") {
        return Some(BootDevice::Network);
    }
    disk::split_slot(slot)?;
    let cdrom = config.properties(slot).is_some_and(|disk| is_cdrom(&disk));
    Some(if cdrom { BootDevice::Cdrom } else { BootDevice::Disk })
}

/// The order for a guest with these devices: slot and text of disks, and names of NICs. `None` where it has none of what is asked for.
pub(super) fn encode_order(
    order: &[BootDevice],
    disks: &[(String, String)],
    nics: &[String],
) -> Option<String> {
    let first_disk = |cdrom: bool| {
        let mut fitting = disks.iter().filter(|(_, text)| is_cdrom(&property::parse(text)) == cdrom);
        fitting.next().map(|(slot, _)| slot.clone())
    };
    let slots = order.iter().filter_map(|device| match device {
        BootDevice::Disk => first_disk(false),
        BootDevice::Cdrom => first_disk(true),
        BootDevice::Network => nics.first().cloned(),
        _ => None,
    });
    let slots: Vec<String> = slots.collect();
    (!slots.is_empty()).then(|| format!("order={}", slots.join(";")))
}

/// The firmware; `None` where the configuration leaves it to the server, which takes SeaBIOS.
pub(super) fn firmware(config: &Config) -> Option<Firmware> {
    match config.get("bios")? {
        "ovmf" => {
            let enrolled = config.properties("efidisk0").and_then(|disk| disk.flag("pre-enrolled-keys"));
            Some(if enrolled == Some(true) { Firmware::SecureBoot } else { Firmware::Uefi })
        }
        _ => Some(Firmware::Bios),
    }
}

/// The screen; `None` also where the configuration leaves it to the server, which gives every guest one for VNC.
pub(super) fn graphics(config: &Config) -> Option<GraphicsKind> {
    let vga = config.properties("vga")?;
    match vga.get_or_bare("type")? {
        "none" => None,
        kind if kind.starts_with("serial") => None,
        kind if kind.starts_with("qxl") => Some(GraphicsKind::Spice),
        _ => Some(GraphicsKind::Vnc),
    }
}

/// Whether the agent is switched on.
pub(super) fn agent(config: &Config) -> bool {
    let on = config
        .properties("agent")
        .and_then(|agent| crate::wire::scalar::Scalar::from_text(agent.get_or_bare("enabled")?));
    on.unwrap_or(false)
}

/// The agent's setting, its other properties kept.
pub(super) fn encode_agent(config: Option<&Config>, on: bool) -> String {
    let mut agent = config.and_then(|config| config.properties("agent")).unwrap_or_default();
    set_default(&mut agent, "enabled", if on { "1" } else { "0" });
    agent.to_string()
}

/// Sets the value that may stand without its key, in the form that it has.
pub(super) fn set_default(properties: &mut Properties, key: &str, value: &str) {
    if properties.get(key).is_some() {
        properties.set(key, value);
    } else {
        properties.set_bare(value);
    }
}
