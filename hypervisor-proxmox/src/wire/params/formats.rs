//! The named formats, as far as they are simple. One that is not here takes any text.

use std::net::{Ipv4Addr, Ipv6Addr};

use hypervisor_core::model::MacAddr;

/// Checks a text against a named format.
///
/// # Errors
/// The server's words.
pub(super) fn check(format: &str, text: &str) -> Result<(), String> {
    if let Some(single) = format.strip_suffix("-list") {
        let mut items = text.split([',', ';', ' ', '\t', '\n', '\0']).filter(|item| !item.is_empty());
        return items.try_for_each(|item| check(single, item));
    }
    if let Some(present) = format.strip_suffix("-opt") {
        return if text.is_empty() { Ok(()) } else { check(present, text) };
    }
    let (good, why) = match format {
        "pve-vmid" => {
            (matches(r"[1-9][0-9]{2,8}", text), "value does not look like a valid VM ID".to_owned())
        }
        "pve-node" => (
            matches(r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?", text),
            "value does not look like a valid node name".to_owned(),
        ),
        "pve-configid" => {
            (matches(r"[a-zA-Z][a-zA-Z0-9_-]+", text), format!("invalid configuration ID '{text}'"))
        }
        "pve-storage-id" => (
            matches(r"[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]", text),
            format!("storage ID '{text}' contains illegal characters"),
        ),
        "pve-poolid" => (
            matches(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", text),
            format!("pool name '{text}' contains invalid characters"),
        ),
        "pve-tag" => (matches(r"(?i)[a-z0-9_][a-z0-9_+.-]*", text), "invalid characters in tag".to_owned()),
        "dns-name" => (
            matches(
                r"([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*",
                text,
            ),
            "value does not look like a valid DNS name".to_owned(),
        ),
        "urlencoded" => {
            (matches(r"[-%a-zA-Z0-9_.!~*'()]*", text), format!("invalid urlencoded string: {text}"))
        }
        "mac-addr" => (
            text.contains(':') && text.parse::<MacAddr>().is_ok(),
            "value does not look like a valid unicast MAC address".to_owned(),
        ),
        "disk-size" => {
            (matches(r"\d+(\.\d+)?[KMGT]?", text), "value does not look like a valid disk size".to_owned())
        }
        "pve-volume-id" => (is_volume(text), format!("unable to parse volume ID '{text}'")),
        "pve-volume-id-or-qm-path" | "pve-volume-id-or-absolute-path" => (
            matches!(text, "none" | "cdrom") || text.starts_with('/') || is_volume(text),
            format!("unable to parse volume ID '{text}'"),
        ),
        "pve-userid" => (
            matches(r"[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+", text),
            format!("value '{text}' does not look like a valid user name"),
        ),
        "ipv4" => {
            (text.parse::<Ipv4Addr>().is_ok(), "value does not look like a valid IPv4 address".to_owned())
        }
        "ipv6" => {
            (text.parse::<Ipv6Addr>().is_ok(), "value does not look like a valid IPv6 address".to_owned())
        }
        "pve-iface" => (
            matches(r"[a-zA-Z][a-zA-Z0-9_]{1,20}([:.]\d+)?", text),
            "invalid network interface name".to_owned(),
        ),
        "pve-sdn-vnet-id" => (
            matches(r"[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]", text) && text.len() <= 8,
            format!("vnet ID '{text}' contains illegal characters"),
        ),
        _ => (true, String::new()),
    };
    if good { Ok(()) } else { Err(why) }
}

fn is_volume(text: &str) -> bool {
    matches(r"[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]:.+", text)
}

/// Whether the whole text matches a pattern of the table.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let whole = regex_lite::Regex::new(&format!("^(?:{pattern})$"));
    whole.is_ok_and(|pattern| pattern.is_match(text))
}
