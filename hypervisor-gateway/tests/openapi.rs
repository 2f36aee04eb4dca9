//! What is answered is what the OpenAPI document says: every member that a success has is described there, with its type.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::collections::BTreeSet;

use axum::http::Method;
use common::{Served, serve, served};
use hypervisor_core::memory::Memory;
use hypervisor_core::model::ByteSize;
use hypervisor_core::model::{
    BackupSpec, BatchItem, BatchOp, BatchRequest, CloneMany, CloneSpec, DiskSpec, ExecSpec, GraphicsKind,
    GroupSpec, MetricsTarget, NetworkSpec, NicSource, NicSpec, PowerAction, SnapshotSpec, VmSpec, VolumeSpec,
};
use hypervisor_core::{Backups as _, Compute as _, Network as _, Snapshots as _, Storage as _};
use serde_json::{Map, Value, json};

struct Document(Value);

impl Document {
    fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        while let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            schema = self.0.pointer(path.trim_start_matches('#')).unwrap();
        }
        schema
    }

    /// Why the value does not fit; every member must be described.
    fn fits(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        if schema.get("$ref").is_some() {
            return self.fits(value, self.resolve(schema), at);
        }
        let any = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        if let Some(any) = any {
            let tried: Vec<_> = any.iter().map(|each| self.fits(value, each, at)).collect();
            if tried.iter().all(Result::is_err) {
                let why: Vec<String> = tried.into_iter().filter_map(Result::err).collect();
                return Err(why.join(" and "));
            }
        }
        if let Some(one) = schema.get("const")
            && one != value
        {
            return Err(format!("{at}: {value} is not {one}"));
        }
        if let Some(names) = schema.get("enum").and_then(Value::as_array)
            && !names.contains(value)
        {
            return Err(format!("{at}: {value} is none of {names:?}"));
        }
        self.type_fits(value, schema, at)?;
        match value {
            Value::Object(members) => self.members_fit(members, schema, at),
            Value::Array(items) => match schema.get("items") {
                Some(each) => {
                    let mut all = items.iter().enumerate();
                    all.try_for_each(|(index, item)| self.fits(item, each, &format!("{at}[{index}]")))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn type_fits(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        let kinds: Vec<&str> = match schema.get("type") {
            None => return Ok(()),
            Some(Value::String(kind)) => vec![kind],
            Some(kinds) => kinds.as_array().unwrap().iter().filter_map(Value::as_str).collect(),
        };
        let fits = |kind: &&str| match *kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("{other} is no type"),
        };
        if kinds.iter().any(fits) { Ok(()) } else { Err(format!("{at}: {value} is not {kinds:?}")) }
    }

    fn members_fit(&self, members: &Map<String, Value>, schema: &Value, at: &str) -> Result<(), String> {
        if let Some(required) = schema.get("required").and_then(Value::as_array)
            && let Some(missing) =
                required.iter().filter_map(Value::as_str).find(|name| !members.contains_key(*name))
        {
            return Err(format!("{at}: {missing} is missing"));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let more = schema.get("additionalProperties");
        for (name, value) in members {
            let here = format!("{at}.{name}");
            match (properties.and_then(|all| all.get(name)), more) {
                (Some(each), _) => self.fits(value, each, &here)?,
                (None, Some(Value::Bool(false))) => return Err(format!("{here} may not be there")),
                (None, Some(each)) => self.fits(value, each, &here)?,
                (None, None) if properties.is_some() => return Err(format!("{here} is not described")),
                (None, None) => {}
            }
        }
        Ok(())
    }
}

/// Sends it and compares the success with the document.
async fn compare(
    gateway: &Served,
    document: &Document,
    seen: &mut BTreeSet<String>,
    (method, route, path, body): (Method, &str, String, Option<Value>),
) -> Value {
    let answer = gateway.call(method.clone(), &path, body).await;
    let status = answer.status.as_u16().to_string();
    assert!(answer.status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
    let operation = &document.0["paths"][route][method.as_str().to_ascii_lowercase()];
    let schema = &operation["responses"][&status]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {route} has no {status}");
    let json = answer.json();
    let id = operation["operationId"].as_str().unwrap();
    let why = document.fits(&json, schema, "").err();
    seen.insert(why.map_or_else(|| id.to_owned(), |why| format!("WRONG {method} {path}: {why}")));
    json["data"].clone()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn what_is_answered_is_what_the_document_says() {
    let gateway = serve(Memory::new(), common::supplied()).await;
    let hv = &gateway.memory;
    let volume = hv.create_volume(&VolumeSpec::new("default", "a", ByteSize::mib(1))).await.unwrap().output;
    let network = NetworkSpec::nat("n", "10.9.0.1/24".parse().unwrap());
    let network = hv.create_network(&network).await.unwrap().output;
    let _ = hv.start_network(&network).await.unwrap();
    let spec = VmSpec::new("web")
        .tag("production")
        .graphics(GraphicsKind::Vnc)
        .agent(true)
        .disk(DiskSpec::new_volume(ByteSize::mib(1)))
        .nic(NicSpec::new(NicSource::Network(network.clone())));
    let vm = hv.create_vm(&spec).await.unwrap().output;
    let _ = hv.power_vm(&vm, &PowerAction::Start).await.unwrap();
    let _ = hv.create_snapshot(&vm, &SnapshotSpec::new("s")).await.unwrap();
    let backup = hv.create_backup(&vm, &BackupSpec::new()).await.unwrap().output.unwrap();
    let _ = hv.create_group(&GroupSpec::new("g")).await.unwrap();
    let host = hv.get_vm(&vm).await.unwrap().host.unwrap();
    let document = Document(gateway.get("/v1/openapi.json").await.json());
    let mut seen = BTreeSet::new();
    let volume = encoded(volume.as_str());
    let target = encoded(&serde_json::to_string(&MetricsTarget::Vm(vm.clone())).unwrap());
    let gets = [
        ("/v1/health", String::new()),
        ("/v1/info", String::new()),
        ("/v1/auth/tokens", String::new()),
        ("/v1/webhooks", String::new()),
        ("/v1/vms", String::new()),
        ("/v1/vms", "?view=native".to_owned()),
        ("/v1/vms/{vm_id}", String::new()),
        ("/v1/vms/{vm_id}/config", String::new()),
        ("/v1/vms/{vm_id}/console", String::new()),
        ("/v1/vms/{vm_id}/snapshots", String::new()),
        ("/v1/vms/{vm_id}/snapshots/{snapshot_id}", String::new()),
        ("/v1/guest/{vm_id}/addresses", String::new()),
        ("/v1/cluster", String::new()),
        ("/v1/hosts", String::new()),
        ("/v1/hosts", "?view=native".to_owned()),
        ("/v1/hosts/{host_id}", String::new()),
        ("/v1/groups", String::new()),
        ("/v1/groups/{group_id}", String::new()),
        ("/v1/storage", String::new()),
        ("/v1/storage", "?view=native".to_owned()),
        ("/v1/storage/{pool_id}", String::new()),
        ("/v1/storage/{pool_id}/volumes", String::new()),
        ("/v1/volumes/{volume_id}", String::new()),
        ("/v1/networks", String::new()),
        ("/v1/networks/{network_id}", String::new()),
        ("/v1/networks/{network_id}/leases", String::new()),
        ("/v1/backups", String::new()),
        ("/v1/backups/{backup_id}", String::new()),
        ("/v1/jobs", String::new()),
        ("/v1/monitoring/metrics", String::new()),
        ("/v1/monitoring/hosts/{host_id}/metrics", String::new()),
        ("/v1/monitoring/vms", String::new()),
        ("/v1/monitoring/vms", "?view=native".to_owned()),
        ("/v1/monitoring/vms/{vm_id}/metrics", "?period=1h".to_owned()),
        ("/v1/monitoring/history", format!("?target={target}")),
        ("/v1/security/scans/{scan_id}", String::new()),
    ];
    let fill = |route: &str| {
        route
            .replace("{vm_id}", vm.as_str())
            .replace("{snapshot_id}", "s")
            .replace("{scan_id}", "scan-001")
            .replace("{host_id}", host.as_str())
            .replace("{group_id}", "g")
            .replace("{pool_id}", "default")
            .replace("{volume_id}", &volume)
            .replace("{network_id}", &encoded(network.as_str()))
            .replace("{backup_id}", &encoded(backup.as_str()))
    };
    for (route, query) in gets {
        let path = format!("{}{query}", fill(route));
        compare(&gateway, &document, &mut seen, (Method::GET, route, path, None)).await;
    }
    let many = BatchRequest::new([BatchItem::new(BatchOp::power("none", PowerAction::Start))]);
    let posts = [
        ("/v1/vms", json!({ "spec": VmSpec::new("other") })),
        ("/v1/vms/{vm_id}/power", json!({ "action": "pause" })),
        ("/v1/vms/{vm_id}/power", json!({ "action": "resume" })),
        ("/v1/vms/{vm_id}/clone", json!({ "spec": CloneSpec::new("copy") })),
        ("/v1/vms/{vm_id}/clones", json!({ "spec": CloneMany::new("many", 2) })),
        ("/v1/vms/{vm_id}/disks", json!({ "spec": DiskSpec::new_volume(ByteSize::mib(1)) })),
        ("/v1/guest/{vm_id}/exec", json!({ "spec": ExecSpec::new("true") })),
        ("/v1/guest/{vm_id}/ping", json!({})),
        ("/v1/volumes", json!({ "spec": VolumeSpec::new("default", "b", ByteSize::mib(1)) })),
        ("/v1/batch", json!({ "request": many })),
        ("/v1/batch/bulk", json!({ "ops": [BatchOp::power(vm.clone(), PowerAction::Reset)] })),
        ("/v1/ai/generate", json!({ "prompt": "a web server", "output_format": "terraform" })),
        ("/v1/security/scans", json!({ "scan_type": "vulnerability", "targets": ["vm-001"] })),
    ];
    for (route, body) in posts {
        compare(&gateway, &document, &mut seen, (Method::POST, route, fill(route), Some(body))).await;
    }
    let wrong: Vec<_> = seen.iter().filter(|each| each.starts_with("WRONG")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen.len() >= 40, "{}: {seen:?}", seen.len());
}

/// How a request for a stream is answered: status and type.
async fn begun(at: std::net::SocketAddr, path: &str, token: &str, headers: &str) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (head[9..12].to_owned(), kind.to_owned())
}

#[tokio::test]
async fn streams_begin_as_the_document_says() {
    let gateway = served().await;
    let spec = VmSpec::new("a").serial(hypervisor_core::model::SerialSpec::new()).start(true);
    let vm = gateway.memory.create_vm(&spec).await.unwrap().output;
    let document = gateway.get("/v1/openapi.json").await.json();
    let at = common::listen(gateway.router.clone()).await;
    let socket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let console = format!("/v1/vms/{vm}/console/stream?kind=serial");
    for (route, path, headers, status, kind) in [
        ("/v1/watch", "/v1/watch", socket, "101", ""),
        ("/v1/watch", "/v1/watch", "accept: text/event-stream\r\n", "200", "text/event-stream"),
        ("/v1/vms/{vm_id}/console/stream", console.as_str(), socket, "101", ""),
    ] {
        assert_eq!(
            begun(at, path, &gateway.token, headers).await,
            (status.to_owned(), kind.to_owned()),
            "{path}"
        );
        let said = &document["paths"][route]["get"]["responses"][status];
        assert!(said.is_object(), "{route} has no {status}");
        assert_eq!(said["content"].get(kind).is_some(), !kind.is_empty(), "{route} {said}");
    }
}

#[tokio::test]
async fn no_schema_is_an_object_of_which_nothing_is_said() {
    let gateway = served().await;
    let document = gateway.get("/v1/openapi.json").await.json();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let said = ["properties", "additionalProperties", "oneOf", "anyOf"];
        let bare = schema["type"] == "object" && !said.iter().any(|key| schema.get(key).is_some());
        assert!(!bare, "{name}: {schema}");
    }
    for name in ["VmInfo", "VmSpec", "VmConfig", "BatchReport", "NativeError", "CloneSpec", "Lease"] {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
