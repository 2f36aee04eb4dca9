//! One test for each endpoint and each convention of virtualization-mcp: the call that is sent, and what is made of the answers of its document and of
//! those that were recorded from its server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtualization_mcp::{
    AdapterMode, ListOptions, McpOptions, PortForward, VirtualizationMcp,
};
use hypervisor_core::model::{
    ByteSize, ConsoleKind, DeleteSnapshot, DeleteVm, DiskSpec, PageRequest, PowerAction, RevertSnapshot,
    Shutdown, SnapshotSpec, VmQuery, VmSpec, VmState,
};
use hypervisor_core::{Compute as _, Effect, ErrorKind, Operation, Snapshots as _};
use serde_json::{Map, Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

struct Bench {
    server: MockServer,
    mcp: VirtualizationMcp,
}

impl Bench {
    /// The server as it is, with the machines that were recorded.
    async fn served() -> Self {
        let health = json!({ "status": "healthy", "mcp_connected": true, "service_manager": true });
        let bench = Self::new(health).await;
        bench.answer("GET", "/vms", 200, recorded_vms()).await;
        bench
    }

    /// A server that keeps the document's conventions.
    async fn documented() -> Self {
        Self::new(json!({ "status": "success", "data": {}, "meta": {}, "error": null })).await
    }

    async fn new(health: Value) -> Self {
        let server = MockServer::start().await;
        mount(&server, "GET", "/health", ResponseTemplate::new(200).set_body_json(health)).await;
        let mcp = VirtualizationMcp::connect(ClientConfig::new(&server.uri()).unwrap()).await.unwrap();
        Self { server, mcp }
    }

    async fn answer(&self, verb: &str, route: &str, status: u16, body: Value) {
        mount(&self.server, verb, route, ResponseTemplate::new(status).set_body_json(body)).await;
    }

    async fn last(&self) -> Request {
        self.server.received_requests().await.unwrap().pop().unwrap()
    }

    async fn last_is(&self, verb: &str, route: &str, query: &str) {
        let last = self.last().await;
        let found = (last.method.as_str(), last.url.path(), last.url.query().unwrap_or_default());
        assert_eq!(found, (verb, format!("/api/v1{route}").as_str(), query));
    }

    async fn last_body(&self) -> Value {
        serde_json::from_slice(&self.last().await.body).unwrap()
    }
}

async fn mount(server: &MockServer, verb: &str, route: &str, response: ResponseTemplate) {
    Mock::given(method(verb)).and(path(format!("/api/v1{route}"))).respond_with(response).mount(server).await;
}

fn recorded_vms() -> Value {
    json!({ "status": "success", "vms": [
        { "name": "web-01", "uuid": "11111111-1111-1111-1111-111111111111", "state": "running",
          "os_type": "Ubuntu (64-bit)", "memory_mb": 2048, "cpus": 2, "provider": "virtualbox" },
        { "name": "db-01", "uuid": "22222222-2222-2222-2222-222222222222", "state": "poweroff",
          "os_type": "Ubuntu (64-bit)", "memory_mb": 2048, "cpus": 2, "provider": "hyperv" },
    ] })
}

#[tokio::test]
async fn get_vms_as_served() {
    let bench = Bench::served().await;
    let page = bench.mcp.list_vms(&VmQuery::all(), &PageRequest::first().limit(1)).await.unwrap();
    bench.last_is("GET", "/vms", "sort=created&page=1&per_page=1").await;
    assert_eq!((page.items.len(), page.items[0].name.as_str()), (1, "db-01"), "cut here, by name");
    let next = PageRequest::first().limit(1).cursor(page.next.unwrap());
    let page = bench.mcp.list_vms(&VmQuery::all(), &next).await.unwrap();
    assert_eq!((page.items[0].name.as_str(), page.next), ("web-01", None));
    let vm = &page.items[0];
    assert_eq!((&vm.state, vm.cpus, vm.memory), (&VmState::Running, Some(2), Some(ByteSize::gib(2))));
    assert_eq!(vm.uid.as_deref(), Some("11111111-1111-1111-1111-111111111111"));
    assert_eq!(vm.extra.get("virtualization-mcp")["os_type"], "Ubuntu (64-bit)");
}

#[tokio::test]
async fn get_vms_as_documented() {
    let bench = Bench::documented().await;
    let row = json!({ "id": "12345", "name": "web", "status": "running" });
    let response = ResponseTemplate::new(200)
        .set_body_json(json!({ "status": "success", "data": [row], "meta": {}, "error": null }))
        .insert_header("X-Total-Count", "41")
        .insert_header(
            "Link",
            "</api/v1/vms?page=1>; rel=\"first\", </api/v1/vms?page=3&per_page=20>; rel=\"next\"",
        );
    mount(&bench.server, "GET", "/vms", response).await;
    let page = bench.mcp.list_vms(&VmQuery::all(), &PageRequest::first().limit(20)).await.unwrap();
    bench.last_is("GET", "/vms", "sort=created&page=1&per_page=20").await;
    assert_eq!(
        (page.total, page.items[0].id.as_str(), &page.items[0].state),
        (Some(41), "12345", &VmState::Running)
    );
    drop(
        bench.mcp.list_vms(&VmQuery::all(), &PageRequest::first().cursor(page.next.unwrap())).await.unwrap(),
    );
    bench.last_is("GET", "/vms", "sort=created&page=2&per_page=20").await;
}

#[tokio::test]
async fn pages_without_links_are_counted() {
    for (header, value, more) in
        [("X-Total-Pages", "2", true), ("X-Total-Count", "101", true), ("X-Total-Count", "100", false)]
    {
        let bench = Bench::documented().await;
        let response = ResponseTemplate::new(200)
            .set_body_json(json!({ "status": "success", "data": { "items": [{ "name": "a" }] } }));
        mount(&bench.server, "GET", "/vms", response.insert_header(header, value)).await;
        let page = bench.mcp.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
        assert_eq!(page.next.is_some(), more, "{header}: {value}");
    }
}

#[tokio::test]
async fn field_selection_and_sort() {
    let bench = Bench::documented().await;
    bench
        .answer("GET", "/vms", 200, json!({ "status": "success", "data": [{ "id": 7, "name": "a" }] }))
        .await;
    let options = ListOptions {
        sort: Some("-created".into()),
        fields: vec!["id".into(), "name".into(), "status".into()],
    };
    let page = bench.mcp.search_vms(&options, &PageRequest::first()).await.unwrap();
    bench.last_is("GET", "/vms", "sort=-created&fields=id%2Cname%2Cstatus&page=1&per_page=100").await;
    assert_eq!((page.items[0].id.as_deref(), page.items[0].memory_mb), (Some("7"), None));
}

#[tokio::test]
async fn post_vms() {
    let bench = Bench::served().await;
    let told =
        json!({ "status": "success", "vm_id": "u", "name": "new-01", "ip_address": null, "warnings": [] });
    bench.answer("POST", "/vms", 200, told).await;
    let options = McpOptions { template: Some("ubuntu-dev".into()), ..McpOptions::default() };
    let spec =
        VmSpec::new("new-01").cpus(1).memory(ByteSize::gib(1)).disk(DiskSpec::new_volume(ByteSize::gib(10)));
    let made = bench.mcp.create_vm(&spec.with(&options).unwrap()).await.unwrap();
    // As recorded in the exchange of a create.
    let wanted =
        json!({ "name": "new-01", "template": "ubuntu-dev", "memory_mb": 1024, "disk_gb": 10, "cpus": 1 });
    assert_eq!(bench.last_body().await, wanted);
    assert_eq!((made.output.as_str(), made.task), ("new-01", None));
}

#[tokio::test]
async fn post_vms_that_fails_with_status_200() {
    let bench = Bench::served().await;
    let why = "Failed to create VM: [Errno 2] No such file or directory: 'C:\\\\Program Files\\\\Oracle\\\\VirtualBox\\\\VBoxManage.exe'";
    let told = json!({
        "status": "error", "vm_id": "", "name": "new-01", "ip_address": null, "warnings": [], "error": why,
        "message": format!("Failed to create VM 'new-01': {why}"), "troubleshooting": ["Check if the VM name is unique"],
    });
    bench.answer("POST", "/vms", 200, told).await;
    let error = bench.mcp.create_vm(&VmSpec::new("new-01")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Backend, Effect::Unknown),
        "a missing program is no missing machine"
    );
    assert_eq!((error.message(), error.hint()), (why, Some("Check if the VM name is unique")));
    assert_eq!((error.target(), error.operation()), (Some("vm `new-01`"), Some(Operation::CreateVm)));
}

