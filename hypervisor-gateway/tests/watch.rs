//! Events over WebSockets and as server-sent events; streams of bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::time::Duration;

use axum::http::Method;
use common::{Served, config, listen, serve, served};
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{ByteSize, Event, EventKind, PowerAction, VmSpec};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tower::ServiceExt as _;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(at: std::net::SocketAddr, path: &str, token: &str) -> Socket {
    let mut request = format!("ws://{at}{path}").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn next_event(socket: &mut Socket) -> Event {
    let within = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                let value: Value = serde_json::from_str(&text).unwrap();
                return serde_json::from_value(value["event"].clone()).unwrap();
            }
        }
    });
    within.await.unwrap()
}

async fn make(gateway: &Served, name: &str) {
    let _ = gateway.memory.create_vm(&VmSpec::new(name)).await.unwrap();
}

#[tokio::test]
async fn a_watch_tells_what_happens_after_it_began() {
    let gateway = served().await;
    make(&gateway, "before").await;
    let at = listen(gateway.router.clone()).await;
    let mut socket = open(at, "/v1/watch", &gateway.token).await;
    make(&gateway, "after").await;
    assert!(matches!(next_event(&mut socket).await.kind, EventKind::VmCreated(_)));
    socket.send(Message::Close(None)).await.unwrap();
}

#[tokio::test]
async fn a_watch_names_tasks_as_jobs() {
    let memory = Memory::builder().task_time(Duration::from_millis(50)).build();
    let gateway = serve(memory, config()).await;
    let at = listen(gateway.router.clone()).await;
    let mut socket = open(at, "/v1/watch", &gateway.token).await;
    let vm = gateway.memory.create_vm(&VmSpec::new("a")).await.unwrap().output;
    let body = json!({ "spec": hypervisor_core::model::CloneSpec::new("b") });
    let begun = gateway.post(&format!("/v1/vms/{vm}/clone"), body).await.data();
    let job = begun["started"]["task"].as_str().unwrap().to_owned();
    loop {
        if let EventKind::TaskChanged { task, .. } = next_event(&mut socket).await.kind {
            assert_eq!(task.as_str(), job);
            break;
        }
    }
}

#[tokio::test]
async fn a_slow_subscriber_is_told_that_it_missed_something_and_nobody_waits_for_it() {
    let gateway = serve(Memory::builder().event_buffer(1 << 20).build(), config().watch_buffer(4)).await;
    let at = listen(gateway.router.clone()).await;
    let mut slow = open(at, "/v1/watch", &gateway.token).await;
    let mut quick = open(at, "/v1/watch", &gateway.token).await;
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 100 {
            let kind = next_event(&mut quick).await.kind;
            if kind.is_gap() || matches!(kind, EventKind::VmCreated(_)) {
                seen += 1;
            }
        }
    });
    // More than the sockets' own buffers hold.
    let long = "x".repeat(30);
    for number in 0..30_000 {
        let vm = gateway.memory.create_vm(&VmSpec::new(format!("{long}-{number}"))).await.unwrap().output;
        let options = hypervisor_core::model::DeleteVm::with_disks();
        let _ = gateway.memory.delete_vm(&vm, &options).await.unwrap();
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    reader.await.unwrap();
    let mut told = None;
    for _ in 0..200_000 {
        if let EventKind::Lagged { missed } = next_event(&mut slow).await.kind {
            told = Some(missed);
            break;
        }
    }
    assert!(told.is_some_and(|missed| missed > 0), "{told:?}");
    let metrics = String::from_utf8(gateway.get("/metrics").await.body.to_vec()).unwrap();
    assert!(!metrics.contains("hypervisor_gateway_events_lagged_total 0"), "{metrics}");
}

