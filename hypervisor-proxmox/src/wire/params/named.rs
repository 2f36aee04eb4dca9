//! Property strings that the schema knows by a name only: their keys, as its own texts show them.

use super::Format;
use super::build::{integer, switch, text, word};

/// The keys of a named format; `None` where it is no property string or not known here.
#[must_use]
pub fn named(format: &str) -> Option<&'static Format> {
    Some(match format {
        "pve-qm-boot" => &BOOT,
        "pve-qm-cicustom" => &CICUSTOM,
        "pve-vm-cpu-conf" => &CPU,
        "pve-qm-hostpci" => &HOSTPCI,
        "pve-qm-ipconfig" => &IPCONFIG,
        "pve-qm-rng" => &RNG,
        "pve-qm-smbios1" => &SMBIOS1,
        "pve-startup-order" => &STARTUP,
        "pve-qm-watchdog" => &WATCHDOG,
        "backup-fleecing" => &FLEECING,
        "backup-performance" => &PERFORMANCE,
        "prune-backups" => &PRUNE,
        _ => return None,
    })
}

const BOOT: Format = Format(&[&[text("legacy").pattern("[acdn]{1,4}").default_key(), text("order")]]);

const CICUSTOM: Format = Format(&[&[
    text("meta").format("pve-volume-id"),
    text("network").format("pve-volume-id"),
    text("user").format("pve-volume-id"),
    text("vendor").format("pve-volume-id"),
]]);

const CPU: Format = Format(&[&[
    text("cputype").default_key(),
    text("flags").pattern(r"[+-][a-zA-Z0-9._-]+(;[+-][a-zA-Z0-9._-]+)*"),
    integer("guest-phys-bits"),
    switch("hidden"),
    text("hv-vendor-id"),
    text("phys-bits"),
    text("reported-model"),
]]);

const HOSTPCI: Format = Format(&[&[
    text("host").default_key(),
    text("device-id"),
    word("driver", &["vfio", "keep"]),
    switch("legacy-igd"),
    text("mapping").format("pve-configid"),
    text("mdev"),
    switch("pcie"),
    switch("rombar"),
    text("romfile"),
    text("sub-device-id"),
    text("sub-vendor-id"),
    text("vendor-id"),
    switch("x-vga"),
]]);

const IPCONFIG: Format = Format(&[&[
    text("gw").format("ipv4"),
    text("gw6").format("ipv6"),
    text("ip").format("pve-ipv4-config"),
    text("ip6").format("pve-ipv6-config"),
]]);

const RNG: Format = Format(&[&[
    word("source", &["/dev/urandom", "/dev/random", "/dev/hwrng"]).default_key(),
    integer("max_bytes"),
    integer("period"),
]]);

const SMBIOS1: Format = Format(&[&[
    switch("base64"),
    text("family"),
    text("manufacturer"),
    text("product"),
    text("serial"),
    text("sku"),
    text("uuid").pattern(r"[a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}"),
    text("version"),
]]);

const STARTUP: Format = Format(&[&[
    text("order").pattern(r"\d+").default_key(),
    text("up").pattern(r"\d+"),
    text("down").pattern(r"\d+"),
]]);

const WATCHDOG: Format = Format(&[&[word("model", &["i6300esb", "ib700"]).default_key(), text("action")]]);

const FLEECING: Format =
    Format(&[&[switch("enabled").default_key(), text("storage").format("pve-storage-id")]]);

const PERFORMANCE: Format = Format(&[&[integer("max-workers"), integer("pbs-entries-max")]]);

const PRUNE: Format = Format(&[&[
    switch("keep-all"),
    integer("keep-daily"),
    integer("keep-hourly"),
    integer("keep-last"),
    integer("keep-monthly"),
    integer("keep-weekly"),
    integer("keep-yearly"),
]]);
