//! The API's document, example by example: each of its requests is taken as it stands there, and each answer has every member that the
//! document's has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use axum::http::{Method, StatusCode};
use common::{Served, serve, served};
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{PowerAction, TemplateSpec, VmSpec};
use serde_json::{Value, json};

/// Fails unless `found` has every member that the document's example has.
fn has_members(found: &Value, example: &Value, path: &str) {
    match (found, example) {
        (Value::Object(found), Value::Object(example)) => {
            for (key, value) in example {
                let here = format!("{path}.{key}");
                has_members(found.get(key).unwrap_or_else(|| panic!("{here} is missing")), value, &here);
            }
        }
        (Value::Array(found), Value::Array(example)) => {
            if let (Some(found), Some(example)) = (found.first(), example.first()) {
                has_members(found, example, &format!("{path}[0]"));
            }
        }
        (Value::Null, _) => {}
        (found, example) => {
            let kind = |value: &Value| match value {
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                Value::Null => "null",
            };
            assert!(
                example.is_null() || kind(found) == kind(example),
                "{path} is {found}, not like {example}"
            );
        }
    }
}

fn envelope(data: &Value) -> Value {
    json!({ "success": true, "data": data, "meta": { "request_id": "r", "timestamp": "t", "execution_time_ms": 45 } })
}

/// A gateway with a guest `web-server-01`, and a template as the document's create wants it.
async fn with_guest() -> (Served, String) {
    let gateway = served().await;
    let spec = VmSpec::new("web-server-01").tag("web").tag("nginx").tag("production");
    let vm = gateway.memory.create_vm(&spec).await.unwrap().output;
    let _ = gateway.memory.power_vm(&vm, &PowerAction::Start).await.unwrap();
    let base = gateway.memory.create_vm(&VmSpec::new("ubuntu-22.04-secure")).await.unwrap().output;
    let _ = gateway.memory.create_template(&base, &TemplateSpec::in_place()).await.unwrap();
    (gateway, vm.to_string())
}

