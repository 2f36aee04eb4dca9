//! One test for each row of the tables of the API reference for MCP tools, named after the tool: method, path and parameters, and what
//! comes back of the document's own example as well as of a real server's answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use hypervisor_core::model::{
    BackupQuery, ByteSize, CloneSpec, DeleteSnapshot, DeleteVm, GroupId, GroupSpec, GuestKind, HostId,
    HostState, MigrateSpec, PageRequest, PoolQuery, PowerAction, RevertSnapshot, Shutdown, SnapshotSpec,
    TaskQuery, TaskState, VmChange, VmId, VmQuery, VmSpec, VmState,
};
use hypervisor_core::traits::{Backups as _, Compute as _, Snapshots as _, Storage as _, Tasks as _};
use hypervisor_proxmox::{Proxmox, ProxmoxConfig, Resources};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const UPID: &str = "UPID:pve1:000002F8:000366E4:6B008C01:qmstart:100:root@pam!lab:";

/// What the document shows of `/nodes/{node}/qemu`.
fn documented_vms() -> Value {
    json!([{"vmid": 100, "name": "webserver", "status": "running", "mem": 4294967296_u64, "maxmem": 8589934592_u64,
        "cpu": 0.05, "maxcpu": 4, "uptime": 86400}])
}

/// What the document shows of `status/current`.
fn documented_vm() -> Value {
    json!({"vmid": 100, "name": "webserver", "status": "running", "qmpstatus": "running", "cpu": 0.0523,
        "mem": 2147483648_u64, "maxmem": 8589934592_u64, "disk": 0, "maxdisk": 34359738368_u64, "uptime": 86400,
        "cpus": 4, "netin": 123456789, "netout": 987654321})
}

fn stopped(vmid: u32) -> Value {
    json!({"data": {"vmid": vmid, "name": "webserver", "status": "stopped", "qmpstatus": "stopped", "cpus": 4,
        "maxmem": 8589934592_u64, "ha": {"managed": 0}}})
}

fn running(vmid: u32) -> Value {
    json!({"data": {"vmid": vmid, "name": "webserver", "status": "running", "qmpstatus": "running", "cpus": 4,
        "maxmem": 8589934592_u64, "uptime": 86400, "pid": 785, "agent": 1}})
}

fn config() -> Value {
    json!({"data": {"name": "webserver", "memory": "8192", "cores": 4, "agent": "1", "ostype": "l26",
        "net0": "virtio=BC:24:11:81:50:D5,bridge=vmbr0", "scsi0": "local:100/vm-100-disk-0.qcow2,size=32G",
        "smbios1": "uuid=11111111-2222-3333-4444-555555555555", "boot": "order=scsi0;net0",
        "digest": "0dd14319ebb28ff4cd1157fe07b74f9cc4b8d4be"}})
}

fn task() -> Value {
    json!({ "data": UPID })
}

fn cluster() -> Value {
    json!({"data": [
        {"type": "node", "id": "node/pve1", "node": "pve1", "status": "online", "maxcpu": 8, "maxmem": 16000000000_u64, "mem": 1},
        {"type": "qemu", "id": "qemu/100", "vmid": 100, "node": "pve1", "status": "running", "name": "webserver", "maxcpu": 4},
        {"type": "lxc", "id": "lxc/200", "vmid": 200, "node": "pve1", "status": "stopped", "name": "ct1"},
        {"type": "storage", "id": "storage/pve1/local", "storage": "local", "node": "pve1", "status": "available",
            "plugintype": "dir", "content": "images,iso,backup", "maxdisk": 100, "disk": 10},
    ]})
}

/// A server that answers these calls, and the connection to it.
struct Bench {
    server: MockServer,
    proxmox: Proxmox,
}

/// One request as it came in.
#[derive(Debug)]
struct Sent {
    params: BTreeMap<String, String>,
    body: bool,
    authorization: String,
}

