//! One test for each endpoint of the v1 document: the call that is sent, and what is made of the document's own example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod v1;

use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::v1::{
    BackupPlan, BackupRequest, GenerateContext, GenerateSpec, Metric, ScanOptions, ScanSpec, TokenSpec, V1,
    V1NetworkOptions, V1Options, VmFilter, WebhookSpec,
};
use hypervisor_client::webhook::{EventType, Receiver};
use hypervisor_core::model::{
    BackupQuery, BackupSpec, ByteSize, DeleteVm, DhcpRange, DiskSpec, IpNet, MetricsPeriod, NetworkKind,
    NetworkSpec, PageRequest, PoolKind, PoolQuery, PoolSpec, PowerAction, RestoreBackup, RevertSnapshot,
    Shutdown, SnapshotSpec, TaskQuery, TaskState, VmChange, VmQuery, VmSpec, VmState,
};
use hypervisor_core::{
    Backups as _, Compute as _, ErrorKind, Metrics as _, Network as _, Operation, Snapshots as _,
    Storage as _, Tasks as _,
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use v1::{Bench, fixture};

#[tokio::test]
async fn post_auth_tokens() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/auth/tokens", 200, fixture("token_created")).await;
    let spec = TokenSpec {
        description: Some("Token for CI/CD deployment automation".into()),
        expires_in: Some(Duration::from_secs(2_592_000)),
        ..TokenSpec::new("deployment-automation", ["vm:read", "vm:write", "network:read"])
    };
    let token = bench.v1.create_token(&spec).await.unwrap();
    assert_eq!(bench.only().await.json(), fixture("token_request"));
    assert_eq!(token.token_id, "tok_1234567890abcdef");
    assert_eq!(token.access_token.expose_secret(), "pxa_1234567890abcdef1234567890abcdef");
    assert_eq!(token.permissions, ["vm:read", "vm:write", "network:read"]);
    assert_eq!(token.expires_at.as_deref(), Some("2025-08-29T12:00:00Z"));
    assert!(!format!("{token:?}").contains("pxa_"));
}

