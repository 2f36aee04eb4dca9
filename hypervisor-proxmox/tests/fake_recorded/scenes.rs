//! The state in which each exchange was recorded, as far as its answer depends on it.

use std::time::Duration;

use hypervisor_proxmox::fake::{FakeGuest, FakePve, FakePveBuilder};

/// What is done before the exchange.
pub(crate) enum Step {
    /// A call with the token of everything.
    Call(&'static str, &'static str, &'static str),
    /// Another exchange of the corpus.
    Exchange(String),
    /// So many seconds pass.
    Wait(u64),
    /// Something that the API cannot do.
    With(fn(&FakePve)),
    /// A host goes away.
    Offline(&'static str),
}

use Step::{Call, Exchange, Offline, Wait, With};

/// The exchanges that are not replayed, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "gzip-large",
        "it is about the bytes on the line, which another library packs otherwise: see `networks`, `large_lists_are_packed_where_that_is_asked_for`",
    ),
    ("local-pvedaemon-hung", "thirty seconds of silence are a fault, not a state: see `faults`"),
    ("tfa-add-totp", "the fake takes second factors from its builder"),
    ("cluster2-migrate-log", "the migration failed because the recorded nodes had no ssh"),
    ("cluster2-migrate-task", "the migration failed because the recorded nodes had no ssh"),
    ("qemu-remove-disk", "the unplugging failed for reasons of that installation"),
    ("lxc-create-notemplate-task", "recorded while the task ran; the fake's end is tested elsewhere"),
    ("task-log-failed", "the machine's start failed for reasons of that installation"),
    ("tasks2", "the machine's start failed for reasons of that installation"),
    ("vzdump-lxc-joberrors-task", "the backup met a lock by chance; the text is that of `fake.rs`"),
    ("vzdump-lxc-locktimeout-log", "the backup met a lock by chance; the text is that of `fake.rs`"),
];

fn base() -> FakePveBuilder {
    let web = FakeGuest::vm(100)
        .name("web-01")
        .set("memory", "512")
        .set("cores", "1")
        .set("ostype", "l26")
        .set("scsihw", "virtio-scsi-single")
        .set("agent", "1")
        .set("tags", "a;b")
        .set("description", "hello=world; üni")
        .set("net0", "virtio,bridge=vmbr0")
        .set("scsi0", "local:1,format=qcow2");
    let db = FakeGuest::vm(101).name("db-01").set("memory", "256").set("cores", "2");
    FakePve::builder()
        .vm(web)
        .vm(db)
        .lock_wait(Duration::ZERO)
        .file("local:vztmpl/alpine-3.20-lab_20260101_amd64.tar.gz", "x")
        .file("local:iso/up.iso", vec![0; 100])
}

fn container() -> FakeGuest {
    FakeGuest::container(200)
        .name("ct1")
        .set("rootfs", "local:1")
        .set("memory", "128")
        .set("swap", "512")
        .set("ostype", "alpine")
        .set("net0", "name=eth0,bridge=vmbr0,ip=dhcp")
}

fn with_container() -> FakePveBuilder {
    base().vm(container())
}

fn pair() -> FakePveBuilder {
    base().hosts(2).vm(FakeGuest::vm(300).name("remote-vm").host("pve2").set("memory", "128").set("kvm", "0"))
}

const CONFIG_101: &str = "/nodes/pve1/qemu/101/config";
const CONFIG_171: &str = "/nodes/pve1/qemu/171/config";