#[tokio::test]
async fn post_vm_start() {
    let bench = Bench::served().await;
    bench.answer("POST", "/vms/db-01/start", 200, json!({ "status": "success", "state": "running" })).await;
    drop(bench.mcp.power_vm(&"db-01".into(), &PowerAction::Start).await.unwrap());
    bench.last_is("POST", "/vms/db-01/start", "provider=hyperv").await;
    assert!(bench.last().await.body.is_empty());
    let error = bench.mcp.power_vm(&"web-01".into(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidState, Some("vm `web-01`")));
    let error = bench.mcp.power_vm(&"ghost".into(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("vm `ghost`")));
}

#[tokio::test]
async fn post_vm_start_of_one_that_has_vanished() {
    let bench = Bench::served().await;
    let told = json!({
        "status": "error", "vm_name": "db-01", "state": "error", "headless": true, "error": "VM 'db-01' does not exist",
        "message": "Failed to start VM 'db-01': VM 'db-01' does not exist", "troubleshooting": [],
    });
    bench.answer("POST", "/vms/db-01/start", 200, told).await;
    let error = bench.mcp.power_vm(&"db-01".into(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "VM 'db-01' does not exist"));
}

#[tokio::test]
async fn post_vm_stop() {
    let bench = Bench::served().await;
    bench.answer("POST", "/vms/web-01/stop", 200, json!({ "status": "success", "force": false })).await;
    drop(bench.mcp.power_vm(&"web-01".into(), &PowerAction::Shutdown(Shutdown::new())).await.unwrap());
    bench.last_is("POST", "/vms/web-01/stop", "").await;
    assert!(bench.mcp.power_vm(&"web-01".into(), &PowerAction::PowerOff).await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn post_vm_pause_and_resume() {
    let bench = Bench::served().await;
    assert!(bench.mcp.power_vm(&"web-01".into(), &PowerAction::Pause).await.unwrap_err().is_unsupported());
    let bench = Bench::documented().await;
    let row = |state: &str| json!({ "status": "success", "data": [{ "name": "a", "state": state }] });
    bench.answer("GET", "/vms", 200, row("running")).await;
    bench.answer("POST", "/vms/a/pause", 200, json!({ "status": "success", "data": {} })).await;
    drop(bench.mcp.power_vm(&"a".into(), &PowerAction::Pause).await.unwrap());
    bench.last_is("POST", "/vms/a/pause", "").await;
    bench.server.reset().await;
    bench.answer("GET", "/vms", 200, row("paused")).await;
    let broken = json!({ "detail": "'VBoxManager' object has no attribute 'resume_vm'" });
    bench.answer("POST", "/vms/a/resume", 500, broken).await;
    let error = bench.mcp.power_vm(&"a".into(), &PowerAction::Resume).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("resume_vm"), "{error}");
}

#[tokio::test]
async fn delete_vm() {
    let bench = Bench::served().await;
    bench.answer("DELETE", "/vms/db-01", 200, json!({ "status": "success", "disks_removed": [] })).await;
    drop(bench.mcp.delete_vm(&"db-01".into(), &DeleteVm::with_disks()).await.unwrap());
    bench.last_is("DELETE", "/vms/db-01", "provider=hyperv").await;
    let running = bench.mcp.delete_vm(&"web-01".into(), &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!(running.kind(), ErrorKind::InvalidState);
    let other = DeleteVm::with_disks().expected_uid("other");
    assert_eq!(bench.mcp.delete_vm(&"db-01".into(), &other).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(
        bench.mcp.delete_vm(&"db-01".into(), &DeleteVm::keep_disks()).await.unwrap_err().is_unsupported()
    );
}

#[tokio::test]
async fn delete_vm_that_is_told_as_not_found_with_status_200() {
    let bench = Bench::served().await;
    let told = json!({ "status": "not_found", "vm_name": "db-01", "message": "VM 'db-01' not found. No action taken." });
    bench.answer("DELETE", "/vms/db-01", 200, told).await;
    let error = bench.mcp.delete_vm(&"db-01".into(), &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::NotFound, "VM 'db-01' not found. No action taken.")
    );
}

#[tokio::test]
async fn snapshots_of_a_server_that_has_them() {
    let bench = Bench::documented().await;
    let rows = json!([{ "name": "s1", "description": "d", "current": true }, { "snapshot_name": "s0" }]);
    bench.answer("GET", "/vms/a/snapshots", 200, json!({ "status": "success", "data": rows })).await;
    for verb in ["snapshot", "restore", "delete-snapshot"] {
        bench
            .answer("POST", &format!("/vms/a/{verb}"), 200, json!({ "status": "success", "data": null }))
            .await;
    }
    let vm = "a".into();
    assert_eq!(bench.mcp.list_snapshots(&vm).await.unwrap().len(), 2);
    assert_eq!(bench.mcp.get_snapshot(&vm, &"s1".into()).await.unwrap().description.as_deref(), Some("d"));
    drop(bench.mcp.create_snapshot(&vm, &SnapshotSpec::new("s1").description("d")).await.unwrap());
    // As recorded in the exchange of a snapshot.
    assert_eq!(bench.last_body().await, json!({ "snapshot_name": "s1", "description": "d" }));
    drop(bench.mcp.revert_snapshot(&vm, &"s1".into(), &RevertSnapshot::new()).await.unwrap());
    bench.last_is("POST", "/vms/a/restore", "").await;
    drop(bench.mcp.delete_snapshot(&vm, &"s1".into(), &DeleteSnapshot::only()).await.unwrap());
    bench.last_is("POST", "/vms/a/delete-snapshot", "").await;
    assert_eq!(bench.last_body().await, json!({ "snapshot_name": "s1" }));
}

#[tokio::test]
async fn get_vm_screenshot_and_console() {
    let bench = Bench::served().await;
    let picture = ResponseTemplate::new(200).set_body_raw(b"\x89PNG".to_vec(), "image/png");
    mount(&bench.server, "GET", "/vms/web-01/screenshot", picture).await;
    assert_eq!(bench.mcp.screenshot_vm(&"web-01".into()).await.unwrap().media_type, "image/png");
    assert_eq!(bench.mcp.screenshot_vm(&"db-01".into()).await.unwrap_err().kind(), ErrorKind::InvalidState);
    let console = bench.mcp.get_console(&"web-01".into(), &ConsoleKind::Vnc).await.unwrap();
    assert_eq!(console.url, Some(format!("ws://{}/api/v1/vms/web-01/vnc", bench.server.address())));
    assert!(bench.mcp.get_console(&"web-01".into(), &ConsoleKind::Spice).await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn templates_and_host() {
    let bench = Bench::served().await;
    let template = json!({ "name": "ubuntu-dev", "config": { "cpus": 2 }, "builtin": true, "memory_mb": 4096, "disk_gb": 25 });
    bench.answer("GET", "/templates", 200, json!({ "templates": [template] })).await;
    bench.answer("PUT", "/templates/zz", 404, json!({ "detail": "Template 'zz' not found" })).await;
    bench.answer("POST", "/templates", 200, json!({ "success": true })).await;
    bench.answer("DELETE", "/templates/t", 200, json!({ "success": true, "deleted": "t" })).await;
    bench.answer("GET", "/host/info", 200, json!({ "cpu_usage": 0, "memory_total": 5 })).await;
    let templates = bench.mcp.templates().await.unwrap();
    assert_eq!((templates[0].memory_mb, templates[0].config["cpus"].as_u64()), (Some(4096), Some(2)));
    let error = bench.mcp.update_template("zz", &Map::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("template `zz`")));
    bench.mcp.create_template_of("t", &Map::new()).await.unwrap();
    assert_eq!(bench.last_body().await, json!({ "name": "t", "config": {} }));
    bench.mcp.delete_template("t").await.unwrap();
    assert_eq!(bench.mcp.host_info().await.unwrap()["memory_total"], 5);
}

#[tokio::test]
async fn adapters_ports_discs_and_desktops() {
    let bench = Bench::served().await;
    let vm = "web-01".into();
    let broken =
        json!({ "success": false, "error": "[Errno 2] No such file or directory: 'VBoxManage.exe'" });
    bench.answer("GET", "/vms/web-01/network", 200, broken).await;
    for (verb, route) in [
        ("POST", "network"),
        ("POST", "network/port-forwarding"),
        ("DELETE", "network/port-forwarding/ssh"),
        ("POST", "attach-iso"),
        ("POST", "vrde"),
    ] {
        bench.answer(verb, &format!("/vms/web-01/{route}"), 200, json!({ "success": true })).await;
    }
    let error = bench.mcp.adapters(&vm).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Backend, Effect::None));
    let mode = AdapterMode {
        adapter: 1,
        mode: "bridged".into(),
        host_only_if: None,
        bridged_if: Some("eth0".into()),
        intnet_name: None,
    };
    bench.mcp.set_adapter(&vm, &mode).await.unwrap();
    assert_eq!(bench.last_body().await, json!({ "adapter": 1, "mode": "bridged", "bridged_if": "eth0" }));
    let rule = PortForward { name: "ssh".into(), protocol: "tcp".into(), host_port: 2222, guest_port: 22 };
    bench.mcp.forward_port(&vm, &rule).await.unwrap();
    assert_eq!(
        bench.last_body().await,
        json!({ "name": "ssh", "protocol": "tcp", "host_port": 2222, "guest_port": 22 })
    );
    bench.mcp.close_port(&vm, "ssh").await.unwrap();
    bench.mcp.attach_iso(&vm, "/srv/a.iso").await.unwrap();
    assert_eq!(bench.last_body().await, json!({ "iso_path": "/srv/a.iso" }));
    bench.mcp.serve_remote_desktop(&vm, true, Some(3389)).await.unwrap();
    assert_eq!(bench.last_body().await, json!({ "enabled": true, "port": 3389 }));
}

#[tokio::test]
async fn every_documented_error_has_a_kind() {
    for (status, code, kind) in [
        (400, "INVALID_REQUEST", ErrorKind::InvalidInput),
        (401, "UNAUTHORIZED", ErrorKind::Unauthenticated),
        (403, "FORBIDDEN", ErrorKind::PermissionDenied),
        (404, "NOT_FOUND", ErrorKind::NotFound),
        (404, "RESOURCE_NOT_FOUND", ErrorKind::NotFound),
        (404, "vm_not_found", ErrorKind::NotFound),
        (409, "CONFLICT", ErrorKind::Conflict),
        (429, "RATE_LIMIT_EXCEEDED", ErrorKind::RateLimited),
        (500, "INTERNAL_SERVER_ERROR", ErrorKind::Backend),
    ] {
        let bench = Bench::documented().await;
        let told = json!({ "status": "error", "data": null, "error": { "code": code, "message": "why", "details": {} } });
        bench.answer("GET", "/vms", status, told).await;
        let error = bench.mcp.get_vm(&"a".into()).await.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.message()), (kind, Some(code), "why"));
        assert_eq!(error.effect(), Effect::None);
    }
}

