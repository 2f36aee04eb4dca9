//! The property strings in the configuration of a virtual machine.

use super::build::{V8_4, V9_1, alias, integer, number, switch, text, word};
use super::{Format, Param};

/// What disks on every bus have.
const DISK: &[Param] = &[
    word("aio", &["native", "threads", "io_uring"]),
    switch("backup"),
    integer("bps"),
    integer("bps_max_length").min(1),
    integer("bps_rd"),
    alias("bps_rd_length", "bps_rd_max_length"),
    integer("bps_rd_max_length").min(1),
    integer("bps_wr"),
    alias("bps_wr_length", "bps_wr_max_length"),
    integer("bps_wr_max_length").min(1),
    word("cache", &["none", "writethrough", "writeback", "unsafe", "directsync"]),
    integer("cyls").until(V8_4),
    switch("detect_zeroes"),
    word("discard", &["ignore", "on"]),
    text("file").format("pve-volume-id-or-qm-path").default_key().required(),
    word("format", &["raw", "qcow", "qed", "qcow2", "vmdk", "cloop"]),
    integer("heads").until(V8_4),
    text("import-from").format("pve-volume-id-or-absolute-path"),
    integer("iops"),
    integer("iops_max"),
    integer("iops_max_length").min(1),
    integer("iops_rd"),
    alias("iops_rd_length", "iops_rd_max_length"),
    integer("iops_rd_max"),
    integer("iops_rd_max_length").min(1),
    integer("iops_wr"),
    alias("iops_wr_length", "iops_wr_max_length"),
    integer("iops_wr_max"),
    integer("iops_wr_max_length").min(1),
    number("mbps"),
    number("mbps_max"),
    number("mbps_rd"),
    number("mbps_rd_max"),
    number("mbps_wr"),
    number("mbps_wr_max"),
    word("media", &["cdrom", "disk"]),
    switch("replicate"),
    word("rerror", &["ignore", "report", "stop"]),
    integer("secs").until(V8_4),
    text("serial").format("urlencoded").longest(60),
    switch("shared"),
    text("size").format("disk-size"),
    switch("snapshot"),
    word("trans", &["none", "lba", "auto"]).until(V8_4),
    alias("volume", "file"),
    word("werror", &["enospc", "ignore", "report", "stop"]),
];

/// `agent`.
pub(super) const AGENT: Format = Format(&[&[
    switch("enabled").default_key().required(),
    switch("freeze-fs").since(V9_1),
    alias("freeze-fs-on-backup", "freeze-fs"),
    switch("fstrim_cloned_disks"),
    alias("guest-fsfreeze", "freeze-fs").since(V9_1),
    word("type", &["virtio", "isa"]),
]]);

/// `audio0`.
pub(super) const AUDIO0: Format = Format(&[&[
    word("device", &["ich9-intel-hda", "intel-hda", "AC97"]).required(),
    word("driver", &["spice", "none"]),
]]);

/// `efidisk0`.
pub(super) const EFIDISK0: Format = Format(&[&[
    word("efitype", &["2m", "4m"]),
    text("file").format("pve-volume-id-or-qm-path").default_key().required(),
    word("format", &["raw", "qcow", "qed", "qcow2", "vmdk", "cloop"]),
    text("import-from").format("pve-volume-id-or-absolute-path"),
    word("ms-cert", &["2011", "2023", "2023w", "2023k"]).since(V9_1),
    switch("pre-enrolled-keys"),
    text("size").format("disk-size"),
    alias("volume", "file"),
]]);

/// `ide`.
pub(super) const IDE: Format = Format(&[
    &[
        text("model").format("urlencoded").longest(120),
        switch("ssd"),
        text("wwn").pattern(r"(?:^(0x)[0-9a-fA-F]{16})"),
    ],
    DISK,
]);

/// `sata`.
pub(super) const SATA: Format =
    Format(&[&[switch("ssd"), text("wwn").pattern(r"(?:^(0x)[0-9a-fA-F]{16})")], DISK]);

/// `scsi`.
pub(super) const SCSI: Format = Format(&[
    &[
        switch("iothread"),
        text("product").pattern(r"[A-Za-z0-9\-_\s]{0,16}"),
        integer("queues").min(2),
        switch("ro"),
        switch("scsiblock"),
        switch("ssd"),
        text("vendor").pattern(r"[A-Za-z0-9\-_\s]{0,8}"),
        text("wwn").pattern(r"(?:^(0x)[0-9a-fA-F]{16})"),
    ],
    DISK,
]);

/// `virtio`.
pub(super) const VIRTIO: Format = Format(&[&[switch("iothread"), switch("ro")], DISK]);