/// What is there, and what has happened, before an exchange.
pub(crate) fn scene(name: &str) -> (FakePveBuilder, Vec<Step>) {
    if let Some(first) = name.strip_suffix("-task").or_else(|| name.strip_suffix("-log")) {
        let first = match first {
            "qemu-shutdown" => "qemu-shutdown-noagent-timeout",
            other => other,
        };
        if name != "cluster-log" && !name.starts_with("task-unknown") {
            let (builder, mut steps) = scene(first);
            steps.extend([Exchange(first.to_owned()), Wait(3_600)]);
            return (builder, steps);
        }
    }
    if name == "cluster2-task-remote" {
        let (builder, mut steps) = scene("cluster2-create-on-pve2");
        steps.extend([Exchange("cluster2-create-on-pve2".to_owned()), Wait(60)]);
        return (builder, steps);
    }
    let steps = steps(name);
    let builder = match name {
        "agent-ping-not-running" | "agent-exec-not-running" => base().vm(agent_guest().without_agent()),
        _ if name.starts_with("agent-") && name != "agent-enable" => base().vm(agent_guest()),
        "auth-ticket-login-ok" | "auth-ticket-renew" | "auth-cookie-get" => base(),
        "cluster2-create-existing-elsewhere" | "cluster2-wrong-node-config" | "cluster2-wrong-node-start" => {
            pair()
        }
        "cluster2-create-on-pve2" => base().hosts(2),
        "cluster2-migrate" | "cluster2-start-remote" | "cluster2-595-refused" => pair(),
        _ if name.starts_with("cluster2-") => base().hosts(2),
        _ if name.starts_with("offline-") => pair(),
        "quorum-back" | "noquorum-status" => base().hosts(2),
        _ if name.starts_with("noquorum-") => base().hosts(2),
        _ if name.starts_with("lxc-create") || name == "lxc-missing" => base(),
        "lxc-restore" | "backup-restore-corrupt" => with_container(),
        _ if name.starts_with("lxc-") || name.starts_with("vzdump-") || name.starts_with("backup-") => {
            with_container()
        }
        "background-delay" | "background-delay-disk" | "qemu-snapshot-vmstate-stopped" => base().vm(fresh()),
        _ if name.starts_with("cloudinit-") => base().vm(fresh()),
        "clone-from-snapshot-full" | "stale-resources" | "storage-content-backup" => with_container(),
        "cluster-tasks"
        | "qemu-shutdown-noagent-timeout"
        | "task-running"
        | "task-stopped-status"
        | "task-stop" => base().vm(deaf_web()),
        "killed-worker" | "overrule-stop" => base().vm(deaf_db()),
        "lockwait-config" | "lockwait-shutdown" | "qemu-filelock-timeout" => base().vm(deaf_db()),
        "qemu-reboot-running" => base().vm(deaf_web()),
        "qemu-config-linked" => base().vm(template()),
        _ if name.starts_with("template-") => base().vm(template()),
        "qemu-delete-running"
        | "qemu-resume"
        | "qemu-start-running"
        | "qemu-status-running"
        | "qemu-stop"
        | "qemu-stop2"
        | "qemu-suspend"
        | "rrddata-vm"
        | "spiceproxy"
        | "termproxy-noserial" => base().vm(running_web()),
        "qemu-config-current" | "qemu-config-put-hot" | "qemu-config-revert" | "qemu-pending" => {
            base().vm(running_web().set("kvm", "0").set("onboot", "1"))
        }
        "qemu-status-paused" => base().vm(running_web().paused()),
        "qemu-clone-locked"
        | "qemu-config-locked-async"
        | "qemu-delete-locked"
        | "qemu-snapshot-locked"
        | "qemu-start-locked" => base().vm(locked_db()),
        "qemu-status-locked" => base().vm(locked_db().set("agent", "1")),
        "qemu-delete" => base().vm(FakeGuest::vm(112)),
        "prunebackups-dry" => with_container(),
        "stale-create-resources" => with_container().staleness(Duration::from_secs(3_600)),
        "stale-current" => base().vm(FakeGuest::vm(170).name("fresh").set("memory", "128").running()),
        "stale-start" => base().vm(FakeGuest::vm(170).name("fresh").set("memory", "128")),
        "storage-enable" | "storage-create-dup" | "node-storage" | "node-storage-filter" => {
            base().storage("data", "dir", &["images", "backup", "vztmpl", "iso", "import"])
        }
        "user-create-dup"
        | "acl-add-user"
        | "users"
        | "token-create-alice"
        | "token-unexpire"
        | "token-perm-password"
        | "user-disabled"
        | "token-expired"
        | "perm-own" => alice(),
        _ if name.starts_with("perm-") || name == "extjs-403" => alice(),
        "tfa-list" | "tfa-login-bad" | "tfa-login-challenge" | "tfa-halfticket-use" => {
            alice().totp("alice@pve", "343153")
        }
        _ => base(),
    };
    (builder, steps)
}