#[tokio::test]
async fn fastapis_errors_are_read() {
    let bench = Bench::served().await;
    let detail =
        json!([{ "type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {} }]);
    bench.answer("POST", "/vms", 422, json!({ "detail": detail })).await;
    let error = bench.mcp.create_vm(&VmSpec::new("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.fields()["name"].as_str()), (ErrorKind::InvalidInput, "Field required"));
    assert_eq!(error.message(), "name: Field required");
    bench.server.reset().await;
    bench.answer("GET", "/vms", 503, json!({ "detail": "VM Service not available" })).await;
    let error = bench.mcp.get_vm(&"a".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::HostUnreachable, "VM Service not available"));
}

#[tokio::test]
async fn what_is_no_list_of_machines_is_an_error_of_protocol() {
    for body in [
        "<html>",
        "{\"status\": \"success\"",
        "{\"status\": \"success\", \"vms\": {}}",
        "{\"vms\": [1]}",
        "{}",
        "7",
    ] {
        let bench = Bench::documented().await;
        mount(&bench.server, "GET", "/vms", ResponseTemplate::new(200).set_body_raw(body, "text/html")).await;
        let error = bench.mcp.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{body}: {error}");
    }
    for body in [json!({ "vms": null }), json!({ "status": "success", "data": null }), json!([])] {
        let bench = Bench::documented().await;
        bench.answer("GET", "/vms", 200, body).await;
        assert!(bench.mcp.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items.is_empty());
    }
}