#[tokio::test]
async fn post_auth_tokens_with_a_wrong_password() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/auth/tokens", 401, fixture("error_credentials")).await;
    let error = bench.v1.create_token(&TokenSpec::new("a", ["vm:read"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(
        (error.code(), error.message()),
        (Some("INVALID_CREDENTIALS"), "Invalid username or password")
    );
    assert_eq!(error.fields().get("password").map(String::as_str), Some("authentication_failed"));
    assert_eq!(error.request_id(), Some("req_1234567890"));
}

/// Of the sibling document about authentication.
#[tokio::test]
async fn post_auth_login() {
    let bench = Bench::new().await;
    let wanted = json!({ "data": { "mfa_required": true, "session_id": "s-1", "access_token": null } });
    bench.answer("POST", "/v1/auth/login", 200, wanted).await;
    let error = bench.v1.login("admin", &"pw".into(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "a password over plain http: {error}");
    let config = ClientConfig::new(&bench.server.uri()).unwrap().allow_plain_http_credentials();
    let v1 = V1::connect(config).await.unwrap();
    let session = v1.login("admin", &"pw".into(), None).await.unwrap();
    assert!(session.mfa_required && session.access_token.is_none());
    assert_eq!(bench.last().await.json(), json!({ "username": "admin", "password": "pw" }));
    v1.login("admin", &"pw".into(), Some(&"123456".into())).await.unwrap();
    assert_eq!(
        bench.last().await.json(),
        json!({ "username": "admin", "password": "pw", "mfa_token": "123456" })
    );
}

#[tokio::test]
async fn delete_auth_token() {
    let bench = Bench::new().await;
    bench.answer("DELETE", "/v1/auth/tokens/tok_1234567890abcdef", 200, fixture("token_revoked")).await;
    bench.v1.revoke_token("tok_1234567890abcdef").await.unwrap();
    bench.only().await.is("DELETE", "/v1/auth/tokens/tok_1234567890abcdef", "");
}

#[tokio::test]
async fn get_vms() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms", 200, fixture("vm_list")).await;
    let filter = VmFilter {
        status: Some("running".into()),
        environment: Some("production".into()),
        limit: Some(25),
        sort: Some("name".into()),
        order: Some("asc".into()),
        ..VmFilter::default()
    };
    let (vms, pagination) = bench.v1.search_vms(&filter).await.unwrap();
    bench.only().await.is(
        "GET",
        "/v1/vms",
        "status=running&environment=production&limit=25&sort=name&order=asc",
    );
    assert_eq!((pagination.total, pagination.pages, pagination.current_page), (Some(150), Some(6), Some(1)));
    let [vm] = vms.as_slice() else { panic!("{vms:?}") };
    assert_eq!((vm.environment.as_deref(), vm.storage_gb), (Some("production"), Some(100.0)));
    let security = vm.security.as_ref().unwrap();
    assert_eq!((security.encrypted, security.compliance_score), (Some(true), Some(95.0)));
    let info = vm.to_info();
    assert_eq!(
        (info.id.as_str(), info.name.as_str(), &info.state),
        ("vm-001", "web-server-01", &VmState::Running)
    );
    assert_eq!((info.cpus, info.memory), (Some(4), Some(ByteSize::gib(8))));
    assert!(info.tags.iter().eq(["nginx", "production", "web"]));
    assert_eq!(info.extra.get("v1")["ip_address"], "192.168.1.101");
    assert_eq!(info.extra.get("v1")["security"]["compliance_score"], 95.0);
}

#[tokio::test]
async fn get_vms_as_a_list_of_the_traits() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms", 200, fixture("vm_list")).await;
    let query = VmQuery::all().state(VmState::Running).tag("web");
    let page = bench.v1.list_vms(&query, &PageRequest::first().limit(25)).await.unwrap();
    bench.only().await.is("GET", "/v1/vms", "status=running&limit=25");
    assert_eq!((page.items.len(), page.total, page.next.as_deref()), (1, None, Some("o:1")));
    let page = bench.v1.list_vms(&query, &PageRequest::first().cursor("o:1")).await.unwrap();
    assert_eq!(page.items.len(), 1);
    bench.last().await.is("GET", "/v1/vms", "status=running&limit=200&offset=1");
    let none = bench.v1.list_vms(&VmQuery::all().name("other"), &PageRequest::first()).await.unwrap();
    assert!(none.items.is_empty(), "what the gateway cannot filter is filtered here");
}

#[tokio::test]
async fn pages_by_cursor() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms", 200, fixture("pagination")).await;
    let page = bench.v1.list_vms(&VmQuery::all(), &PageRequest::first().limit(50)).await.unwrap();
    assert_eq!(page.total, Some(1500));
    let next = page.next.unwrap();
    assert!(next.starts_with("c:eyJ0aW1lc3RhbXAi"), "{next}");
    drop(bench.v1.list_vms(&VmQuery::all(), &PageRequest::first().cursor(next)).await.unwrap());
    let cursor = "eyJ0aW1lc3RhbXAiOiIyMDI1LTA3LTI5VDEyOjAwOjAwWiIsImlkIjoidm0tMTAwIn0%3D";
    bench.last().await.is("GET", "/v1/vms", &format!("limit=200&cursor={cursor}"));
}

#[tokio::test]
async fn get_vm() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/vm-001", 200, fixture("vm_details")).await;
    let info = bench.v1.get_vm(&"vm-001".into()).await.unwrap();
    bench.only().await.is("GET", "/v1/vms/vm-001", "");
    assert_eq!((info.cpus, info.memory), (Some(4), Some(ByteSize::gib(8))));
    assert_eq!(info.description.as_deref(), Some("Production web server running Nginx"));
    assert_eq!(info.uptime, Some(Duration::from_secs(2_592_000)));
    let details = bench.v1.vm_details(&"vm-001".into()).await.unwrap();
    let configuration = details.configuration.unwrap();
    assert_eq!(configuration.storage[0].disk_id.as_deref(), Some("disk-001"));
    assert_eq!(
        (configuration.storage[0].size_gb, configuration.network[0].vlan_id),
        (Some(100.0), Some(100))
    );
    assert_eq!(details.performance.unwrap().network_rx_mbps, Some(12.5));
    assert_eq!(details.security.unwrap().vulnerabilities.unwrap()["medium"], 3);
    assert_eq!(details.backup.unwrap().backup_size_gb, Some(45.2));
}