#[tokio::test]
async fn server_sent_events_tell_the_same() {
    let gateway = served().await;
    let at = listen(gateway.router.clone()).await;
    // Reqwest wants a provider of cryptography even for plain http; a socket does not.
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!(
        "GET /v1/watch HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nauthorization: Bearer {}\r\n\r\n",
        gateway.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let mut made = false;
    while !text.contains("vm_created") {
        let read =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if !made && text.contains("\r\n\r\n") {
            made = true;
            make(&gateway, "a").await;
        }
    }
    assert!(text.contains("content-type: text/event-stream") && text.contains("data: {\"event\":"), "{text}");
}

#[tokio::test]
async fn more_subscribers_than_allowed_are_refused_and_places_come_free() {
    let gateway = serve(Memory::new(), config().subscribers(1)).await;
    let at = listen(gateway.router.clone()).await;
    let first = open(at, "/v1/watch", &gateway.token).await;
    let refused = gateway.get("/v1/watch").await;
    assert_eq!(refused.code(), "OVERLOADED");
    drop(first);
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while gateway.get("/v1/watch").await.code() == "OVERLOADED" {
        assert!(std::time::Instant::now() < until, "the place of a subscriber that is gone stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_volume_is_uploaded_and_downloaded_with_its_length() {
    let gateway = served().await;
    let spec = hypervisor_core::model::VolumeSpec::new("default", "disk", ByteSize::mib(1));
    let made = gateway.post("/v1/volumes", json!({ "spec": spec })).await.data();
    let volume = made["volume"]["id"].as_str().unwrap().replace('/', "%2F");
    let target = serde_json::to_string(&hypervisor_core::model::UploadVolume::to(
        made["volume"]["id"].as_str().unwrap(),
    ));
    let target: String = url::form_urlencoded::byte_serialize(target.unwrap().as_bytes()).collect();
    let send = |length: Option<&'static str>| {
        let mut request = axum::http::Request::builder()
            .method(Method::PUT)
            .uri(format!("/v1/volumes/upload?target={target}"))
            .header("authorization", format!("Bearer {}", gateway.token));
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        gateway.request(request.body(axum::body::Body::from("hello")).unwrap())
    };
    assert_eq!(send(None).await.code(), "BAD_REQUEST");
    assert_eq!(send(Some("9")).await.code(), "TRANSPORT");
    assert!(send(Some("5")).await.status.is_success());
    let content = gateway.get(&format!("/v1/volumes/{volume}/content")).await;
    assert_eq!(content.headers["content-length"], content.body.len().to_string());
    assert!(content.body.starts_with(b"hello"));
}

#[tokio::test]
async fn a_console_is_relayed_both_ways() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let gateway = served().await;
    let spec = VmSpec::new("a").graphics(hypervisor_core::model::GraphicsKind::Vnc);
    let vm = gateway.memory.create_vm(&spec).await.unwrap().output;
    let path = format!("/v1/vms/{vm}/console");
    assert_eq!(gateway.get(&path).await.code(), "INVALID_STATE");
    let _ = gateway.memory.power_vm(&vm, &PowerAction::Start).await.unwrap();
    let told = gateway.get(&path).await.data();
    assert_eq!(told["access"]["kind"], "vnc");
    let port = u16::try_from(told["access"]["port"].as_u64().unwrap()).unwrap();
    // The in-memory guest has a port but nobody behind it.
    let screen = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = screen.accept().await.unwrap();
        stream.write_all(b"RFB 003.008\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    });
    let at = listen(gateway.router.clone()).await;
    let mut socket = open(at, told["console_url"].as_str().unwrap(), &gateway.token).await;
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), &b"RFB 003.008\n"[..]);
    socket.send(Message::Binary(bytes::Bytes::from_static(b"RFB 003.003\n"))).await.unwrap();
    assert_eq!(&echo.await.unwrap(), b"RFB 003.003\n");
}

/// A guest that runs, with a serial port.
async fn with_serial(gateway: &Served, name: &str) -> hypervisor_core::model::VmId {
    let spec = VmSpec::new(name).serial(hypervisor_core::model::SerialSpec::new()).start(true);
    gateway.memory.create_vm(&spec).await.unwrap().output
}

