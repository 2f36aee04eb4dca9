//! A gateway that speaks the whole model: what is sent beyond the document, and that nothing is lost on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::result_large_err, reason = "the WebSocket library fixes the type of its callback")]

mod v1;

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::v1::V1;
use hypervisor_core::http::Message;
use hypervisor_core::model::{
    BackendInfo, BatchOp, ByteSize, ByteStream, Capabilities, ConsoleKind, DeleteVm, DownloadVolume,
    EventKind, EventQuery, Feature, HostInfo, HostState, PageRequest, PowerAction, SnapshotInfo,
    SnapshotTree, Started, TaskId, TaskInfo, TaskState, UploadVolume, VmId, VmInfo, VmMetrics, VmQuery,
    VmSpec, VmState, VolumeId,
};
use hypervisor_core::{
    Batch as _, Compute as _, Error, ErrorKind, Events as _, Hypervisor as _, Metrics as _, Operation, Retry,
    Snapshots as _, Storage as _, Tasks as _,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use v1::Bench;
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

fn data(key: &str, value: impl serde::Serialize) -> Value {
    json!({ "success": true, "data": { key: value } })
}

#[tokio::test]
async fn capabilities_are_those_of_the_backend() {
    let capabilities =
        Capabilities::new().native([Operation::ListVms]).unsupported([Feature::Tpm], "no swtpm");
    let behind =
        BackendInfo::new("hypersdk", "http://h").volume_unit(ByteSize::gib(1)).networks_need_dhcp(true);
    let told =
        json!({ "capabilities": capabilities, "extensions": ["native-v1", "more"], "backend": behind });
    let bench = Bench::with_info(json!({ "data": told })).await;
    assert!(bench.v1.is_native());
    let info = bench.v1.info();
    assert_eq!((info.volume_unit, info.networks_need_dhcp), (Some(ByteSize::gib(1)), true));
    assert_eq!(bench.v1.capabilities(), &capabilities);
    let error =
        bench.v1.clone_vm(&"a".into(), &hypervisor_core::model::CloneSpec::new("b")).await.unwrap_err();
    assert!(error.is_unsupported());
    assert!(bench.sent().await.is_empty(), "what the backend cannot do costs no trip");
}

#[tokio::test]
async fn a_list_is_asked_for_as_the_model_alone() {
    let bench = Bench::native().await;
    let vm = VmInfo::new("7", "web-1", VmState::Unknown("haunted".into()))
        .uid("u")
        .memory(ByteSize::bytes(123_456_789));
    let rows = json!([{ "id": "7", "info": vm }]);
    let answer = json!({ "data": {
        "vms": rows, "pagination": { "total": 9, "next_cursor": "opaque" },
        "unreachable": [{ "host": "h2", "reason": "no route" }],
    } });
    bench.answer("GET", "/v1/vms", 200, answer).await;
    let query = VmQuery::all().client_token("t");
    let page = bench.v1.list_vms(&query, &PageRequest::first().limit(3)).await.unwrap();
    assert_eq!((page.items, page.next.as_deref(), page.total), (vec![vm], Some("opaque"), Some(9)));
    assert_eq!(page.unreachable[0].host.as_str(), "h2");
    let sent = bench.only().await;
    assert!(
        sent.query.contains("view=native&limit=3") && sent.query.contains("client_token"),
        "{}",
        sent.query
    );
    drop(bench.v1.list_vms(&VmQuery::all(), &PageRequest::first().cursor("opaque")).await.unwrap());
    bench.last().await.is("GET", "/v1/vms", "view=native&limit=1000&cursor=opaque");
}

#[tokio::test]
async fn an_object_may_come_with_the_model_beside_it_or_as_the_model_itself() {
    let bench = Bench::native().await;
    let host = HostInfo::new("h1", HostState::Online).cpus(8);
    for answer in [data("host", json!({ "id": "h1", "info": host })), data("host", &host)] {
        bench.reset().await;
        bench.answer("GET", "/v1/hosts/h1", 200, answer).await;
        assert_eq!(bench.v1.get_host(&"h1".into()).await.unwrap(), host);
    }
}

#[tokio::test]
async fn a_create_sends_the_documents_fields_and_the_whole_spec() {
    let bench = Bench::native().await;
    let started = Started::running(VmId::from("7"), "job_1");
    bench.answer("POST", "/v1/vms", 202, data("started", &started)).await;
    let spec =
        VmSpec::new("web-1").cpus(2).memory(ByteSize::kib(1025)).client_token("once").tag("a").tpm(true);
    assert_eq!(bench.v1.create_vm(&spec).await.unwrap(), started);
    let sent = bench.only().await;
    let body = sent.json();
    assert_eq!(
        (body["name"].as_str(), body["configuration"]["memory_mb"].as_u64()),
        (Some("web-1"), Some(2))
    );
    assert_eq!(serde_json::from_value::<VmSpec>(body["spec"].clone()).unwrap(), spec);
    assert_eq!(sent.header("idempotency-key"), Some("once"));
}

#[tokio::test]
async fn power_and_delete_carry_their_options() {
    let bench = Bench::native().await;
    bench.answer("POST", "/v1/vms/7/power", 200, data("started", Started::done(()))).await;
    bench.answer("DELETE", "/v1/vms/7", 200, data("started", Started::done(()))).await;
    drop(bench.v1.power_vm(&"7".into(), &PowerAction::Hibernate).await.unwrap());
    assert_eq!(bench.only().await.json(), json!({ "action": "hibernate" }));
    let options = DeleteVm::keep_disks().power_off(true).expected_uid("u");
    drop(bench.v1.delete_vm(&"7".into(), &options).await.unwrap());
    let query = bench.last().await.query;
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(pairs[0], ("force".to_owned(), "true".to_owned()));
    assert_eq!(serde_json::from_str::<DeleteVm>(&pairs[1].1).unwrap(), options);
}

#[tokio::test]
async fn an_error_of_the_backend_comes_back_as_it_was() {
    let bench = Bench::native().await;
    let there = Error::new(ErrorKind::Locked, "a backup runs")
        .with_target("vm", "7")
        .with_code("55")
        .with_field("name", "odd")
        .with_hint("Wait")
        .with_backend("libvirt")
        .with_task(TaskId::from("job_9"));
    let told = json!({ "code": "LOCKED", "message": "other words", "details": {}, "native": there });
    let answer = json!({ "success": false, "error": told, "meta": { "request_id": "req_1" } });
    bench.answer("GET", "/v1/vms/7", 423, answer).await;
    let here = bench.v1.get_vm(&"7".into()).await.unwrap_err();
    assert_eq!(format!("{here:?}"), format!("{:?}", there.with_request_id("req_1")));
    assert_eq!(here.retry(), Retry::Safe);
}

#[tokio::test]
async fn tasks_snapshots_and_load_keep_the_model() {
    let bench = Bench::native().await;
    let task = TaskInfo::new("job_1", TaskState::Queued).warnings(vec!["slow".into()]).made("m");
    bench.answer("GET", "/v1/jobs/job_1", 200, data("job", json!({ "id": "job_1", "task": task }))).await;
    assert_eq!(bench.v1.get_task(&"job_1".into(), Some(Duration::from_secs(2))).await.unwrap(), task);
    bench.last().await.is("GET", "/v1/jobs/job_1", "hold=2");
    let tree = SnapshotTree::new(vec![SnapshotInfo::new("a").current(true)]);
    bench
        .answer("GET", "/v1/vms/7/snapshots", 200, json!({ "data": { "snapshots": [], "tree": tree } }))
        .await;
    assert_eq!(bench.v1.list_snapshots(&"7".into()).await.unwrap(), tree);
    let load = VmMetrics::new("7", std::time::UNIX_EPOCH).cpu_usage(0.5);
    bench.answer("GET", "/v1/monitoring/vms/7/metrics", 200, data("info", &load)).await;
    assert_eq!(bench.v1.get_vm_metrics(&"7".into()).await.unwrap(), load);
}

#[tokio::test]
async fn a_bulk_call_answers_for_each_operation() {
    let bench = Bench::native().await;
    let ok = Started::running(hypervisor_core::model::BatchOutput::Nothing, "job_1");
    let bad = Error::not_found("vm", "b");
    bench
        .answer("POST", "/v1/batch/bulk", 200, data("results", json!([{ "ok": ok }, { "error": bad }])))
        .await;
    let ops = ["a", "b"].map(|vm| BatchOp::power(vm, PowerAction::Start));
    assert!(bench.v1.bulk_key(&ops[0]).is_some());
    let results = bench.v1.submit_bulk(&ops).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap(), &ok);
    assert!(results[1].as_ref().unwrap_err().is_not_found());
    let short = bench.v1.submit_bulk(&ops[..1]).await.unwrap_err();
    assert_eq!(short.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn what_does_not_go_together_goes_one_by_one() {
    let bench = Bench::native().await;
    let told = json!({ "success": false, "error": { "code": "UNSUPPORTED", "message": "two hosts" } });
    bench.answer("POST", "/v1/batch/bulk", 501, told).await;
    bench.answer("POST", "/v1/vms/a/power", 200, data("started", Started::done(()))).await;
    let ops = ["a", "b"].map(|vm| BatchOp::power(vm, PowerAction::Start));
    let results = bench.v1.submit_bulk(&ops).await.unwrap();
    assert!(results[0].is_ok() && results[1].as_ref().unwrap_err().is_not_found());
}

#[tokio::test]
async fn bytes_go_up_with_their_length_and_come_down_as_a_stream() {
    let bench = Bench::native().await;
    bench
        .answer("PUT", "/v1/volumes/upload", 200, data("started", Started::done(VolumeId::from("p/v"))))
        .await;
    let content = ByteStream::from_bytes("hello");
    drop(bench.v1.upload_volume(&UploadVolume::to("p/v"), content).await.unwrap());
    let sent = bench.only().await;
    assert_eq!((sent.header("content-length"), sent.header("transfer-encoding")), (Some("5"), None));
    assert_eq!(
        (sent.body.as_slice(), sent.query.as_str()),
        (b"hello".as_slice(), "target=%7B%22into%22%3A%22p%2Fv%22%7D")
    );
    Mock::given(method("GET"))
        .and(path("/v1/volumes/p%2Fv/content"))
        .respond_with(ResponseTemplate::new(200).set_body_raw("content", "application/octet-stream"))
        .mount(&bench.server)
        .await;
    let stream = bench.v1.download_volume(&"p/v".into(), &DownloadVolume::all()).await.unwrap();
    assert_eq!(stream.length(), 7);
    assert_eq!(stream.collect(100).await.unwrap(), "content");
    let error = bench.v1.download_volume(&"p/w".into(), &DownloadVolume::all()).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("volume `p/w`")));
}