#[tokio::test]
async fn post_vms() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/vms", 201, fixture("vm_created")).await;
    let options = V1Options {
        template: Some("ubuntu-22.04-secure".into()),
        environment: Some("production".into()),
        vlan_id: Some(100),
        static_ip: Some("192.168.1.102".into()),
        encrypt_disk: Some(true),
        enable_firewall: Some(true),
        ssh_keys: vec!["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAACAQ...".into()],
        backup: Some(BackupPlan { enabled: true, schedule: Some("daily".into()), retention_days: Some(30) }),
    };
    let spec = VmSpec::new("app-server-01")
        .description("Application server for microservices")
        .cpus(4)
        .memory(ByteSize::gib(8))
        .disk(DiskSpec::new_volume(ByteSize::gib(100)))
        .tag("application")
        .tag("microservices")
        .tag("production")
        .with(&options)
        .unwrap();
    let started = bench.v1.create_vm(&spec).await.unwrap();
    let sent = bench.only().await;
    sent.is("POST", "/v1/vms", "");
    assert_eq!(sent.json(), fixture("vm_create_request"));
    assert_eq!((started.output.as_str(), started.task.unwrap().as_str()), ("vm-102", "job_create_vm_102"));
}

#[tokio::test]
async fn put_vm() {
    let bench = Bench::new().await;
    let mut details = fixture("vm_details");
    details["data"]["vm"]["tags"] = json!(["application", "microservices", "production"]);
    bench.answer("GET", "/v1/vms/vm-001", 200, details).await;
    bench.answer("PUT", "/v1/vms/vm-001", 200, json!({ "success": true })).await;
    let change = VmChange::new()
        .description("Updated application server description")
        .memory(ByteSize::gib(16))
        .add_tag("high-memory");
    let outcome = bench.v1.update_vm(&"vm-001".into(), &change).await.unwrap().output;
    let sent = bench.last().await;
    sent.is("PUT", "/v1/vms/vm-001", "");
    let mut wanted = fixture("vm_update_request");
    // Tags are a set: they go out sorted.
    wanted["tags"] = json!(["application", "high-memory", "microservices", "production"]);
    assert_eq!(sent.json(), wanted);
    assert_eq!(
        (outcome.applied, outcome.pending),
        (vec!["description".into(), "tags".into()], vec!["memory".into()])
    );
}

#[tokio::test]
async fn put_vm_reads_the_tags_from_the_list_where_the_details_have_none() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/vm-001", 200, fixture("vm_details")).await;
    bench.answer("GET", "/v1/vms", 200, fixture("vm_list")).await;
    bench.answer("PUT", "/v1/vms/vm-001", 200, json!({ "success": true })).await;
    drop(bench.v1.update_vm(&"vm-001".into(), &VmChange::new().remove_tag("web")).await.unwrap());
    assert_eq!(bench.last().await.json(), json!({ "tags": ["nginx", "production"] }));
}

#[tokio::test]
async fn delete_vm() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/vm-001", 200, fixture("vm_details")).await;
    bench.answer("DELETE", "/v1/vms/vm-001", 204, json!(null)).await;
    let options = DeleteVm::with_disks().snapshots(true);
    let error = bench.v1.delete_vm(&"vm-001".into(), &options).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidState, Some("vm `vm-001`")));
    let gone = bench
        .v1
        .delete_vm(&"vm-001".into(), &options.clone().power_off(true).keep_backups(true))
        .await
        .unwrap();
    assert_eq!(gone.task, None);
    bench.last().await.is("DELETE", "/v1/vms/vm-001", "force=true&keep_backups=true");
    let other =
        bench.v1.delete_vm(&"vm-001".into(), &options.power_off(true).expected_uid("b")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    drop(bench.v1.remove_vm(&"vm-001".into(), false, false).await.unwrap());
    bench.last().await.is("DELETE", "/v1/vms/vm-001", "force=false&keep_backups=false");
}