#[tokio::test]
async fn a_serial_console_is_relayed_as_the_backend_carries_it() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let gateway = served().await;
    let vm = with_serial(&gateway, "web-1").await;
    let at = listen(gateway.router.clone()).await;
    let config = hypervisor_client::ClientConfig::new(&format!("http+v1://{at}")).unwrap();
    let config = config.token(gateway.token.as_str()).allow_plain_http_credentials();
    let remote = hypervisor_client::connect(config).await.unwrap();
    let serial = hypervisor_core::model::ConsoleKind::Serial;
    let mut console = remote.stream_console(&vm, &serial).await.unwrap();
    let mut greeting = [0; 15];
    console.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"\r\nweb-1 login: ");
    let error = remote.stream_console(&vm, &serial).await.unwrap_err();
    assert_eq!(error.kind(), hypervisor_core::ErrorKind::Locked, "{error}");
    // More than any message, or than the guest holds: nothing is lost on the way.
    let typed: Vec<u8> = (0..200_000_u32).map(|each| b'a' + u8::try_from(each % 26).unwrap()).collect();
    let (mut read, mut write) = tokio::io::split(console);
    let mut echo = vec![0; typed.len()];
    let sent = async {
        write.write_all(&typed).await.unwrap();
        write.flush().await.unwrap();
    };
    let within = async { tokio::join!(sent, read.read_exact(&mut echo)).1.unwrap() };
    tokio::time::timeout(Duration::from_secs(20), within).await.expect("the console is stuck");
    assert!(echo == typed, "what came back is not what was typed");
    let _ = gateway.memory.power_vm(&vm, &PowerAction::PowerOff).await.unwrap();
    assert_eq!(read.read(&mut [0; 8]).await.unwrap(), 0, "it ends with the guest's power");
    let error = remote.stream_console(&vm, &serial).await.unwrap_err();
    assert_eq!(error.kind(), hypervisor_core::ErrorKind::InvalidState, "{error}");
}

/// The close frame that ends this socket, after whatever else comes.
async fn closed(socket: &mut Socket) -> (u16, String) {
    let within = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("it was cut off: {other:?}"),
            }
        }
    });
    within.await.unwrap()
}

#[tokio::test]
async fn open_streams_are_told_when_the_gateway_ends_and_have_had_their_time() {
    let grace = Duration::from_secs(1);
    let gateway = serve(Memory::new(), config().stream_grace(grace)).await;
    let vm = with_serial(&gateway, "a").await;
    let told = gateway.get(&format!("/v1/vms/{vm}/console?kind=serial")).await.data();
    let at = listen(gateway.router.clone()).await;
    let mut console = open(at, told["console_url"].as_str().unwrap(), &gateway.token).await;
    let mut watch = open(at, "/v1/watch", &gateway.token).await;
    let request = axum::http::Request::builder().uri("/v1/watch").header("accept", "text/event-stream");
    let request = request.header("authorization", format!("Bearer {}", gateway.token));
    let events =
        gateway.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let began = std::time::Instant::now();
    let handle = gateway.gateway.clone();
    let closing = tokio::spawn(async move { handle.close().await });
    // Within the grace all goes on.
    make(&gateway, "late").await;
    assert!(matches!(next_event(&mut watch).await.kind, EventKind::VmCreated(_)));
    let goodbye = (1001, "the gateway is shutting down".to_owned());
    let (said_to_watch, said_to_console) = tokio::join!(closed(&mut watch), closed(&mut console));
    assert_eq!([said_to_watch, said_to_console], [goodbye.clone(), goodbye]);
    assert!(began.elapsed() >= grace, "the streams had no grace");
    let events = events.into_body().collect().await.unwrap().to_bytes();
    let events = String::from_utf8_lossy(&events);
    assert!(
        events.contains("vm_created") && events.contains("event: shutdown\ndata: {\"reason\":"),
        "{events}"
    );
    closing.await.unwrap();
}

const BUFFER: usize = 16;