fn alice() -> FakePveBuilder {
    base().user("alice@pve", "PASSWORD").api_token("alice@pve", "t1", "secret-of-alice", true)
}

fn running_web() -> FakeGuest {
    let web = FakeGuest::vm(100).name("web-01").set("memory", "512").set("cores", "1").set("ostype", "l26");
    web.set("scsihw", "virtio-scsi-single")
        .set("agent", "1")
        .set("tags", "a;b")
        .set("description", "hello=world; üni")
        .set("net0", "virtio,bridge=vmbr0")
        .set("scsi0", "local:1,format=qcow2")
        .running()
}

fn deaf_web() -> FakeGuest {
    running_web().deaf().without_agent()
}

fn deaf_db() -> FakeGuest {
    FakeGuest::vm(101).name("db-01").set("memory", "256").set("cores", "2").deaf().running()
}

fn locked_db() -> FakeGuest {
    FakeGuest::vm(101).name("db-01").set("memory", "256").set("cores", "2").locked("backup")
}

fn agent_guest() -> FakeGuest {
    running_web()
}

fn fresh() -> FakeGuest {
    FakeGuest::vm(171).name("fresh2").set("scsi0", "local:1")
}

fn template() -> FakeGuest {
    FakeGuest::vm(110)
        .name("clone-110")
        .set("memory", "512")
        .set("cores", "1")
        .set("ostype", "l26")
        .set("scsihw", "virtio-scsi-single")
        .set("agent", "1")
        .set("tags", "a;b")
        .set("kvm", "0")
        .set("onboot", "1")
        .set("protection", "0")
        .set("net0", "virtio,bridge=vmbr0")
        .set("net1", "e1000,bridge=vmbr0,firewall=1")
        .set("scsi0", "local:2,format=qcow2")
        .template()
}