#[tokio::test]
async fn delete_vm_with_snapshots_is_refused_unless_they_may_go() {
    let bench = Bench::new().await;
    let mut details = fixture("vm_details");
    details["data"]["vm"]["status"] = json!("stopped");
    bench.answer("GET", "/v1/vms/vm-001", 200, details).await;
    bench
        .answer("GET", "/v1/vms/vm-001/snapshots", 200, json!({ "data": { "snapshots": [{ "name": "s" }] } }))
        .await;
    let error = bench.v1.delete_vm(&"vm-001".into(), &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert!(bench.sent().await.iter().all(|sent| sent.method == "GET"));
}

/// A machine in this state, and what a power verb sends.
async fn power(status: &str, action: PowerAction, path: &str) -> v1::Sent {
    let bench = Bench::new().await;
    let mut details = fixture("vm_details");
    details["data"]["vm"]["status"] = json!(status);
    bench.answer("GET", "/v1/vms/vm-001", 200, details).await;
    bench.answer("POST", path, 200, json!({ "success": true, "data": { "job_id": "job_1" } })).await;
    let started = bench.v1.power_vm(&"vm-001".into(), &action).await.unwrap();
    assert_eq!(started.task.unwrap().as_str(), "job_1");
    let sent = bench.last().await;
    sent.is("POST", path, "");
    sent
}

#[tokio::test]
async fn post_vm_start() {
    assert!(power("stopped", PowerAction::Start, "/v1/vms/vm-001/start").await.body.is_empty());
}

#[tokio::test]
async fn post_vm_stop() {
    let in_time = Shutdown::new().power_off_after(Duration::from_secs(300));
    let sent = power("running", PowerAction::Shutdown(in_time), "/v1/vms/vm-001/stop").await;
    assert_eq!(sent.json(), fixture("stop_request"));
    let sent = power("running", PowerAction::Shutdown(Shutdown::new()), "/v1/vms/vm-001/stop").await;
    assert_eq!(sent.json(), json!({ "graceful": true }));
    let sent = power("paused", PowerAction::PowerOff, "/v1/vms/vm-001/stop").await;
    assert_eq!(sent.json(), json!({ "graceful": false }));
}

#[tokio::test]
async fn post_vm_restart() {
    assert!(power("running", PowerAction::Reboot, "/v1/vms/vm-001/restart").await.body.is_empty());
}

#[tokio::test]
async fn post_vm_snapshots() {
    let bench = Bench::new().await;
    let answer = json!({ "data": { "snapshot": { "id": "snap-1", "name": "pre-deployment-snapshot" } } });
    bench.answer("POST", "/v1/vms/vm-001/snapshots", 201, answer).await;
    let spec = SnapshotSpec::new("pre-deployment-snapshot")
        .description("Snapshot before application deployment")
        .memory(false);
    let started = bench.v1.create_snapshot(&"vm-001".into(), &spec).await.unwrap();
    assert_eq!(bench.only().await.json(), fixture("snapshot_request"));
    assert_eq!(started.output.as_str(), "pre-deployment-snapshot");
}

#[tokio::test]
async fn get_vm_snapshots() {
    let bench = Bench::new().await;
    let rows = json!([
        { "id": "snap-1", "name": "one", "include_memory": true, "created_at": "2025-07-29T12:00:00Z" },
        { "name": "two", "parent": "one" },
    ]);
    for answer in [
        json!({ "data": { "snapshots": rows } }),
        json!({ "data": { "items": rows } }),
        json!({ "data": rows }),
    ] {
        bench.reset().await;
        bench.answer("GET", "/v1/vms/vm-001/snapshots", 200, answer).await;
        let tree = bench.v1.list_snapshots(&"vm-001".into()).await.unwrap();
        assert_eq!(tree.iter().map(|each| each.id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert!(tree.get(&"one".into()).unwrap().memory);
        assert_eq!(tree.get(&"one".into()).unwrap().extra.get("v1")["id"], "snap-1");
    }
}

#[tokio::test]
async fn post_vm_snapshot_restore() {
    let bench = Bench::new().await;
    let rows = json!({ "data": { "snapshots": [{ "id": "snap-1", "name": "one" }] } });
    bench.answer("GET", "/v1/vms/vm-001/snapshots", 200, rows).await;
    let path = "/v1/vms/vm-001/snapshots/snap-1/restore";
    bench.answer("POST", path, 202, json!({ "data": { "job": { "id": "job_2" } } })).await;
    let started =
        bench.v1.revert_snapshot(&"vm-001".into(), &"one".into(), &RevertSnapshot::new()).await.unwrap();
    assert_eq!(started.task.unwrap().as_str(), "job_2");
    bench.last().await.is("POST", path, "");
    let error =
        bench.v1.revert_snapshot(&"vm-001".into(), &"two".into(), &RevertSnapshot::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("snapshot `two`")));
}

#[tokio::test]
async fn get_networks() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/networks", 200, fixture("network_list")).await;
    let page = bench.v1.list_networks(&PageRequest::first()).await.unwrap();
    assert_eq!((page.items.len(), page.next.clone()), (1, None));
    let network = &page.items[0];
    assert_eq!((network.id.as_str(), network.name.as_str()), ("net-001", "production-vlan"));
    assert_eq!((&network.kind, network.vlan, network.active), (&NetworkKind::Vnet, Some(100), true));
    assert_eq!(network.cidr, Some("192.168.1.1/24".parse::<IpNet>().unwrap()));
    assert_eq!(network.extra.get("v1")["dns_servers"], json!(["8.8.8.8", "8.8.4.4"]));
    assert_eq!(network.extra.get("v1")["firewall_rules"][0]["port"], 22);
    assert_eq!(bench.v1.get_network(&"net-001".into()).await.unwrap(), *network);
    assert!(bench.v1.get_network(&"net-002".into()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn post_networks() {
    let bench = Bench::new().await;
    let answer = json!({ "data": { "network": { "id": "net-002", "name": "development-vlan" } } });
    bench.answer("POST", "/v1/networks", 201, answer).await;
    let range = DhcpRange::new("192.168.2.100".parse().unwrap(), "192.168.2.200".parse().unwrap());
    let mut spec = NetworkSpec::new("development-vlan", NetworkKind::Vnet)
        .vlan(200)
        .cidr("192.168.2.1/24".parse().unwrap())
        .dhcp(range);
    spec.options.set(&V1NetworkOptions { dns_servers: vec!["8.8.8.8".into(), "8.8.4.4".into()] }).unwrap();
    assert_eq!(bench.v1.create_network(&spec).await.unwrap().output.as_str(), "net-002");
    assert_eq!(bench.only().await.json(), fixture("network_request"));
}

#[tokio::test]
async fn get_storage() {
    let bench = Bench::new().await;
    let rows = json!([{ "id": "pool-1", "type": "zfs", "total_gb": 1.5, "used_gb": 0.5, "tier": "gold" }]);
    bench.answer("GET", "/v1/storage", 200, json!({ "data": { "storage_pools": rows } })).await;
    let page = bench.v1.list_pools(&PoolQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!((&page.items[0].kind, page.items[0].capacity), (&PoolKind::Zfs, Some(ByteSize::mib(1536))));
    assert_eq!(page.items[0].extra.get("v1")["tier"], "gold");
    assert_eq!(bench.v1.get_pool(&"pool-1".into()).await.unwrap().used, Some(ByteSize::mib(512)));
}

#[tokio::test]
async fn post_storage() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/storage", 201, json!({ "data": { "pool": { "id": "pool-2" } } })).await;
    let made = bench.v1.create_pool(&PoolSpec::dir("bulk", "/srv/bulk")).await.unwrap();
    assert_eq!(made.output.as_str(), "pool-2");
    assert_eq!(bench.only().await.json(), json!({ "name": "bulk", "type": "dir", "path": "/srv/bulk" }));
}

#[tokio::test]
async fn post_security_scans() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/security/scans", 200, fixture("scan")).await;
    let spec = ScanSpec {
        scan_type: "vulnerability".into(),
        targets: vec!["vm-001".into(), "vm-002".into()],
        scan_options: Some(ScanOptions { deep_scan: true, include_dependencies: true }),
    };
    let scan = bench.v1.start_scan(&spec).await.unwrap();
    assert_eq!(bench.only().await.json(), fixture("scan_request"));
    assert_eq!(
        (scan.id.as_str(), scan.kind.as_deref(), scan.status.as_deref()),
        ("scan-001", Some("vulnerability"), Some("running"))
    );
}

#[tokio::test]
async fn get_security_scan() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/security/scans/scan-001", 200, fixture("scan")).await;
    let scan = bench.v1.get_scan("scan-001").await.unwrap();
    assert_eq!(scan.estimated_completion.as_deref(), Some("2025-07-29T12:15:00Z"));
}

#[tokio::test]
async fn get_backups() {
    let bench = Bench::new().await;
    let rows = json!([
        { "id": "backup-1", "vm_id": "vm-001", "size_gb": 45.2, "created_at": "2025-07-29T02:00:00Z" },
        { "id": "backup-2", "vm_id": "vm-002" },
    ]);
    bench.answer("GET", "/v1/backups", 200, json!({ "data": { "backups": rows } })).await;
    let page = bench.v1.list_backups(&BackupQuery::all().vm("vm-001"), &PageRequest::first()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].size, Some(ByteSize::mib(46_285)));
}

#[tokio::test]
async fn post_backups() {
    let bench = Bench::new().await;
    let answer = json!({ "data": { "backup": { "id": "backup-3", "job_id": "job_3" } } });
    bench.answer("POST", "/v1/backups", 201, answer).await;
    let spec = BackupSpec::new().compress(true).description("Monthly full backup");
    let started = bench.v1.create_backup(&"vm-001".into(), &spec).await.unwrap();
    let mut wanted = fixture("backup_request");
    // The traits do not ask for encryption.
    wanted.as_object_mut().unwrap().remove("encryption");
    assert_eq!(bench.last().await.json(), wanted);
    let request = BackupRequest {
        backup_type: "full".into(),
        compression: Some("gzip".into()),
        encryption: Some(true),
        description: Some("Monthly full backup".into()),
        ..BackupRequest::new("vm-001")
    };
    drop(bench.v1.back_up(&request).await.unwrap());
    assert_eq!(bench.last().await.json(), fixture("backup_request"));
    assert_eq!((started.output.unwrap().as_str(), started.task.unwrap().as_str()), ("backup-3", "job_3"));
}

#[tokio::test]
async fn post_backup_restore() {
    let bench = Bench::new().await;
    bench
        .answer("GET", "/v1/backups", 200, json!({ "data": { "items": [{ "id": "b", "vm_id": "vm-001" }] } }))
        .await;
    bench.answer("POST", "/v1/backups/b/restore", 200, json!({ "success": true })).await;
    let started = bench.v1.restore_backup(&"b".into(), &RestoreBackup::original()).await.unwrap();
    assert_eq!(started.output.as_str(), "vm-001");
    bench.last().await.is("POST", "/v1/backups/b/restore", "");
    let error = bench.v1.restore_backup(&"b".into(), &RestoreBackup::new_vm("copy")).await.unwrap_err();
    assert!(error.fields().contains_key("to"));
}

#[tokio::test]
async fn get_jobs() {
    let bench = Bench::new().await;
    let rows = json!([
        { "id": "job_1", "type": "vm_creation", "status": "completed" },
        { "id": "job_2", "type": "vm_start", "status": "failed", "error": "no memory" },
        { "id": "job_3", "status": "frobbing" },
    ]);
    bench.answer("GET", "/v1/jobs", 200, json!({ "data": { "jobs": rows } })).await;
    let page = bench.v1.list_tasks(&TaskQuery::all(), &PageRequest::first()).await.unwrap();
    let states: Vec<_> = page.items.iter().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Succeeded, TaskState::Failed, TaskState::Running]);
    assert_eq!(page.items[1].error.as_deref(), Some("no memory"));
    let failed = TaskQuery::all().state(TaskState::Failed);
    assert_eq!(bench.v1.list_tasks(&failed, &PageRequest::first()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn get_job() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/jobs/job_create_vm_102", 200, fixture("job")).await;
    let task = bench.v1.get_task(&"job_create_vm_102".into(), None).await.unwrap();
    assert_eq!(
        (task.state, task.progress, task.operation),
        (TaskState::Running, Some(0.65), Some(Operation::CreateVm))
    );
    assert_eq!(task.stage.as_deref(), Some("Disk allocation completed"));
    assert!(task.can_cancel && task.started.is_some());
    let log = bench.v1.get_task_log(&"job_create_vm_102".into(), 1, 10).await.unwrap();
    assert_eq!((log.lines.len(), log.next, log.complete), (1, 2, false));
    assert_eq!((log.lines[0].number, log.lines[0].text.as_str()), (1, "Disk allocation completed"));
    assert!(log.lines[0].time.is_some());
}

#[tokio::test]
async fn delete_job() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/jobs/job_create_vm_102", 200, fixture("job")).await;
    bench.answer("DELETE", "/v1/jobs/job_create_vm_102", 204, json!(null)).await;
    bench.v1.cancel_task(&"job_create_vm_102".into()).await.unwrap();
    bench.last().await.is("DELETE", "/v1/jobs/job_create_vm_102", "");
}