/// Subscribers that never read, in the heap of this thread: how many bytes they hold after so many guests have come and gone.
fn held(subscribers: usize, guests: usize) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = runtime.block_on(serve(
        Memory::builder().event_buffer(64).build(),
        config().watch_buffer(BUFFER).subscribers(subscribers.max(1)),
    ));
    let request = || {
        let request = axum::http::Request::builder().uri("/v1/watch").header("accept", "text/event-stream");
        let request = request.header("authorization", format!("Bearer {}", gateway.token));
        gateway.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap())
    };
    let mut open = Vec::with_capacity(subscribers);
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            for _ in 0..subscribers {
                open.push(request().await.unwrap());
            }
            for number in 0..guests {
                let spec = VmSpec::new(format!("guest-{number:04}"));
                let vm = gateway.memory.create_vm(&spec).await.unwrap().output;
                tokio::task::yield_now().await;
                let options = hypervisor_core::model::DeleteVm::with_disks();
                let _ = gateway.memory.delete_vm(&vm, &options).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    });
    runtime.block_on(async {
        let metrics = String::from_utf8(gateway.get("/metrics").await.body.to_vec()).unwrap();
        assert!(metrics.contains(&format!("hypervisor_gateway_subscribers {subscribers}\n")), "{metrics}");
        // The slowest reader first gets what its queue held, then is told that it missed the rest.
        if let Some(slow) = open.pop() {
            let mut body = slow.into_body();
            let mut events = Vec::new();
            while events.len() < BUFFER + 1 {
                let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
                let bytes = frame.unwrap().unwrap().unwrap().into_data().unwrap();
                events.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            assert!(events[..BUFFER].iter().all(|event| !event.contains("lagged")), "{events:#?}");
            assert!(events[BUFFER].contains(r#""lagged":{"missed":"#), "{events:#?}");
        }
    });
    counted.bytes_current
}

#[test]
fn subscribers_who_do_not_read_cost_a_bounded_queue_each_and_no_more() {
    let nobody = held(0, 40);
    let (some, twice, four) = (held(250, 40) - nobody, held(500, 40) - nobody, held(1000, 40) - nobody);
    println!("subscribers that do not read: 250 hold {some} bytes, 500 {twice}, 1000 {four}");
    for (fewer, more) in [(some, twice), (twice, four)] {
        assert!((17..=23).contains(&(more * 10 / fewer)), "twice as many hold {more} instead of {fewer}");
    }
    assert!(four / 1000 < 16 << 10, "a subscriber holds {} bytes", four / 1000);
    // Three times as many events: the queues are full already.
    let longer = held(500, 120) - held(0, 120);
    assert!(longer <= twice + twice / 4, "the queues grow: {longer} instead of {twice}");
}

#[tokio::test]
async fn a_token_that_is_revoked_or_expires_takes_its_streams_with_it() {
    let gateway = served().await;
    let at = listen(gateway.router.clone()).await;
    let lifetimes = [None, Some(Duration::from_millis(700))];
    for lifetime in lifetimes {
        let made = gateway.gateway.create_token("guest", &["*"], lifetime).await.unwrap();
        let vm = with_serial(&gateway, "a").await;
        let mut console = open(at, &format!("/v1/vms/{vm}/console/stream?kind=serial"), &made.token).await;
        let mut watch = open(at, "/v1/watch", &made.token).await;
        let mut other = open(at, "/v1/watch", &gateway.token).await;
        let request = axum::http::Request::builder().uri("/v1/watch").header("accept", "text/event-stream");
        let request = request.header("authorization", format!("Bearer {}", made.token));
        let events =
            gateway.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        if lifetime.is_none() {
            let revoked = gateway.delete(&format!("/v1/auth/tokens/{}", made.id)).await;
            assert!(revoked.status.is_success());
        }
        let goodbye = (1008, "the token is not valid any more".to_owned());
        let (of_watch, of_console) = tokio::join!(closed(&mut watch), closed(&mut console));
        assert_eq!([of_watch, of_console], [goodbye.clone(), goodbye]);
        let events = tokio::time::timeout(Duration::from_secs(10), events.into_body().collect()).await;
        let events = events.unwrap().unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&events).contains("the token is not valid any more"));
        // Those of others go on.
        make(&gateway, if lifetime.is_none() { "later" } else { "last" }).await;
        assert!(matches!(next_event(&mut other).await.kind, EventKind::VmCreated(_)));
        let options = hypervisor_core::model::DeleteVm::with_disks().power_off(true);
        let _ = gateway.memory.delete_vm(&vm, &options).await.unwrap();
    }
}