impl Bench {
    async fn new(rows: &[(&str, &str, Value)]) -> Self {
        let server = MockServer::start().await;
        for (verb, at, answer) in rows {
            let answer = ResponseTemplate::new(200).set_body_json(answer);
            let whole = format!("/api2/json{at}");
            Mock::given(method(*verb)).and(path(whole)).respond_with(answer).mount(&server).await;
        }
        for (at, answer) in [
            (
                "/version",
                json!({"data": {"version": "9.1.1", "release": "9.1", "repoid": "42db4a6cf33dac83"}}),
            ),
            ("/access/permissions", json!({"data": {}})),
            ("/cluster/resources", cluster()),
        ] {
            let answer = ResponseTemplate::new(200).set_body_json(answer);
            Mock::given(method("GET"))
                .and(path(format!("/api2/json{at}")))
                .respond_with(answer)
                .mount(&server)
                .await;
        }
        let config = ProxmoxConfig::new(&server.uri()).unwrap().token("root@pam!mcp-token", "a-secret");
        let proxmox = Proxmox::connect(config).await.unwrap();
        Self { server, proxmox }
    }

    /// The last request of this method and path.
    async fn sent(&self, verb: &str, at: &str) -> Sent {
        let all = self.server.received_requests().await.unwrap();
        let whole = format!("/api2/json{at}");
        let found =
            all.iter().rev().find(|request| request.method.as_str() == verb && request.url.path() == whole);
        let found = found.unwrap_or_else(|| panic!("no {verb} {at}, but {:?}", urls(&all)));
        let query = found.url.query().unwrap_or_default().to_owned();
        let body = String::from_utf8(found.body.clone()).unwrap();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        let params = pairs.chain(url::form_urlencoded::parse(body.as_bytes()).into_owned()).collect();
        let authorization = found.headers.get("authorization").unwrap().to_str().unwrap().to_owned();
        Sent { params, body: !body.is_empty(), authorization }
    }

    async fn count(&self, verb: &str, at: &str) -> usize {
        let whole = format!("/api2/json{at}");
        let all = self.server.received_requests().await.unwrap();
        all.iter().filter(|request| request.method.as_str() == verb && request.url.path() == whole).count()
    }
}

fn urls(all: &[wiremock::Request]) -> Vec<String> {
    all.iter().map(|request| format!("{} {}", request.method, request.url.path())).collect()
}

fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn first() -> PageRequest {
    PageRequest::first()
}

fn vm() -> VmId {
    "100".into()
}

fn ct() -> VmId {
    "200".into()
}

#[tokio::test]
async fn get_cluster_status() {
    let documented = json!([{"type": "cluster", "name": "proxmox-cluster", "nodes": 3, "quorate": 1, "version": 5},
        {"type": "node", "name": "pve1", "nodeid": 1, "online": 1, "local": 1}]);
    for answer in [documented.clone(), json!({ "data": documented })] {
        let bench = Bench::new(&[("GET", "/cluster/status", answer)]).await;
        let cluster = bench.proxmox.get_cluster().await.unwrap();
        assert_eq!((cluster.name.as_deref(), cluster.quorate), (Some("proxmox-cluster"), true));
        assert_eq!(
            (cluster.hosts[0].id.as_str(), cluster.hosts[0].state.clone()),
            ("pve1", HostState::Online)
        );
        let sent = bench.sent("GET", "/cluster/status").await;
        assert_eq!(sent.authorization, "PVEAPIToken=root@pam!mcp-token=a-secret");
    }
    // A single node has no row for the cluster.
    let alone = json!({"data": [{"type": "node", "id": "node/pve1", "name": "pve1", "nodeid": 0, "online": 1, "local": 1}]});
    let bench = Bench::new(&[("GET", "/cluster/status", alone)]).await;
    let cluster = bench.proxmox.get_cluster().await.unwrap();
    assert_eq!((cluster.name, cluster.quorate, cluster.hosts.len()), (None, true, 1));
}

#[tokio::test]
async fn get_cluster_resources() {
    let bench = Bench::new(&[]).await;
    let all = bench.proxmox.cluster_resources(Resources::All).await.unwrap();
    assert_eq!((all.guests.len(), all.hosts.len(), all.pools.len()), (2, 1, 1));
    assert!(bench.sent("GET", "/cluster/resources").await.params.is_empty());
}