#[tokio::test]
async fn get_monitoring_metrics() {
    let bench = Bench::new().await;
    bench
        .answer("GET", "/v1/monitoring/metrics", 200, json!({ "data": { "metrics": { "cpu": 12.5 } } }))
        .await;
    assert_eq!(bench.v1.system_metrics().await.unwrap()["metrics"]["cpu"], 12.5);
}

#[tokio::test]
async fn get_monitoring_vm_metrics() {
    let bench = Bench::new().await;
    let points = json!([
        { "timestamp": "2025-07-29T11:00:00Z", "cpu": 25.5, "memory": 68.2 },
        { "timestamp": "2025-07-29T11:05:00Z", "cpu": 50 },
    ]);
    let series = json!({
        "cpu": [{ "timestamp": "2025-07-29T11:00:00Z", "value": 25.5 }, { "timestamp": "2025-07-29T11:05:00Z", "value": 50 }],
        "memory": { "unit": "%", "data": [{ "timestamp": "2025-07-29T11:00:00Z", "value": 68.2 }] },
    });
    for metrics in [points, series] {
        bench.reset().await;
        bench
            .answer(
                "GET",
                "/v1/monitoring/vms/vm-001/metrics",
                200,
                json!({ "data": { "metrics": metrics } }),
            )
            .await;
        let wanted = [Metric::Cpu, Metric::Memory, Metric::Disk, Metric::Network];
        let history = bench.v1.vm_history(&"vm-001".into(), MetricsPeriod::Day, &wanted).await.unwrap();
        bench.last().await.is(
            "GET",
            "/v1/monitoring/vms/vm-001/metrics",
            "period=24h&metrics=cpu%2Cmemory%2Cdisk%2Cnetwork",
        );
        assert_eq!((history.step, history.times.len()), (Duration::from_secs(300), 2));
        assert_eq!(history.series["cpu_usage"], [Some(0.255), Some(0.5)]);
        assert_eq!(history.series["memory"], [Some(68.2), None]);
    }
    for (period, name) in
        [(MetricsPeriod::Hour, "1h"), (MetricsPeriod::Week, "7d"), (MetricsPeriod::Month, "30d")]
    {
        let target = hypervisor_core::model::MetricsTarget::Vm("vm-001".into());
        bench.v1.get_metrics_history(&target, period).await.unwrap();
        bench.last().await.is("GET", "/v1/monitoring/vms/vm-001/metrics", &format!("period={name}"));
    }
    let error = bench.v1.vm_history(&"vm-001".into(), MetricsPeriod::Year, &[]).await.unwrap_err();
    assert!(error.fields().contains_key("period"));
}