fn steps(name: &str) -> Vec<Step> {
    match name {
        "agent-exec-status" => vec![
            Call(
                "POST",
                "/nodes/pve1/qemu/100/agent/exec",
                "command=sh&command=-c&command=echo%20hi%20%C3%BC%3B%20echo%20warn%20%3E%262%3B%20exit%203",
            ),
            Call("GET", "/nodes/pve1/qemu/100/agent/exec-status?pid=4242", ""),
        ],
        "agent-ping-vm-stopped" => vec![Call("PUT", CONFIG_101, "agent=1")],
        "backup-delete-protected" => vec![Exchange("vzdump-lxc".into()), Wait(60), With(protect)],
        "backup-get" => vec![Exchange("vzdump-lxc".into()), Wait(60), With(protect)],
        "backup-protect" | "vzdump-extractconfig" | "storage-content-backup" | "lxc-restore" => {
            vec![Exchange("vzdump-lxc".into()), Wait(60)]
        }
        "storage-content-backup-vmid" => {
            vec![Call("POST", "/nodes/pve1/vzdump", "vmid=100&storage=local&compress=zstd"), Wait(60)]
        }
        "backup-restore-corrupt" => vec![With(corrupt)],
        "bios-ovmf" => vec![],
        "cdrom-detach" => vec![Call("PUT", CONFIG_101, "ide2=none%2Cmedia%3Dcdrom")],
        "clone-from-snapshot-full" => {
            vec![Exchange("snapshot-create".into()), Wait(60)]
        }
        "cloudinit-config" | "cloudinit-dump" => vec![Call(
            "PUT",
            CONFIG_171,
            "ide2=local%3Acloudinit&ciuser=bob&cipassword=x&cores=2&ipconfig0=ip%3D10.0.0.5%2F24%2Cgw%3D10.0.0.1&sshkeys=ssh-ed25519%2520AAAAEXAMPLEKEY%2520bob%2540x",
        )],
        "cluster-log" => vec![Call("POST", "/nodes/pve1/qemu/101/status/start", "")],
        "cluster-tasks" => vec![
            Call("POST", "/nodes/pve1/qemu/101/status/start", ""),
            Wait(5),
            Call("POST", "/nodes/pve1/qemu/100/status/shutdown", "timeout=3600"),
        ],
        "cluster-resources-vm" | "stale-resources" => vec![],
        "cluster2-595-refused" => vec![With(|pve| pve.break_proxy("pve2", 595, "Connection refused"))],
        "offline-node-unreachable" | "offline-node-unreachable-post" => vec![Offline("pve2")],
        "offline-node-proxied" | "cluster2-remote" => {
            vec![Call("POST", "/nodes/pve2/qemu/300/status/start", ""), Wait(60)]
        }
        "offline-resources" => {
            vec![Call("POST", "/nodes/pve2/qemu/300/status/start", ""), Wait(60), Offline("pve2")]
        }
        "noquorum-status" => vec![With(|pve| pve.set_quorum(false)), Offline("pve2")],
        _ if name.starts_with("noquorum-") => vec![With(|pve| pve.set_quorum(false))],
        "enc-semicolon-check" => vec![Call("PUT", CONFIG_101, "agent=1&onboot=1&kvm=0&bios=ovmf")],
        "err-duplicate-param" | "err-nextid-taken" | "err-vm-exists" => vec![],
        "extjs-total" | "stale-tasks" | "tasks" | "tasks3" => {
            vec![Call("POST", "/nodes/pve1/qemu", "vmid=171"), Wait(60)]
        }
        "killed-worker" | "lockwait-shutdown" => vec![],
        "lockwait-config" | "qemu-filelock-timeout" | "overrule-stop" => {
            vec![Call("POST", "/nodes/pve1/qemu/101/status/shutdown", "timeout=3600")]
        }
        "node-storage" => vec![Call("PUT", "/storage/data", "disable=1")],
        "pool-add-vm" => vec![Exchange("pool-create".into())],
        "pool-delete-nonempty" | "pool-get" | "pool-get-new" | "pool-remove-vm" => {
            vec![Exchange("pool-create".into()), Exchange("pool-add-vm".into())]
        }
        "prunebackups-dry" => vec![
            Exchange("vzdump-lxc".into()),
            Wait(60),
            Call("POST", "/nodes/pve1/vzdump", "vmid=100&storage=local&compress=zstd"),
            Wait(60),
            Call("POST", "/nodes/pve1/vzdump", "vmid=100&storage=local&compress=zstd"),
            Wait(60),
        ],
        "qemu-config-current" | "qemu-pending" | "qemu-config-revert" => {
            vec![Exchange("qemu-config-put-hot".into())]
        }
        "qemu-config-linked" => {
            vec![Call("POST", "/nodes/pve1/qemu/110/clone", "newid=112"), Wait(60)]
        }
        "template-delete-with-clones" => {
            vec![Call("POST", "/nodes/pve1/qemu/110/clone", "newid=112"), Wait(60)]
        }
        "qemu-config-unused" | "qemu-unlink" => vec![
            Call(
                "PUT",
                "/nodes/pve1/qemu/100/config",
                "kvm=0&onboot=1&protection=0&net1=e1000%2Cbridge%3Dvmbr0%2Cfirewall%3D1&scsi1=local%3A1&delete=description",
            ),
            Call("PUT", "/nodes/pve1/qemu/100/config", "delete=scsi1"),
        ],
        "qemu-create-100" => vec![With(|pve| pve.remove_guest(100))],
        "qemu-create-101-noagent" => vec![With(|pve| pve.remove_guest(101))],
        "err-param-type-bool" | "err-param-unknown" | "err-storage-missing" => {
            vec![With(|pve| pve.remove_guest(101))]
        }
        "qemu-lock-config-root" | "qemu-lock-config" | "qemu-unlock" => vec![],
        "qemu-protection-off" => vec![Call("PUT", CONFIG_101, "protection=1")],
        "qemu-remove-disk2" => vec![Call("PUT", "/nodes/pve1/qemu/100/config", "scsi1=local%3A1")],
        "qemu-resize-shrink" => vec![Exchange("qemu-resize".into()), Wait(60)],
        "qemu-resume" => vec![Exchange("qemu-suspend".into()), Wait(60)],
        "qemu-start" => vec![],
        "race-create-1" | "race-create-2" => vec![Call("POST", "/nodes/pve1/qemu", "vmid=160&name=race3")],
        "snapshot-config" | "snapshot-create-dup" | "snapshot-list" | "snapshot-rollback" => vec![
            Call(
                "PUT",
                "/nodes/pve1/qemu/100/config",
                "kvm=0&onboot=1&protection=0&net1=e1000%2Cbridge%3Dvmbr0%2Cfirewall%3D1",
            ),
            Exchange("snapshot-create".into()),
            Wait(60),
        ],
        "stale-create-resources" => vec![
            Call("GET", "/cluster/resources?type=vm", ""),
            Call("POST", "/nodes/pve1/qemu", "vmid=171&name=late"),
        ],
        "storage-volume-get" | "storage-volume-get-enc" => vec![Exchange("storage-alloc".into())],
        "task-running" => vec![Exchange("qemu-shutdown-noagent-timeout".into())],
        "task-stop" => vec![Call("POST", "/nodes/pve1/qemu/100/status/shutdown", "timeout=3600")],
        "task-stopped-status" => vec![
            Call("POST", "/nodes/pve1/qemu/100/status/shutdown", "timeout=3600"),
            Exchange("task-stop".into()),
        ],
        "task-log-qmstart" => vec![Call("POST", "/nodes/pve1/qemu/100/status/start", ""), Wait(60)],
        _ if name.starts_with("tasklog-") || name == "warn-tasks-filter" => {
            vec![With(warn), Call("POST", "/nodes/pve1/qemu/101/status/start", ""), Wait(60)]
        }
        "warn-start" => vec![With(warn)],
        "users" => vec![Call("PUT", "/access/users/root@pam/token/test", "comment=lab")],
        "token-create-alice" => vec![Call("DELETE", "/access/users/alice@pve/token/t1", "")],
        "user-disabled" => vec![With(|pve| pve.set_user_enabled("alice@pve", false))],
        "token-expired" => vec![Call("PUT", "/access/users/alice@pve/token/t1", "expire=1000")],
        "perm-privsep-both" => vec![With(|pve| {
            pve.grant("alice@pve", "/vms/100", "PVEVMUser");
            pve.grant("alice@pve!t1", "/vms/100", "PVEVMUser");
        })],
        "upload-existing" => vec![Exchange("upload-iso".into()), Wait(60)],
        _ => Vec::new(),
    }
}

fn warn(pve: &FakePve) {
    pve.faults().on_task("qmstart").warn("no efidisk configured! Using temporary efivars disk.");
}

fn protect(pve: &FakePve) {
    for volid in pve.volumes("pve1", "local").iter().filter(|volid| volid.contains(":backup/")) {
        pve.set_protected("pve1", volid, true);
    }
}

fn corrupt(pve: &FakePve) {
    pve.put_file("pve1", "local:backup/vzdump-lxc-200-2026_11_20-02_00_01.tar.zst", "x");
}

/// What happens after an exchange that a following one looks at.
pub(crate) fn afterwards(name: &str, pve: &FakePve) {
    let newest = || pve.tasks().last().map(|task| task.upid.clone()).unwrap_or_default();
    match name {
        "killed-worker" => pve.kill_task(&newest()),
        "lockwait-shutdown" => {
            let upid = newest();
            pve.interrupt(&upid);
        }
        _ => {}
    }
}