#[tokio::test]
async fn get_cluster_resources_filtered() {
    let bench = Bench::new(&[]).await;
    let guests = bench.proxmox.cluster_resources(Resources::Guests).await.unwrap().guests;
    assert_eq!((guests[0].name.as_str(), guests[0].cpus), ("webserver", Some(4)));
    assert_eq!(guests[1].kind, GuestKind::Container);
    assert_eq!(bench.sent("GET", "/cluster/resources").await.params, params(&[("type", "vm")]));
}

#[tokio::test]
async fn get_nodes() {
    let answer = json!({"data": [{"node": "pve1", "status": "online", "maxcpu": 8, "cpu": 0.1, "maxmem": 16, "mem": 8,
        "uptime": 9, "ssl_fingerprint": "AB:CD", "id": "node/pve1", "type": "node"}, {"node": "pve2", "status": "offline"}]});
    let bench = Bench::new(&[("GET", "/nodes", answer)]).await;
    let hosts = bench.proxmox.list_hosts(&first()).await.unwrap().items;
    assert_eq!((hosts[0].cpus, hosts[0].memory), (Some(8), Some(ByteSize::bytes(16))));
    assert_eq!((hosts[1].state.clone(), hosts[1].cpus), (HostState::Offline, None));
    assert!(bench.sent("GET", "/nodes").await.params.is_empty());
}

#[tokio::test]
async fn get_node_status() {
    let answer = json!({"data": {"cpu": 0.02, "uptime": 77, "cpuinfo": {"cpus": 8, "model": "EPYC"},
        "memory": {"total": 16, "used": 4}, "pveversion": "pve-manager/9.1.1/42db4a6cf33dac83"}});
    let bench = Bench::new(&[("GET", "/nodes/pve1/status", answer)]).await;
    let host = bench.proxmox.get_host(&"pve1".into()).await.unwrap();
    assert_eq!((host.cpus, host.version.as_deref()), (Some(8), Some("9.1.1")));
    assert!(bench.sent("GET", "/nodes/pve1/status").await.params.is_empty());
}

#[tokio::test]
async fn get_vms() {
    let real = json!({"data": [{"vmid": 100, "name": "webserver", "status": "running", "mem": 4294967296_u64,
        "maxmem": 8589934592_u64, "cpu": 0.05, "cpus": 4, "uptime": 86400, "qmpstatus": "running", "pid": 785}]});
    for answer in [documented_vms(), real] {
        let bench = Bench::new(&[("GET", "/nodes/pve1/qemu", answer)]).await;
        let query = VmQuery::all().host("pve1").kind(GuestKind::Vm);
        let vms = bench.proxmox.list_vms(&query, &first()).await.unwrap().items;
        let [vm] = vms.as_slice() else { panic!("{vms:?}") };
        assert_eq!(
            (vm.id.as_str(), vm.name.as_str(), vm.state.clone()),
            ("100", "webserver", VmState::Running)
        );
        assert_eq!((vm.cpus, vm.memory), (Some(4), Some(ByteSize::gib(8))));
        assert_eq!(vm.uptime.unwrap().as_secs(), 86400);
        assert_eq!(bench.sent("GET", "/nodes/pve1/qemu").await.params, params(&[("full", "1")]));
    }
}

