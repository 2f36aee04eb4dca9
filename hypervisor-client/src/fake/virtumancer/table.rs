//! Which routes each generation has.

/// Methods and paths of the document.
pub(super) const DOCUMENTED: &[(&str, &str)] = &[
    ("GET", "hosts"),
    ("POST", "hosts"),
    ("DELETE", "hosts/*"),
    ("GET", "hosts/*/info"),
    ("GET", "hosts/*/vms"),
    ("GET", "hosts/*/vms/*/hardware"),
    ("POST", "hosts/*/vms/*/action"),
];

/// Of the early generation.
pub(super) const EARLY: &[(&str, &str)] = &[
    ("GET", "health"),
    ("GET", "hosts"),
    ("POST", "hosts"),
    ("DELETE", "hosts/*"),
    ("GET", "hosts/*/info"),
    ("GET", "hosts/*/vms"),
    ("GET", "hosts/*/vms/*/hardware"),
    ("GET", "hosts/*/vms/*/stats"),
    ("POST", "hosts/*/vms/*/start"),
    ("POST", "hosts/*/vms/*/shutdown"),
    ("POST", "hosts/*/vms/*/reboot"),
    ("POST", "hosts/*/vms/*/forceoff"),
    ("POST", "hosts/*/vms/*/forcereset"),
    ("GET", "hosts/*/vms/*/console"),
    ("GET", "hosts/*/vms/*/spice"),
];

/// What the current generation has beyond that.
pub(super) const CURRENT: &[(&str, &str)] = &[
    ("PATCH", "hosts/*"),
    ("POST", "hosts/*/connect"),
    ("POST", "hosts/*/disconnect"),
    ("GET", "hosts/*/stats"),
    ("GET", "hosts/*/capabilities"),
    ("POST", "hosts/*/capabilities/refresh"),
    ("POST", "hosts/*/vms"),
    ("GET", "discovered-vms"),
    ("POST", "discovered-vms/refresh"),
    ("GET", "hosts/*/discovered-vms"),
    ("DELETE", "hosts/*/discovered-vms"),
    ("POST", "hosts/*/vms/*/import"),
    ("POST", "hosts/*/vms/import-all"),
    ("POST", "hosts/*/vms/import-selected"),
    ("POST", "hosts/*/vms/*/sync-from-libvirt"),
    ("POST", "hosts/*/vms/*/rebuild-from-db"),
    ("PUT", "hosts/*/vms/*/state"),
    ("GET", "hosts/*/vms/*/hardware/extended"),
    ("GET", "storage/pools"),
    ("GET", "hosts/*/storage/pools"),
    ("GET", "storage/volumes"),
    ("GET", "hosts/*/storage/volumes"),
    ("DELETE", "storage/volumes/*"),
    ("GET", "storage/disk-attachments"),
    ("GET", "networks"),
    ("GET", "hosts/*/networks"),
    ("GET", "dashboard/stats"),
    ("GET", "dashboard/activity"),
    ("GET", "dashboard/overview"),
    ("GET", "settings/metrics"),
    ("PUT", "settings/metrics"),
    ("GET", "settings/metrics/runtime"),
    ("GET", "ports"),
    ("GET", "hosts/*/ports"),
    ("GET", "port-attachments"),
    ("GET", "hosts/*/vms/*/port-attachments"),
    ("GET", "video/models"),
    ("GET", "hosts/*/video/devices"),
    ("GET", "hosts/*/vms/*/video-attachments"),
];

pub(super) fn fits(pattern: &str, parts: &[&str]) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    pattern.len() == parts.len()
        && pattern.iter().zip(parts).all(|(wanted, part)| *wanted == "*" || wanted == part)
}