#[tokio::test]
async fn tokens_are_made_and_revoked_as_documented() {
    let gateway = served().await;
    let body = json!({
        "name": "deployment-automation",
        "description": "Token for CI/CD deployment automation",
        "expires_in": 2592000,
        "permissions": ["vm:read", "vm:write", "network:read"]
    });
    let made = gateway.post("/v1/auth/tokens", body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let example = json!({
        "token_id": "tok_1234567890abcdef", "access_token": "pxa_1", "token_type": "bearer",
        "expires_at": "2025-08-29T12:00:00Z", "permissions": ["vm:read"]
    });
    has_members(&made.json(), &envelope(&example), "");
    assert_eq!(made.data()["token_type"], "bearer");
    let id = made.data()["token_id"].as_str().unwrap().to_owned();
    let gone = gateway.delete(&format!("/v1/auth/tokens/{id}")).await;
    has_members(&gone.json(), &json!({ "success": true, "message": "m", "meta": { "request_id": "r" } }), "");
}

#[tokio::test]
async fn guests_are_listed_and_read_as_documented() {
    let (gateway, vm) = with_guest().await;
    let path = "/v1/vms?status=running&environment=production&limit=25&sort=name&order=asc";
    let example = json!({
        "vms": [{
            "id": "vm-001", "name": "web-server-01", "status": "running", "environment": "production",
            "cpu_cores": 4, "memory_mb": 8192, "storage_gb": 100, "ip_address": "192.168.1.101",
            "os_type": "ubuntu-22.04", "created_at": "2025-07-01T10:00:00Z", "updated_at": "2025-07-29T09:30:00Z",
            "tags": ["web"],
            "security": {
                "encrypted": true, "firewall_enabled": true, "last_security_scan": "x", "compliance_score": 95
            }
        }],
        "pagination": { "total": 150, "limit": 25, "offset": 0, "pages": 6, "current_page": 1 }
    });
    let listed = gateway.get(path).await;
    has_members(&listed.json(), &envelope(&example), "");
    let data = listed.data();
    assert_eq!(data["vms"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&data["vms"][0]["name"], &data["vms"][0]["environment"]),
        (&json!("web-server-01"), &json!("production"))
    );
    assert_eq!(data["pagination"]["limit"], 25);
    let example = json!({ "vm": {
        "id": "vm-001", "name": "web-server-01", "description": "d", "status": "running", "environment": "production",
        "configuration": { "cpu_cores": 4, "cpu_sockets": 1, "memory_mb": 8192, "storage": [], "network": [] },
        "performance": {
            "cpu_usage_percent": 25.5, "memory_usage_percent": 68.2, "disk_usage_percent": 45.8,
            "network_rx_mbps": 12.5, "network_tx_mbps": 8.3, "uptime_seconds": 2592000
        },
        "security": { "encrypted": true, "firewall_enabled": true },
        "backup": {
            "enabled": true, "schedule": "daily", "retention_days": 30, "last_backup": "x", "backup_size_gb": 45.2
        },
        "created_at": "x", "updated_at": "x"
    }});
    has_members(&gateway.get(&format!("/v1/vms/{vm}")).await.json(), &envelope(&example), "");
}

#[tokio::test]
async fn guests_are_made_changed_powered_and_deleted_as_documented() {
    let (gateway, vm) = with_guest().await;
    let body = json!({
        "name": "app-server-01",
        "description": "Application server for microservices",
        "template": "ubuntu-22.04-secure",
        "environment": "production",
        "configuration": {
            "cpu_cores": 4, "memory_mb": 8192, "storage_gb": 100,
            "network": { "vlan_id": 100, "static_ip": "192.168.1.102" }
        },
        "security": {
            "encrypt_disk": true, "enable_firewall": true, "ssh_keys": ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAACAQ..."]
        },
        "tags": ["application", "microservices", "production"],
        "backup": { "enabled": true, "schedule": "daily", "retention_days": 30 }
    });
    let made = gateway.post("/v1/vms", body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:#}", made.json());
    let example = json!({ "vm": { "id": "vm-102", "name": "app-server-01", "status": "creating", "creation_job_id": "j" } });
    has_members(&made.json(), &envelope(&example), "");
    let unapplied = made.data()["unapplied"].as_array().unwrap().clone();
    for named in ["security.encrypt_disk", "security.enable_firewall", "backup", "tags"] {
        assert!(unapplied.contains(&json!(named)), "{named} was dropped in silence: {unapplied:?}");
    }
    let id = made.data()["vm"]["id"].as_str().unwrap().to_owned();
    let info = gateway.get(&format!("/v1/vms/{id}?view=native")).await.data();
    assert_eq!(
        (&info["vm"]["info"]["cpus"], &info["vm"]["info"]["memory"]),
        (&json!(4), &json!(8192_u64 << 20))
    );
    let job = made.data()["vm"]["creation_job_id"].as_str().unwrap().to_owned();
    assert_eq!(gateway.get(&format!("/v1/jobs/{job}")).await.data()["job"]["type"], "deploy_template");

    let mut plain = body.clone();
    plain["template"] = Value::Null;
    plain["name"] = json!("app-server-02");
    let made = gateway.post("/v1/vms", plain).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:#}", made.json());
    let path = format!("/v1/vms/{}", made.data()["vm"]["id"].as_str().unwrap());
    let details = gateway.get(&path).await.data();
    assert_eq!(details["vm"]["environment"], "production");
    assert_eq!(details["vm"]["configuration"]["storage"][0]["size_gb"], 100);
    assert_eq!(details["vm"]["configuration"]["network"][0]["vlan_id"], 100);

    let change = json!({
        "description": "Updated application server description",
        "configuration": { "memory_mb": 16384 },
        "tags": ["application", "microservices", "production", "high-memory"]
    });
    let changed = gateway.call(Method::PUT, &path, Some(change)).await;
    assert_eq!(changed.status, StatusCode::OK, "{:#}", changed.json());
    let details = gateway.get(&path).await.data();
    assert_eq!(details["vm"]["configuration"]["memory_mb"], 16384);
    assert!(details["vm"]["tags"].as_array().unwrap().contains(&json!("high-memory")));

    let status = |path: String| {
        let gateway = &gateway;
        async move { gateway.get(&path).await.data()["vm"]["status"].clone() }
    };
    assert_eq!(gateway.call(Method::POST, &format!("{path}/start"), None).await.status, StatusCode::OK);
    assert_eq!(status(path.clone()).await, "running");
    assert_eq!(gateway.call(Method::POST, &format!("{path}/restart"), None).await.status, StatusCode::OK);
    let stop = json!({ "graceful": true, "timeout_seconds": 300 });
    let stopped = gateway.post(&format!("{path}/stop"), stop).await;
    assert!(stopped.status.is_success());
    assert_eq!(status(path.clone()).await, "stopped");
    assert_eq!(gateway.delete(&path).await.status, StatusCode::OK);
    assert_eq!(gateway.get(&path).await.status, StatusCode::NOT_FOUND);
    // The one that runs needs force.
    let running = format!("/v1/vms/{vm}");
    assert_eq!(gateway.delete(&running).await.code(), "INVALID_STATE");
    assert_eq!(gateway.delete(&format!("{running}?force=true")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn snapshots_are_taken_listed_and_restored_as_documented() {
    let (gateway, vm) = with_guest().await;
    let body = json!({
        "name": "pre-deployment-snapshot",
        "description": "Snapshot before application deployment",
        "include_memory": false
    });
    let path = format!("/v1/vms/{vm}/snapshots");
    let made = gateway.post(&path, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:#}", made.json());
    let listed = gateway.get(&path).await.data();
    assert_eq!(listed["snapshots"][0]["name"], "pre-deployment-snapshot");
    let id = made.data()["snapshot"]["id"].as_str().unwrap().to_owned();
    let restored = gateway.call(Method::POST, &format!("{path}/{id}/restore"), None).await;
    assert!(restored.status.is_success(), "{:#}", restored.json());
}

#[tokio::test]
async fn networks_and_storage_are_as_documented() {
    let gateway = served().await;
    let body = json!({
        "name": "development-vlan", "type": "vlan", "vlan_id": 200, "subnet": "192.168.2.0/24",
        "gateway": "192.168.2.1", "dns_servers": ["8.8.8.8", "8.8.4.4"], "dhcp_enabled": true,
        "dhcp_range": { "start": "192.168.2.100", "end": "192.168.2.200" }
    });
    let made = gateway.post("/v1/networks", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:#}", made.json());
    assert_eq!(made.data()["unapplied"], json!(["dns_servers"]));
    let listed = gateway.get("/v1/networks").await;
    let example = json!({ "networks": [{
        "id": "net-001", "name": "production-vlan", "type": "vlan", "vlan_id": 100, "subnet": "192.168.1.0/24",
        "gateway": "192.168.1.1", "dns_servers": ["8.8.8.8"], "dhcp_enabled": false, "firewall_rules": [],
        "created_at": "2025-07-01T10:00:00Z"
    }]});
    has_members(&listed.json(), &envelope(&example), "");
    let listed = listed.data();
    let found = listed["networks"].as_array().unwrap().iter().find(|each| each["name"] == "development-vlan");
    let found = found.unwrap();
    assert_eq!((&found["type"], &found["subnet"]), (&json!("vlan"), &json!("192.168.2.0/24")));
    assert_eq!((&found["gateway"], &found["dhcp_enabled"]), (&json!("192.168.2.1"), &json!(true)));
    let made =
        gateway.post("/v1/storage", json!({ "name": "fast", "type": "dir", "path": "/srv/fast" })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:#}", made.json());
    let pools = gateway.get("/v1/storage").await.data();
    assert!(pools["pools"].as_array().unwrap().iter().any(|pool| pool["id"] == "fast"));
}

#[tokio::test]
async fn backups_jobs_and_monitoring_are_as_documented() {
    let (gateway, vm) = with_guest().await;
    let body = json!({
        "vm_id": vm, "backup_type": "full", "compression": "gzip", "encryption": true,
        "description": "Monthly full backup"
    });
    let made = gateway.post("/v1/backups", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:#}", made.json());
    assert_eq!(made.data()["unapplied"], json!(["encryption"]));
    let id = made.data()["backup"]["id"].as_str().unwrap().replace('/', "%2F");
    let listed = gateway.get("/v1/backups").await.data();
    assert_eq!(listed["backups"][0]["description"], "Monthly full backup");
    let _ = gateway.post(&format!("/v1/vms/{vm}/stop"), json!({ "graceful": false })).await;
    let restored = gateway.call(Method::POST, &format!("/v1/backups/{id}/restore"), None).await;
    assert!(restored.status.is_success(), "{:#}", restored.json());

    let jobs = gateway.get("/v1/jobs").await.data();
    let kinds: Vec<_> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["restore_backup", "power_off_vm", "create_backup"]);
    let job = jobs["jobs"][0]["id"].as_str().unwrap();
    let example = json!({ "job": {
        "id": "job_create_vm_102", "type": "vm_creation", "status": "running", "progress": 65,
        "started_at": "x", "estimated_completion": "x", "logs": []
    }});
    let found = gateway.get(&format!("/v1/jobs/{job}")).await;
    has_members(&found.json(), &envelope(&example), "");
    assert_eq!(
        (&found.data()["job"]["status"], &found.data()["job"]["progress"]),
        (&json!("completed"), &json!(100))
    );
    assert_eq!(gateway.delete(&format!("/v1/jobs/{job}")).await.code(), "INVALID_STATE");

    let system = gateway.get("/v1/monitoring/metrics").await.data();
    assert!(system["metrics"]["vms"]["total"].as_u64().unwrap() >= 2);
    let _ = gateway.call(Method::POST, &format!("/v1/vms/{vm}/start"), None).await;
    let metrics =
        gateway.get(&format!("/v1/monitoring/vms/{vm}/metrics?period=24h&metrics=cpu,memory")).await.data();
    let names: Vec<_> = metrics["metrics"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["cpu", "memory"]);
    assert!(metrics["history"].is_object());
}

#[tokio::test]
async fn what_no_backend_has_is_unsupported_unless_it_is_supplied() {
    let gateway = served().await;
    let generate = json!({
        "prompt": "Create a secure web server VM", "context": { "environment": "production" },
        "output_format": "terraform"
    });
    let scan =
        json!({ "scan_type": "vulnerability", "targets": ["vm-001"], "scan_options": { "deep_scan": true } });
    for (path, body) in [("/v1/ai/generate", generate.clone()), ("/v1/security/scans", scan.clone())] {
        let answer = gateway.post(path, body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_IMPLEMENTED, "UNSUPPORTED".to_owned()),
            "{path}"
        );
    }

    let gateway = serve(Memory::new(), common::supplied()).await;
    let made = gateway.post("/v1/ai/generate", generate).await;
    let example = json!({
        "success": true,
        "data": { "generated_code": {
            "format": "terraform", "code": "c", "validation_score": 95, "security_analysis": {}
        }},
        "meta": { "request_id": "r", "timestamp": "t", "ai_model": "m", "tokens_used": 1250 }
    });
    has_members(&made.json(), &example, "");
    let started = gateway.post("/v1/security/scans", scan).await;
    let example = json!({ "scan": {
        "id": "scan-001", "type": "vulnerability", "status": "running", "started_at": "x", "estimated_completion": "x"
    }});
    has_members(&started.json(), &envelope(&example), "");
    assert_eq!(gateway.get("/v1/security/scans/scan-001").await.data()["scan"]["id"], "scan-001");
}

#[tokio::test]
async fn health_and_information_are_as_documented() {
    let gateway = served().await;
    let health = gateway.call_as(None, Method::GET, "/v1/health", None).await;
    let example = json!({
        "success": true,
        "data": {
            "status": "healthy", "version": "1.0.0", "uptime_seconds": 86400,
            "components": { "database": "healthy", "proxmox": "healthy", "ai_service": "healthy" }
        },
        "meta": { "timestamp": "t" }
    });
    has_members(&health.json(), &example, "");
    assert_eq!(health.data()["status"], "healthy");
    let info = gateway.get("/v1/info").await.data();
    assert_eq!(info["backend"]["backend"], "memory");
    assert_eq!(info["extensions"], json!(["native-v1"]));
    assert_eq!(info["capabilities"]["list_vms"], "native");
}

#[tokio::test]
async fn errors_are_as_documented() {
    let gateway = served().await;
    let wrong = json!({ "name": "a", "configuration": { "memory_mb": -1024 } });
    let answer = gateway.post("/v1/vms", wrong).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let example = json!({
        "success": false,
        "error": { "code": "c", "message": "m", "details": { "field": "f", "reason": "r" } },
        "meta": { "request_id": "r", "timestamp": "t" }
    });
    has_members(&answer.json(), &example, "");
    assert_eq!(answer.code(), "VALIDATION_ERROR");
    assert_eq!(answer.json()["error"]["details"]["field"], "configuration.memory_mb");
    let cases = [
        (gateway.get("/v1/vms/none").await, 404, "RESOURCE_NOT_FOUND"),
        (gateway.get("/v1/vms?limit=0").await, 422, "VALIDATION_ERROR"),
        (gateway.get("/v1/vms?limit=201").await, 422, "VALIDATION_ERROR"),
        (gateway.get("/v1/vms?sort=cats").await, 422, "VALIDATION_ERROR"),
        (gateway.get("/v1/vms?cursor=none").await, 422, "VALIDATION_ERROR"),
        (gateway.call(Method::POST, "/v1/vms", None).await, 400, "BAD_REQUEST"),
        (gateway.get("/v1/jobs/none").await, 404, "RESOURCE_NOT_FOUND"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    }
    let spec = json!({ "name": "twice" });
    assert_eq!(gateway.post("/v1/groups", json!({ "spec": spec })).await.status, StatusCode::CREATED);
    let again = gateway.post("/v1/groups", json!({ "spec": spec })).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "RESOURCE_CONFLICT".to_owned()));
    let native: hypervisor_core::Error =
        serde_json::from_value(again.json()["error"]["native"].clone()).unwrap();
    assert_eq!(native.kind(), hypervisor_core::ErrorKind::AlreadyExists);
    assert_eq!(native.request_id(), again.json()["meta"]["request_id"].as_str());
}

#[tokio::test]
async fn pages_by_offset_and_by_cursor_are_the_list() {
    let gateway = served().await;
    for number in 0..7 {
        let _ = gateway.memory.create_vm(&VmSpec::new(format!("vm-{number}"))).await.unwrap();
    }
    let names = |data: &Value| -> Vec<String> {
        data["vms"].as_array().unwrap().iter().map(|vm| vm["name"].as_str().unwrap().to_owned()).collect()
    };
    let second = gateway.get("/v1/vms?limit=3&offset=3").await.data();
    assert_eq!(names(&second), ["vm-3", "vm-4", "vm-5"]);
    let pagination = &second["pagination"];
    assert_eq!(
        (&pagination["total"], &pagination["pages"], &pagination["current_page"]),
        (&json!(7), &json!(3), &json!(2))
    );
    assert_eq!((&pagination["has_next"], &pagination["has_previous"]), (&json!(true), &json!(true)));
    for view in ["", "&view=native"] {
        let (mut seen, mut cursor) = (0, String::new());
        loop {
            let page = gateway.get(&format!("/v1/vms?limit=3{view}{cursor}")).await.data();
            seen += page["vms"].as_array().unwrap().len();
            match page["pagination"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, 7, "{view}");
    }
    let down = gateway.get("/v1/vms?order=desc&limit=1").await.data();
    assert_eq!(names(&down), ["vm-6"]);
}