#[tokio::test]
async fn get_vm() {
    for answer in [documented_vm(), running(100)] {
        let rows = [
            ("GET", "/nodes/pve1/qemu/100/status/current", answer),
            ("GET", "/nodes/pve1/qemu/100/config", config()),
        ];
        let bench = Bench::new(&rows).await;
        let info = bench.proxmox.get_vm(&vm()).await.unwrap();
        assert_eq!((info.name.as_str(), info.state), ("webserver", VmState::Running));
        assert_eq!((info.cpus, info.memory), (Some(4), Some(ByteSize::gib(8))));
        assert_eq!(info.uid.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
        assert_eq!(info.host, Some(HostId::from("pve1")));
        let status = bench.proxmox.vm_status(&vm()).await.unwrap();
        assert_eq!((status.cpus, status.uid), (Some(4), None));
        assert!(bench.sent("GET", "/nodes/pve1/qemu/100/status/current").await.params.is_empty());
    }
}

#[tokio::test]
async fn get_vm_config() {
    let pending =
        json!({"data": [{"key": "memory", "value": "8192", "pending": 16384}, {"key": "cores", "value": 4}]});
    let rows =
        [("GET", "/nodes/pve1/qemu/100/config", config()), ("GET", "/nodes/pve1/qemu/100/pending", pending)];
    let bench = Bench::new(&rows).await;
    let config = bench.proxmox.get_vm_config(&vm()).await.unwrap();
    assert_eq!((config.spec.cpus, config.spec.memory), (4, ByteSize::gib(8)));
    assert_eq!((config.disks[0].id.as_str(), config.disks[0].capacity), ("scsi0", Some(ByteSize::gib(32))));
    assert_eq!((config.nics[0].id.as_str(), config.pending[0].field.as_str()), ("net0", "memory"));
    assert_eq!(config.revision.unwrap().as_str(), "0dd14319ebb28ff4cd1157fe07b74f9cc4b8d4be");
}

/// A verb for a guest in a state, with the call that it has to be.
async fn verb(
    action: PowerAction,
    vmid: u32,
    current: Value,
    at: &str,
    expected: &[(&str, &str)],
) -> Option<String> {
    let kind = if vmid == 200 { "lxc" } else { "qemu" };
    let base = format!("/nodes/pve1/{kind}/{vmid}");
    let status = format!("{base}/status/current");
    let call = format!("{base}/status/{at}");
    let bench = Bench::new(&[("GET", status.as_str(), current), ("POST", call.as_str(), task())]).await;
    let started = bench.proxmox.power_vm(&vmid.to_string().into(), &action).await.unwrap();
    assert_eq!(bench.sent("POST", &call).await.params, params(expected));
    assert_eq!(bench.count("POST", &call).await, 1);
    started.task.map(|task| task.to_string())
}

#[tokio::test]
async fn start_vm() {
    assert_eq!(verb(PowerAction::Start, 100, stopped(100), "start", &[]).await.as_deref(), Some(UPID));
}

#[tokio::test]
async fn stop_vm() {
    let overrule = [("overrule-shutdown", "1")];
    assert_eq!(
        verb(PowerAction::PowerOff, 100, running(100), "stop", &overrule).await.as_deref(),
        Some(UPID)
    );
}

#[tokio::test]
async fn shutdown_vm() {
    // Asked once: nobody waits for the guest.
    assert_eq!(verb(PowerAction::Shutdown(Shutdown::new()), 100, running(100), "shutdown", &[]).await, None);
    let limited = Shutdown::new().power_off_after(std::time::Duration::from_secs(90));
    let expected = [("forceStop", "1"), ("timeout", "90")];
    let task = verb(PowerAction::Shutdown(limited), 100, running(100), "shutdown", &expected).await;
    assert_eq!(task.as_deref(), Some(UPID));
}

#[tokio::test]
async fn reboot_vm() {
    assert_eq!(verb(PowerAction::Reboot, 100, running(100), "reboot", &[]).await.as_deref(), Some(UPID));
}

#[tokio::test]
async fn create_vm() {
    let bench = Bench::new(&[("POST", "/nodes/pve1/qemu", task())]).await;
    let before = bench.server.received_requests().await.unwrap().len();
    let spec = VmSpec::new("web-2").id("105").cpus(2).memory(ByteSize::gib(4)).tag("web").start(true);
    let started = bench.proxmox.create_vm(&spec).await.unwrap();
    // The create, and the start that the server makes a task of its own of.
    assert!(started.output.as_str() == "105" && started.task.is_some(), "{started:?}");
    // What follows are looks at its task.
    let all = bench.server.received_requests().await.unwrap();
    let asked = all.iter().skip(before).filter(|request| !request.url.path().contains("/tasks")).count();
    let sent = bench.sent("POST", "/nodes/pve1/qemu").await;
    for (key, value) in [
        ("vmid", "105"),
        ("name", "web-2"),
        ("cores", "2"),
        ("memory", "4096"),
        ("tags", "web"),
        ("start", "1"),
    ] {
        assert_eq!(sent.params.get(key).map(String::as_str), Some(value), "{key} in {sent:?}");
    }
    assert!(sent.body && asked <= 2, "{asked} requests");
    let plain = bench.proxmox.create_vm(&VmSpec::new("web-3").id("106")).await.unwrap();
    assert_eq!((plain.output.as_str(), plain.task.unwrap().as_str()), ("106", UPID));
}

fn delete_rows(base: &'static str, at: [&'static str; 4]) -> Vec<(&'static str, &'static str, Value)> {
    let vmid = if base.ends_with("200") { 200 } else { 100 };
    vec![
        ("DELETE", at[0], task()),
        ("GET", at[1], stopped(vmid)),
        ("GET", at[2], json!({"data": {"digest": "d", "name": "a", "hostname": "a"}})),
        ("GET", at[3], json!({"data": [{"name": "current", "description": "You are here!"}]})),
    ]
}

