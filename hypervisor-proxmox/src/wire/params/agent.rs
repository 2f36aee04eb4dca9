//! The agent inside a virtual machine.

use super::Endpoint;
use super::build::{V9_1, array, get, integer, perm, perm_any, post, switch, text};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    post(
        "/nodes/{node}/qemu/{vmid}/agent/exec",
        perm("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]),
        &[&[array("command", &text("")).required(), text("input-data").longest(65536)]],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/exec-status",
        perm("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]),
        &[&[integer("pid").required()]],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/file-read",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.FileRead", "VM.GuestAgent.Unrestricted"]),
        &[&[
            integer("count").min(1).max(16777216).since(V9_1),
            switch("decode").since(V9_1),
            text("file").required(),
            integer("offset").min(0).since(V9_1),
        ]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/file-write",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.FileWrite", "VM.GuestAgent.Unrestricted"]),
        &[&[text("content").longest(61440).required(), switch("encode"), text("file").required()]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-freeze",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-status",
        perm_any(
            "/vms/{vmid}",
            &["VM.GuestAgent.Audit", "VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted"],
        ),
        &[],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/fsfreeze-thaw",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/fstrim",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-fsinfo",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-host-name",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-memory-block-info",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-memory-blocks",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-osinfo",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-time",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-timezone",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-users",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/get-vcpus",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/info",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/ping",
        perm_any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/set-user-password",
        perm("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]),
        &[&[
            switch("crypted"),
            text("password").shortest(5).longest(1024).required(),
            text("username").required(),
        ]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/agent/shutdown",
        perm_any("/vms/{vmid}", &["VM.PowerMgmt", "VM.GuestAgent.Unrestricted"]),
        &[],
    ),
];