/// `ivshmem`.
pub(super) const IVSHMEM: Format =
    Format(&[&[text("name").pattern(r"[a-zA-Z0-9\-]+"), integer("size").min(1).required()]]);

/// `machine`.
pub(super) const MACHINE: Format = Format(&[&[number("aw-bits").min(32).max(64).since(V9_1), switch("enable-s3"), switch("enable-s4"), text("type").longest(40).pattern(r"(pc|pc(-i440fx)?-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|q35|pc-q35-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|virt(?:-\d+(\.\d+)+)?(\+pve\d+)?)").default_key(), word("viommu", &["intel", "virtio"])]]);

/// `memory`.
pub(super) const MEMORY: Format = Format(&[&[integer("current").min(16).default_key().required()]]);

/// `net`.
pub(super) const NET: Format = Format(&[&[
    text("bridge").format("pve-bridge-id"),
    alias("e1000", "macaddr").key_alias("model"),
    alias("e1000-82540em", "macaddr").key_alias("model"),
    alias("e1000-82544gc", "macaddr").key_alias("model"),
    alias("e1000-82545em", "macaddr").key_alias("model"),
    alias("e1000e", "macaddr").key_alias("model"),
    switch("firewall"),
    alias("i82551", "macaddr").key_alias("model"),
    alias("i82557b", "macaddr").key_alias("model"),
    alias("i82559er", "macaddr").key_alias("model"),
    switch("link_down"),
    text("macaddr").format("mac-addr"),
    word(
        "model",
        &[
            "e1000",
            "e1000-82540em",
            "e1000-82544gc",
            "e1000-82545em",
            "e1000e",
            "i82551",
            "i82557b",
            "i82559er",
            "ne2k_isa",
            "ne2k_pci",
            "pcnet",
            "rtl8139",
            "virtio",
            "vmxnet3",
        ],
    )
    .default_key()
    .required(),
    integer("mtu").min(1).max(65520),
    alias("ne2k_isa", "macaddr").key_alias("model"),
    alias("ne2k_pci", "macaddr").key_alias("model"),
    alias("pcnet", "macaddr").key_alias("model"),
    integer("queues").min(0).max(64),
    number("rate").min(0),
    alias("rtl8139", "macaddr").key_alias("model"),
    integer("tag").min(1).max(4094),
    text("trunks").pattern(r"(?:\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*)"),
    alias("virtio", "macaddr").key_alias("model"),
    alias("vmxnet3", "macaddr").key_alias("model"),
]]);

/// `numa`.
pub(super) const NUMA: Format = Format(&[&[
    text("cpus").pattern(r"(?:\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*)").required(),
    text("hostnodes").pattern(r"(?:\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*)"),
    number("memory"),
    word("policy", &["preferred", "bind", "interleave"]),
]]);

/// `spice_enhancements`.
pub(super) const SPICE_ENHANCEMENTS: Format =
    Format(&[&[switch("foldersharing"), word("videostreaming", &["off", "all", "filter"])]]);

/// `tpmstate0`.
pub(super) const TPMSTATE0: Format = Format(&[&[
    text("file").format("pve-volume-id-or-qm-path").default_key().required(),
    word("format", &["raw", "qcow2", "vmdk"]).since(V9_1),
    text("import-from").format("pve-volume-id-or-absolute-path"),
    text("size").format("disk-size"),
    word("version", &["v1.2", "v2.0"]),
    alias("volume", "file"),
]]);

/// `unused`.
pub(super) const UNUSED: Format =
    Format(&[&[text("file").format("pve-volume-id").default_key().required(), alias("volume", "file")]]);

/// `usb`.
pub(super) const USB: Format = Format(&[&[text("host").pattern(r"(?:(?:(?:(?:(0x)?([0-9A-Fa-f]{4}):(0x)?([0-9A-Fa-f]{4})))|(?:(?:(\d+)\-(\d+(\.\d+)*)))|[Ss][Pp][Ii][Cc][Ee]))").default_key(), text("mapping").format("pve-configid"), switch("usb3")]]);

/// `vga`.
pub(super) const VGA: Format = Format(&[&[
    word("clipboard", &["vnc"]),
    integer("memory").min(4).max(512),
    word(
        "type",
        &[
            "cirrus",
            "qxl",
            "qxl2",
            "qxl3",
            "qxl4",
            "none",
            "serial0",
            "serial1",
            "serial2",
            "serial3",
            "std",
            "virtio",
            "virtio-gl",
            "vmware",
        ],
    )
    .default_key(),
]]);

/// `virtiofs`.
pub(super) const VIRTIOFS: Format = Format(&[&[
    word("cache", &["auto", "always", "metadata", "never"]),
    switch("direct-io"),
    text("dirid").format("pve-configid").default_key().required(),
    switch("expose-acl"),
    switch("expose-xattr"),
]]);