#[tokio::test]
async fn delete_vm() {
    let base = "/nodes/pve1/qemu/100";
    let paths = [
        base,
        "/nodes/pve1/qemu/100/status/current",
        "/nodes/pve1/qemu/100/config",
        "/nodes/pve1/qemu/100/snapshot",
    ];
    let bench = Bench::new(&delete_rows(base, paths)).await;
    let started = bench.proxmox.delete_vm(&vm(), &DeleteVm::with_disks()).await.unwrap();
    assert_eq!(started.task.unwrap().as_str(), UPID);
    let sent = bench.sent("DELETE", base).await;
    // In the query: a body on DELETE is refused.
    assert!(!sent.body && sent.params["purge"] == "1", "{sent:?}");
}

#[tokio::test]
async fn update_vm() {
    let at = "/nodes/pve1/qemu/100/config";
    let rows = [
        ("GET", at, config()),
        ("PUT", at, json!({ "data": null })),
        (
            "GET",
            "/nodes/pve1/qemu/100/pending",
            json!({"data": [{"key": "memory", "value": "8192", "pending": "16384"}]}),
        ),
    ];
    let bench = Bench::new(&rows).await;
    let change = VmChange::new().memory(ByteSize::gib(16)).name("renamed");
    let outcome = bench.proxmox.update_vm(&vm(), &change).await.unwrap().output;
    assert_eq!((outcome.applied, outcome.pending), (vec!["name".to_owned()], vec!["memory".to_owned()]));
    let expected =
        [("digest", "0dd14319ebb28ff4cd1157fe07b74f9cc4b8d4be"), ("memory", "16384"), ("name", "renamed")];
    assert_eq!(bench.sent("PUT", at).await.params, params(&expected));
}

#[tokio::test]
async fn clone_vm() {
    let at = "/nodes/pve1/qemu/100/clone";
    let bench = Bench::new(&[("POST", at, task())]).await;
    let started = bench.proxmox.clone_vm(&vm(), &CloneSpec::new("copy").id("150")).await.unwrap();
    assert_eq!((started.output.as_str(), started.task.unwrap().as_str()), ("150", UPID));
    assert_eq!(
        bench.sent("POST", at).await.params,
        params(&[("full", "1"), ("name", "copy"), ("newid", "150")])
    );
}

#[tokio::test]
async fn migrate_vm() {
    let two = json!({"data": [{"type": "node", "node": "pve1", "status": "online"}, {"type": "node", "node": "pve2", "status": "online"},
        {"type": "qemu", "vmid": 100, "node": "pve1", "status": "running", "name": "webserver"}]});
    let at = "/nodes/pve1/qemu/100/migrate";
    let rows = [
        ("GET", "/cluster/resources", two),
        ("POST", at, task()),
        ("GET", "/nodes/pve1/qemu/100/status/current", running(100)),
    ];
    let bench = Bench::new(&rows).await;
    let started = bench.proxmox.migrate_vm(&vm(), &MigrateSpec::to("pve2").with_disks(true)).await.unwrap();
    assert_eq!(started.task.unwrap().as_str(), UPID);
    let expected = [("online", "1"), ("target", "pve2"), ("with-local-disks", "1")];
    assert_eq!(bench.sent("POST", at).await.params, params(&expected));
}

#[tokio::test]
async fn get_containers() {
    let answer = json!({"data": [{"vmid": "200", "name": "ct1", "status": "stopped", "type": "lxc", "cpus": 1, "maxmem": 134217728}]});
    let bench = Bench::new(&[("GET", "/nodes/pve1/lxc", answer)]).await;
    let query = VmQuery::all().host("pve1").kind(GuestKind::Container);
    let found = bench.proxmox.list_vms(&query, &first()).await.unwrap().items;
    assert_eq!(
        (found[0].id.as_str(), found[0].kind, found[0].memory),
        ("200", GuestKind::Container, Some(ByteSize::mib(128)))
    );
    assert!(bench.sent("GET", "/nodes/pve1/lxc").await.params.is_empty());
}

