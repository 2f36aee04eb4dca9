//! The configuration of a container.

use super::build::{V9_1, V9_2, integer, number, properties, switch, text, word};
use super::{Format, Param};

/// What a create and a change of the configuration take.
pub(super) const CT_CONFIG: &[Param] = &[
    word("arch", &["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"]),
    word("cmode", &["shell", "console", "tty"]),
    switch("console"),
    integer("cores").min(1).max(8192),
    number("cpulimit").min(0).max(8192),
    integer("cpuunits").min(0).max(500000),
    switch("debug"),
    text("description").longest(8192),
    properties("dev[n]", &DEV).each(256),
    text("entrypoint").pattern(r"(?:[^\x00-\x08\x10-\x1F\x7F]+)").since(V9_1),
    text("env")
        .pattern(r"(?:(?:\w+=[^\x00-\x08\x10-\x1F\x7F]*)(?:\x00\w+=[^\x00-\x08\x10-\x1F\x7F]*)*)")
        .since(V9_1),
    properties("features", &FEATURES),
    text("hookscript").format("pve-volume-id"),
    text("hostname").format("dns-name").longest(255),
    word(
        "lock",
        &[
            "backup",
            "create",
            "destroyed",
            "disk",
            "fstrim",
            "migrate",
            "mounted",
            "rollback",
            "snapshot",
            "snapshot-delete",
        ],
    ),
    integer("memory").min(16),
    properties("mp[n]", &MP).each(256),
    text("nameserver").format("lxc-ip-with-ll-iface-list"),
    properties("net[n]", &CT_NET).each(32),
    switch("onboot"),
    word(
        "ostype",
        &[
            "debian",
            "devuan",
            "ubuntu",
            "centos",
            "fedora",
            "opensuse",
            "archlinux",
            "alpine",
            "gentoo",
            "nixos",
            "unmanaged",
        ],
    ),
    switch("protection"),
    properties("rootfs", &ROOTFS),
    text("searchdomain").format("dns-name-list"),
    text("startup").format("pve-startup-order"),
    integer("swap").min(0),
    text("tags").format("pve-tag-list"),
    switch("template"),
    text("timezone").format("pve-ct-timezone"),
    integer("tty").min(0).max(6),
    switch("unprivileged"),
    properties("unused[n]", &CT_UNUSED).each(256),
];

/// What the root volume and mount points have.
const VOLUME: &[Param] = &[switch("acl"), text("idmap").pattern(r"(?:^(?:passthrough|[ug]:[0-9]+:[0-9]+:[1-9][0-9]*(?:;[ug]:[0-9]+:[0-9]+:[1-9][0-9]*)*)$)").since(V9_2), text("mountoptions").pattern(r"(?:(?:(discard|lazytime|noatime|nodev|noexec|nosuid))(;(?:(discard|lazytime|noatime|nodev|noexec|nosuid)))*)"), switch("quota"), switch("replicate"), switch("ro"), switch("shared"), text("size").format("disk-size"), text("volume").format("pve-lxc-mp-string").default_key().required()];

/// `dev`.
pub(super) const DEV: Format = Format(&[&[
    switch("deny-write"),
    integer("gid").min(0),
    text("mode").pattern(r"0[0-7]{3}"),
    text("path").format("pve-lxc-dev-string").default_key(),
    integer("uid").min(0),
]]);

/// `features`.
pub(super) const FEATURES: Format = Format(&[&[
    switch("force_rw_sys"),
    switch("fuse"),
    switch("keyctl"),
    switch("mknod"),
    text("mount").pattern(r"(?:[a-zA-Z0-9_; ]+)"),
    switch("nesting"),
]]);

/// `mp`.
pub(super) const MP: Format = Format(&[
    &[switch("backup"), switch("keepattrs").since(V9_1), text("mp").format("pve-lxc-mp-string").required()],
    VOLUME,
]);

/// `net`.
pub(super) const CT_NET: Format = Format(&[&[
    text("bridge").pattern(r"[-_.\w\d]+"),
    switch("firewall"),
    text("gw").format("ipv4"),
    text("gw6").format("ipv6"),
    switch("host-managed").since(V9_1),
    text("hwaddr").format("mac-addr"),
    text("ip").format("pve-ipv4-config"),
    text("ip6").format("pve-ipv6-config"),
    switch("link_down"),
    integer("mtu").min(64).max(65535),
    text("name").pattern(r"[-_.\w\d]+").required(),
    number("rate"),
    integer("tag").min(1).max(4094),
    text("trunks").pattern(r"(?:\d+(?:;\d+)*)"),
    word("type", &["veth"]),
]]);

/// `rootfs`.
pub(super) const ROOTFS: Format = Format(&[VOLUME]);

/// `unused`.
pub(super) const CT_UNUSED: Format =
    Format(&[&[text("volume").format("pve-volume-id").default_key().required()]]);