#[tokio::test]
async fn the_load_of_now_is_read_from_the_details() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/vm-001", 200, fixture("vm_details")).await;
    let load = bench.v1.get_vm_metrics(&"vm-001".into()).await.unwrap();
    assert_eq!((load.cpu_usage, load.memory_total), (Some(0.255), Some(ByteSize::gib(8))));
    assert_eq!(load.memory_used, Some(ByteSize::kib(5_721_031)));
    assert_eq!(load.extra.get("v1")["network_rx_mbps"], 12.5);
}

#[tokio::test]
async fn post_ai_generate() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/ai/generate", 200, fixture("generated")).await;
    let spec = GenerateSpec {
        prompt: "Create a secure web server VM with Nginx, SSL certificate, and firewall rules".into(),
        context: Some(GenerateContext {
            environment: Some("production".into()),
            compliance_requirements: vec!["CIS".into(), "SOC2".into()],
        }),
        output_format: "terraform".into(),
    };
    let generated = bench.v1.generate(&spec).await.unwrap();
    assert_eq!(bench.only().await.json(), fixture("generate_request"));
    assert!(generated.code.starts_with("resource \"proxmox_vm_qemu\""));
    assert_eq!((generated.validation_score, generated.meta.tokens_used), (Some(95.0), Some(1250)));
    assert_eq!(generated.meta.ai_model.as_deref(), Some("claude-3-sonnet"));
    let analysis = generated.security_analysis.unwrap();
    assert_eq!((analysis.passed, analysis.recommendations.len()), (Some(true), 1));
}