#[tokio::test]
async fn get_container() {
    let current = json!({"data": {"vmid": 200, "name": "ct1", "status": "running", "cpus": 2, "maxmem": 134217728, "type": "lxc"}});
    let config = json!({"data": {"hostname": "ct1", "memory": 128, "cores": 2, "rootfs": "local:200/vm-200-disk-0.raw,size=1G",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:66:6E:2B,ip=dhcp,type=veth", "digest": "71b4"}});
    let rows = [
        ("GET", "/nodes/pve1/lxc/200/status/current", current),
        ("GET", "/nodes/pve1/lxc/200/config", config),
    ];
    let info = Bench::new(&rows).await.proxmox.get_vm(&ct()).await.unwrap();
    assert_eq!((info.kind, info.state, info.cpus), (GuestKind::Container, VmState::Running, Some(2)));
}

#[tokio::test]
async fn start_container() {
    assert_eq!(verb(PowerAction::Start, 200, stopped(200), "start", &[]).await.as_deref(), Some(UPID));
}

#[tokio::test]
async fn stop_container() {
    let overrule = [("overrule-shutdown", "1")];
    assert_eq!(
        verb(PowerAction::PowerOff, 200, running(200), "stop", &overrule).await.as_deref(),
        Some(UPID)
    );
}

#[tokio::test]
async fn delete_container() {
    let base = "/nodes/pve1/lxc/200";
    let paths = [
        base,
        "/nodes/pve1/lxc/200/status/current",
        "/nodes/pve1/lxc/200/config",
        "/nodes/pve1/lxc/200/snapshot",
    ];
    let bench = Bench::new(&delete_rows(base, paths)).await;
    bench.proxmox.delete_vm(&ct(), &DeleteVm::with_disks()).await.unwrap().task.unwrap();
    assert_eq!(bench.sent("DELETE", base).await.params["purge"], "1");
}

#[tokio::test]
async fn get_storages() {
    let configured = json!({"data": [{"storage": "local", "type": "dir", "path": "/var/lib/vz", "content": "iso,images", "digest": "x"}]});
    let seen = json!({"data": [{"storage": "local", "type": "dir", "active": 1, "enabled": 1, "total": 100, "used": 10, "avail": 90,
        "content": "images,iso", "shared": 0}]});
    let bench = Bench::new(&[("GET", "/storage", configured), ("GET", "/nodes/pve1/storage", seen)]).await;
    let all = bench.proxmox.list_pools(&PoolQuery::all(), &first()).await.unwrap().items;
    assert_eq!(
        (all[0].id.as_str(), all[0].path.as_deref(), all[0].capacity),
        ("local", Some("/var/lib/vz"), Some(ByteSize::bytes(100)))
    );
    assert_eq!(bench.proxmox.storage_config().await.unwrap()[0].id.as_str(), "local");
    let of_host = bench.proxmox.list_pools(&PoolQuery::all().host("pve1"), &first()).await.unwrap().items;
    assert_eq!((of_host[0].available, of_host[0].active), (Some(ByteSize::bytes(90)), true));
    assert!(bench.sent("GET", "/storage").await.params.is_empty());
    assert!(bench.sent("GET", "/nodes/pve1/storage").await.params.is_empty());
}

#[tokio::test]
async fn get_storage_content() {
    let answer = json!({"data": [{"volid": "local:iso/debian.iso", "content": "iso", "format": "iso", "size": 7, "ctime": 1795140001}]});
    let at = "/nodes/pve1/storage/local/content";
    let bench = Bench::new(&[("GET", at, answer)]).await;
    let volumes = bench.proxmox.list_volumes(&"local".into(), &first()).await.unwrap().items;
    assert_eq!((volumes[0].id.as_str(), volumes[0].capacity), ("local:iso/debian.iso", ByteSize::bytes(7)));
    assert!(bench.sent("GET", at).await.params.is_empty());
    let isos = bench.proxmox.storage_content(&"pve1".into(), &"local".into(), Some("iso")).await.unwrap();
    assert_eq!(isos, bench.proxmox.storage_content(&"pve1".into(), &"local".into(), None).await.unwrap());
}

fn snapshots() -> Value {
    json!({"data": [{"snaptime": 1795198157, "vmstate": 0, "name": "s1", "description": "first snap"},
        {"description": "You are here!", "digest": "d67f", "name": "current", "running": 0, "parent": "s1"}]})
}

const SNAPSHOTS: &str = "/nodes/pve1/qemu/100/snapshot";

#[tokio::test]
async fn get_snapshots() {
    let bench = Bench::new(&[("GET", SNAPSHOTS, snapshots())]).await;
    let tree = bench.proxmox.list_snapshots(&vm()).await.unwrap();
    assert_eq!((tree.len(), tree.current().unwrap().id.as_str()), (1, "s1"));
    assert_eq!(
        bench.proxmox.get_snapshot(&vm(), &"s1".into()).await.unwrap().description.as_deref(),
        Some("first snap")
    );
}

#[tokio::test]
async fn create_snapshot() {
    let rows = [
        ("GET", SNAPSHOTS, snapshots()),
        ("POST", SNAPSHOTS, task()),
        ("GET", "/nodes/pve1/qemu/100/status/current", running(100)),
    ];
    let bench = Bench::new(&rows).await;
    let spec = SnapshotSpec::new("s2").description("second").memory(true);
    let started = bench.proxmox.create_snapshot(&vm(), &spec).await.unwrap();
    assert_eq!((started.output.as_str(), started.task.unwrap().as_str()), ("s2", UPID));
    let expected = [("description", "second"), ("snapname", "s2"), ("vmstate", "1")];
    assert_eq!(bench.sent("POST", SNAPSHOTS).await.params, params(&expected));
    let taken = bench.proxmox.create_snapshot(&vm(), &SnapshotSpec::new("s1")).await.unwrap_err();
    assert_eq!(
        (taken.kind(), taken.target()),
        (hypervisor_core::ErrorKind::AlreadyExists, Some("snapshot `s1`"))
    );
}

#[tokio::test]
async fn delete_snapshot() {
    let at = "/nodes/pve1/qemu/100/snapshot/s1";
    let bench = Bench::new(&[("GET", SNAPSHOTS, snapshots()), ("DELETE", at, task())]).await;
    let started = bench.proxmox.delete_snapshot(&vm(), &"s1".into(), &DeleteSnapshot::only()).await.unwrap();
    assert_eq!(started.task.unwrap().as_str(), UPID);
    let sent = bench.sent("DELETE", at).await;
    assert!(sent.params.is_empty() && !sent.body);
}

#[tokio::test]
async fn rollback_snapshot() {
    let at = "/nodes/pve1/qemu/100/snapshot/s1/rollback";
    let bench = Bench::new(&[("GET", SNAPSHOTS, snapshots()), ("POST", at, task())]).await;
    let started = bench.proxmox.revert_snapshot(&vm(), &"s1".into(), &RevertSnapshot::new()).await.unwrap();
    assert_eq!(started.task.unwrap().as_str(), UPID);
    assert!(bench.sent("POST", at).await.params.is_empty());
    let options = RevertSnapshot::new().start(true);
    bench.proxmox.revert_snapshot(&vm(), &"s1".into(), &options).await.unwrap().task.unwrap();
    assert_eq!(bench.sent("POST", at).await.params, params(&[("start", "1")]));
}

#[tokio::test]
async fn get_backups() {
    let volid = "local:backup/vzdump-qemu-100-2026_11_20-02_00_01.vma.zst";
    let answer = json!({"data": [{"volid": volid, "content": "backup", "size": 2, "ctime": 1795140001, "vmid": 100, "subtype": "qemu",
        "format": "vma.zst", "notes": "nightly", "protected": 1}]});
    let at = "/nodes/pve1/storage/local/content";
    let bench = Bench::new(&[("GET", at, answer)]).await;
    let backups =
        bench.proxmox.list_backups(&BackupQuery::all().pool("local"), &first()).await.unwrap().items;
    assert_eq!(
        (backups[0].id.as_str(), backups[0].vm.as_ref().unwrap().as_str(), backups[0].protected),
        (volid, "100", true)
    );
    assert_eq!(bench.sent("GET", at).await.params, params(&[("content", "backup")]));
}

#[tokio::test]
async fn get_tasks() {
    let answer = json!({"total": 1, "data": [{"upid": UPID, "node": "pve1", "type": "qmstart", "id": "100", "user": "root@pam",
        "tokenid": "lab", "status": "OK", "starttime": 1795198976, "endtime": 1795198977, "pid": 760, "pstart": 222948}]});
    let bench = Bench::new(&[("GET", "/nodes/pve1/tasks", answer)]).await;
    let query = TaskQuery::all().host("pve1").vm("100");
    let tasks = bench.proxmox.list_tasks(&query, &first()).await.unwrap().items;
    assert_eq!((tasks[0].id.as_str(), tasks[0].state), (UPID, TaskState::Succeeded));
    assert_eq!(tasks[0].user.as_deref(), Some("root@pam!lab"));
    let sent = bench.sent("GET", "/nodes/pve1/tasks").await;
    assert_eq!((sent.params["source"].as_str(), sent.params["vmid"].as_str()), ("all", "100"));
}

#[tokio::test]
async fn get_task_status() {
    let at = format!("/nodes/pve1/tasks/{UPID}/status");
    let answer = json!({"data": {"upid": UPID, "node": "pve1", "type": "qmstart", "id": "100", "user": "root@pam", "tokenid": "lab",
        "status": "stopped", "exitstatus": "VM 100 already running", "starttime": 1795198976, "pid": 760, "pstart": 222948}});
    let bench = Bench::new(&[("GET", at.as_str(), answer)]).await;
    let info = bench.proxmox.get_task(&UPID.into(), None).await.unwrap();
    assert_eq!((info.state, info.error.as_deref()), (TaskState::Failed, Some("VM 100 already running")));
    assert_eq!(info.error_kind, Some(hypervisor_core::ErrorKind::InvalidState));
    assert_eq!((info.vm, info.host), (Some(vm()), Some("pve1".into())));
    let unknown = bench.proxmox.get_task(&"foo".into(), None).await.unwrap_err();
    assert!(unknown.is_not_found(), "{unknown}");
}

#[tokio::test]
async fn get_pools() {
    let bench = Bench::new(&[(
        "GET",
        "/pools",
        json!({"data": [{"poolid": "prod", "comment": "Prod"}, {"poolid": "dev"}]}),
    )])
    .await;
    let groups = bench.proxmox.list_groups(&first()).await.unwrap().items;
    assert_eq!((groups[0].id.as_str(), groups[1].description.as_deref()), ("dev", Some("Prod")));
}

#[tokio::test]
async fn get_pool() {
    let documented = json!({"comment": "Prod", "members": [{"id": "qemu/100", "vmid": 100, "type": "qemu", "node": "pve1"},
        {"id": "storage/pve1/local", "storage": "local", "type": "storage", "node": "pve1"}]});
    for answer in [documented.clone(), json!({ "data": documented })] {
        let bench = Bench::new(&[("GET", "/pools/prod", answer)]).await;
        let group = bench.proxmox.get_group(&"prod".into()).await.unwrap();
        assert_eq!((group.vms, group.pools), (vec![vm()], vec!["local".into()]));
    }
}

#[tokio::test]
async fn create_pool() {
    let bench = Bench::new(&[("POST", "/pools", json!({ "data": null }))]).await;
    let made = bench.proxmox.create_group(&GroupSpec::new("prod").description("Prod")).await.unwrap();
    assert_eq!((made.output, made.task), (GroupId::from("prod"), None));
    assert_eq!(bench.sent("POST", "/pools").await.params, params(&[("comment", "Prod"), ("poolid", "prod")]));
}

#[tokio::test]
async fn delete_pool() {
    let bench = Bench::new(&[("DELETE", "/pools/prod", json!({ "data": null }))]).await;
    assert_eq!(bench.proxmox.delete_group(&"prod".into()).await.unwrap().task, None);
    assert!(!bench.sent("DELETE", "/pools/prod").await.body);
}