/// A gateway that answers the question what it is, and then accepts one WebSocket, of which it tells the path.
async fn with_socket(
    frames: Vec<tokio_tungstenite::tungstenite::Message>,
) -> (V1, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http+v1://{}", listener.local_addr().unwrap());
    let told = json!({ "data": { "capabilities": Capabilities::all_native(), "extensions": ["native-v1"] } })
        .to_string();
    let served = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _read = tcp.read(&mut buffer).await.unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{told}",
            told.len()
        );
        tcp.write_all(answer.as_bytes()).await.unwrap();
        drop(tcp);
        let (tcp, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        let callback = |request: &tokio_tungstenite::tungstenite::handshake::server::Request, response| {
            asked = request.uri().to_string();
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(tcp, callback).await.unwrap();
        for frame in frames {
            socket.send(frame).await.unwrap();
        }
        if let Some(Ok(echo)) = socket.next().await {
            drop(socket.send(echo).await);
        }
        asked
    });
    (V1::connect(ClientConfig::new(&url).unwrap()).await.unwrap(), served)
}

#[tokio::test]
async fn events_come_over_a_websocket_and_end_with_an_error() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    let event = hypervisor_core::model::Event::new(std::time::UNIX_EPOCH, EventKind::VmCreated("7".into()));
    let lagged = Error::new(ErrorKind::Transport, "too slow");
    let frames = vec![
        Raw::text(json!({ "event": event }).to_string()),
        Raw::text(json!({ "error": lagged }).to_string()),
    ];
    let (v1, served) = with_socket(frames).await;
    let mut events = v1.watch(&EventQuery::all().vm("7")).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), event);
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!((error.message(), error.operation()), ("too slow", Some(Operation::Watch)));
    assert!(events.next().await.is_none());
    assert!(served.await.unwrap().starts_with("/v1/watch?query="));
}

#[tokio::test]
async fn a_console_is_bytes_both_ways() {
    use tokio_tungstenite::tungstenite::Message as Raw;
    let (v1, served) = with_socket(vec![Raw::binary(b"RFB 003.008\n".to_vec())]).await;
    let mut console = v1.open_console(&"7".into(), &ConsoleKind::Vnc).await.unwrap();
    let Some(Ok(Message::Binary(bytes))) = console.next().await else { panic!("no greeting") };
    assert_eq!(bytes, "RFB 003.008\n");
    console.send(Message::Binary("RFB 003.008\n".into())).await.unwrap();
    assert!(matches!(console.next().await, Some(Ok(Message::Binary(_)))));
    assert_eq!(served.await.unwrap(), "/v1/vms/7/console/stream?kind=%22vnc%22");
}