#[tokio::test]
async fn post_webhooks() {
    let bench = Bench::new().await;
    bench
        .answer("POST", "/v1/webhooks", 201, json!({ "data": { "webhook": { "id": "webhook-001" } } }))
        .await;
    let spec = WebhookSpec::new(
        "https://your-app.com/webhooks/proxmox-ai",
        [EventType::VmCreated, EventType::VmStatusChanged],
    );
    let spec = spec.secret("your-webhook-secret");
    assert_eq!(bench.v1.create_webhook(&spec).await.unwrap().id, "webhook-001");
    assert_eq!(bench.only().await.json(), fixture("webhook_request"));
    assert!(!format!("{spec:?}").contains("your-webhook-secret"));
}

#[tokio::test]
async fn get_and_delete_webhooks() {
    let bench = Bench::new().await;
    bench
        .answer("GET", "/v1/webhooks", 200, json!({ "data": { "webhooks": [{ "id": "webhook-001" }] } }))
        .await;
    bench.answer("DELETE", "/v1/webhooks/webhook-001", 204, json!(null)).await;
    let page = bench.v1.list_webhooks(&PageRequest::first()).await.unwrap();
    bench.v1.delete_webhook(&page.items[0].id).await.unwrap();
    bench.last().await.is("DELETE", "/v1/webhooks/webhook-001", "");
}

#[test]
fn webhook_payload() {
    let body = serde_json::to_vec(&fixture("webhook_event")).unwrap();
    let event = Receiver::unsigned().receive(None, &body).unwrap();
    assert_eq!((event.event.clone(), event.vm().unwrap().as_str()), (EventType::VmCreated, "vm-102"));
}

#[tokio::test]
async fn get_health() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/health", 200, fixture("health")).await;
    let health = bench.v1.health().await.unwrap();
    assert!(health.is_healthy());
    assert_eq!((health.version.as_deref(), health.uptime_seconds), (Some("1.0.0"), Some(86400)));
    assert_eq!(health.components["ai_service"], "healthy");
}

#[tokio::test]
async fn get_info() {
    let bench = Bench::new().await;
    let told = bench.v1.gateway_info().await.unwrap();
    assert_eq!(told.version.as_deref(), Some("1.0.0"));
    assert!(!told.is_native() && !bench.v1.is_native());
}

#[tokio::test]
async fn the_path_of_the_documents_base_url_is_not_doubled() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/health", 200, fixture("health")).await;
    let url = format!("http+v1://{}/v1", bench.address());
    let v1 = V1::connect(ClientConfig::new(&url).unwrap()).await.unwrap();
    assert!(v1.health().await.unwrap().is_healthy());
}
