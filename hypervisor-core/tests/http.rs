//! What `http` promises, against servers on loopback that answer byte by byte what the test says.

#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hypervisor_core::http::{
    Fingerprint, Http, HttpConfig, Message, Method, Request, Trust, decode, segment,
};
use hypervisor_core::model::{ByteSize, ByteStream};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Retry};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What a server does with one request.
#[derive(Clone)]
enum Act {
    /// Sends these bytes and keeps the connection.
    Say(&'static str),
    /// Sends these bytes and closes the connection.
    SayAndClose(&'static str),
    /// Reads the request and closes the connection without a word.
    Close,
    /// Reads the request and never answers.
    Hang,
}

struct Server {
    address: SocketAddr,
    /// Whole requests, head and body, as they came.
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::default(), Arc::default());
        let server = Self { address, requests: Arc::clone(&requests), connections: Arc::clone(&connections) };
        let acts = Arc::new(Mutex::new(acts.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&acts), Arc::clone(&requests)));
            }
        });
        server
    }

    fn http(&self) -> Http {
        Http::new(self.config()).unwrap()
    }

    fn config(&self) -> HttpConfig {
        HttpConfig::parse(&format!("http://{}/base", self.address)).unwrap()
    }

    fn request(&self, at: usize) -> String {
        self.requests.lock().unwrap()[at].clone()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    acts: Arc<Mutex<std::vec::IntoIter<Act>>>,
    requests: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        let act = acts.lock().unwrap().next();
        match act.unwrap_or(Act::Close) {
            Act::Say(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
            Act::SayAndClose(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                return;
            }
            Act::Close => return,
            Act::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                })
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => seen.extend_from_slice(&piece[..read]),
        }
    }
}

const OK: Act =
    Act::Say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}");

async fn failed(http: &Http, request: Request) -> Error {
    http.send(request).await.expect_err("an answer came")
}

#[tokio::test]
async fn a_request_goes_out_as_it_was_made() {
    let server = Server::start(vec![OK]).await;
    let path = format!("/nodes/{}/qemu", segment("a/b ü").unwrap());
    let request = Request::post(path)
        .query("full", "1")
        .query("name", "a&b c")
        .header("x-one", "1")
        .secret_header("authorization", &SecretString::from("Bearer canary"))
        .form([("a b", "c&d"), ("e", "")]);
    assert!(!format!("{request:?}").contains("canary"));
    let response = server.http().send(request).await.unwrap();
    assert_eq!((response.status(), response.reason()), (200, "OK"));
    let sent = server.request(0);
    assert!(
        sent.starts_with("POST /base/nodes/a%2Fb%20%C3%BC/qemu?full=1&name=a%26b+c HTTP/1.1\r\n"),
        "{sent}"
    );
    assert!(sent.contains("x-one: 1\r\n") && sent.contains("authorization: Bearer canary\r\n"), "{sent}");
    assert!(sent.contains("content-type: application/x-www-form-urlencoded\r\n"), "{sent}");
    assert!(sent.ends_with("\r\n\r\na+b=c%26d&e="), "{sent}");
}

#[tokio::test]
async fn a_delete_has_no_body_and_a_stream_is_never_chunked() {
    let server = Server::start(vec![OK, OK]).await;
    let http = server.http();
    http.send(Request::delete("/x")).await.unwrap();
    let sent = server.request(0).to_ascii_lowercase();
    assert!(!sent.contains("transfer-encoding") && !sent.contains("content-type"), "{sent}");
    let pieces = futures::stream::iter(["hello", " ", "world"].map(|piece| Ok(Bytes::from(piece))));
    let request = Request::put("/x").stream("application/octet-stream", ByteStream::new(11, pieces));
    http.send(request).await.unwrap();
    let sent = server.request(1);
    assert!(sent.contains("content-length: 11\r\n") && sent.ends_with("hello world"), "{sent}");
    assert!(!sent.to_ascii_lowercase().contains("transfer-encoding"), "{sent}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "connections are kept");
}

#[tokio::test]
async fn the_reason_phrase_is_kept() {
    let server = Server::start(vec![Act::Say(
        "HTTP/1.1 500 VM 9 does not exist\r\ncontent-length: 13\r\n\r\n{\"data\":null}",
    )])
    .await;
    let response = server.http().send(Request::get("/x").operation(Operation::GetVm)).await.unwrap();
    assert_eq!(response.reason(), "VM 9 does not exist");
    let error = response.error();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Backend, Some("500")));
    assert_eq!((error.operation(), error.effect()), (Some(Operation::GetVm), Effect::None));
}

#[tokio::test]
async fn what_a_status_says_is_kept() {
    for (answer, kind, message) in [
        ("404 Not Found\r\ncontent-length: 16\r\n\r\n{\"error\":\"gone\"}", ErrorKind::NotFound, "gone"),
        (
            "422 X\r\ncontent-length: 34\r\n\r\n{\"error\":{\"message\":\"bad memory\"}}",
            ErrorKind::InvalidInput,
            "bad memory",
        ),
        ("409 X\r\ncontent-length: 22\r\n\r\n{\"detail\":\"duplicate\"}", ErrorKind::Conflict, "duplicate"),
        ("403 Nope\r\ncontent-length: 0\r\n\r\n", ErrorKind::PermissionDenied, "Nope"),
        (
            "502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 40\r\n\r\n<html><h1>Bad Gateway</h1> nginx  </html",
            ErrorKind::Transport,
            "Bad Gateway nginx",
        ),
        ("500 X\r\ncontent-length: 11\r\n\r\nplain words", ErrorKind::Backend, "plain words"),
    ] {
        let text: &'static str = Box::leak(format!("HTTP/1.1 {answer}").into_boxed_str());
        let server = Server::start(vec![Act::SayAndClose(text)]).await;
        let error = server.http().send(Request::post("/x")).await.unwrap().error();
        assert_eq!((error.kind(), error.message()), (kind, message), "{answer}");
    }
}

#[tokio::test]
async fn limits_of_the_server_are_read() {
    let server = Server::start(vec![Act::Say(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\nx-ratelimit-limit: 100\r\nx-ratelimit-remaining: 0\r\n\
         x-ratelimit-window: 3600\r\nx-request-id: req_1\r\ncontent-length: 0\r\n\r\n",
    )])
    .await;
    let response = server.http().send(Request::post("/x")).await.unwrap();
    let limit = response.rate_limit().unwrap();
    assert_eq!((limit.limit, limit.remaining, limit.window), (Some(100), 0, Some(Duration::from_secs(3600))));
    let error = response.error();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Safe));
    assert_eq!((error.retry_after(), error.request_id()), (Some(Duration::from_secs(7)), Some("req_1")));
}

#[tokio::test]
async fn what_breaks_says_whether_it_may_have_had_an_effect() {
    let truncated = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":";
    for (act, kind) in [
        (Act::Close, ErrorKind::Transport),
        (Act::SayAndClose(truncated), ErrorKind::Transport),
        (Act::SayAndClose("not HTTP at all\r\n\r\n"), ErrorKind::Transport),
        (Act::Hang, ErrorKind::Timeout),
        (Act::Say(truncated), ErrorKind::Timeout),
    ] {
        let server = Server::start(vec![act.clone(), act]).await;
        let http = Http::new(server.config().request_timeout(Duration::from_millis(300))).unwrap();
        let error = failed(&http, Request::post("/x").operation(Operation::CreateVm)).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!((error.retry(), error.effect()), (Retry::IfIdempotent, Effect::Unknown), "{error}");
        assert_eq!(error.operation(), Some(Operation::CreateVm));
        let error = failed(&http, Request::get("/x")).await;
        assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{error}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_not_read() {
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n{";
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n";
    for answer in [huge, endless] {
        let server = Server::start(vec![Act::Say(answer)]).await;
        let http = Http::new(server.config().max_body(ByteSize::bytes(50))).unwrap();
        let error = failed(&http, Request::get("/x")).await;
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::None));
        assert!(error.to_string().contains("larger than"), "{error}");
    }
}

#[tokio::test]
async fn the_next_endpoint_is_tried_only_where_nothing_was_sent() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let server = Server::start(vec![OK, Act::Close, OK]).await;
    let second = HttpConfig::parse(&format!("http://{nobody}")).unwrap();
    let second = second.endpoint(format!("http://{}", server.address).parse().unwrap()).unwrap();
    let http = Http::new(second).unwrap();
    let pieces = ByteStream::from_bytes("whole");
    let request = Request::put("/x").stream("application/octet-stream", pieces);
    assert!(http.send(request).await.unwrap().is_success());
    assert!(server.request(0).ends_with("whole"), "a stream survives an endpoint that cannot be reached");
    assert_eq!(http.base().port(), Some(server.address.port()), "the good one comes first from now on");
    let error = failed(&http, Request::post("/x")).await;
    assert_eq!(
        (error.kind(), server.count()),
        (ErrorKind::Transport, 2),
        "it was sent: it is not sent again"
    );

    let http = Http::new(HttpConfig::parse(&format!("http://{nobody}")).unwrap()).unwrap();
    let error = failed(&http, Request::post("/x").query("token", "canary")).await;
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Connect, Retry::Safe, Effect::None)
    );
    assert!(
        error.to_string().contains(&nobody.to_string()) && !format!("{error:#?}").contains("canary"),
        "{error:#?}"
    );
}

#[tokio::test]
async fn redirects_stay_at_home() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    let away = "HTTP/1.1 302 Found\r\nlocation: http://203.0.113.9/x\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(vec![Act::Say(moved), OK]).await;
    assert!(server.http().send(Request::get("/x")).await.unwrap().is_success());
    assert!(server.request(1).starts_with("GET /there "));
    for (acts, request, said) in [
        (vec![Act::Say(moved)], Request::post("/x"), "not sent twice"),
        (vec![Act::Say(away)], Request::get("/x"), "203.0.113.9"),
        (vec![Act::Say(moved); 9], Request::get("/x"), "more than 5 times"),
    ] {
        let server = Server::start(acts).await;
        let error = failed(&server.http(), request).await;
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let server = Server::start(vec![]).await;
    let http = server.http();
    for request in [
        Request::get("x"),
        Request::get("/x").header("bad name", "v"),
        Request::get("/x").secret_header("authorization", &SecretString::from("canary\r\nx: y")),
    ] {
        let error = failed(&http, request).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:#?}").contains("canary"));
    }
    for name in ["", ".", ".."] {
        assert_eq!(segment(name).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(server.count(), 0);
    for url in ["ftp://h", "http://u:canary@h", "http://h/?a=canary", "http://"] {
        let error = HttpConfig::parse(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_document_says_where() {
    #[derive(Debug, serde::Deserialize)]
    struct Answer {
        #[allow(dead_code, reason = "the decoder alone is tested")]
        data: Vec<Item>,
    }
    #[derive(Debug, serde::Deserialize)]
    struct Item {
        #[allow(dead_code, reason = "the decoder alone is tested")]
        mem: u64,
    }
    let error = decode::<Answer>(br#"{"data":[{"mem":1},{"mem":"x"}]}"#).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("data[1].mem"), "{error}");
    assert!(decode::<Answer>(br#"{"data":[]} trailing"#).is_err());
    let server = Server::start(vec![Act::Say(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 27\r\n\r\n<html>Please log in.</html>",
    )])
    .await;
    let error = server.http().send(Request::post("/x")).await.unwrap().json::<Answer>().unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::Unknown));
    assert!(error.to_string().contains("Please log in."), "{error}");
}

#[tokio::test]
async fn a_download_is_a_stream_and_a_stall_ends_it() {
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let stalled = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
    let refused = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone";
    let server =
        Server::start(vec![Act::Say(good), Act::Say(refused), Act::SayAndClose(stalled), Act::Say(stalled)])
            .await;
    let http = Http::new(server.config().request_timeout(Duration::from_millis(300))).unwrap();
    let (head, stream) = http.download(Request::get("/x")).await.unwrap();
    assert_eq!((head.status(), head.bytes().len()), (200, 0));
    assert_eq!(stream.unwrap().collect(5).await.unwrap(), "hello");
    let (head, stream) = http.download(Request::get("/x")).await.unwrap();
    assert!(stream.is_none() && head.error().message() == "gone");
    for kind in [ErrorKind::Transport, ErrorKind::Timeout] {
        let (_, stream) = http.download(Request::get("/x")).await.unwrap();
        assert_eq!(stream.unwrap().collect(99).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_stream_that_fails_says_why_and_a_slow_one_is_waited_for() {
    let server = Server::start(vec![OK, OK]).await;
    let http = Http::new(server.config().request_timeout(Duration::from_secs(1))).unwrap();
    let pieces = futures::stream::unfold(0, |at| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        (at < 5).then(|| (Ok(Bytes::from_static(b"x")), at + 1))
    });
    let slow = Request::put("/x").stream("application/octet-stream", ByteStream::new(5, pieces));
    assert!(
        http.send(slow).await.unwrap().is_success(),
        "longer than the deadline, but never still for so long"
    );
    let broken = futures::stream::iter([
        Ok(Bytes::from_static(b"x")),
        Err(Error::new(ErrorKind::Exhausted, "the disk is gone")),
    ]);
    let error =
        failed(&http, Request::put("/x").stream("application/octet-stream", ByteStream::new(5, broken)))
            .await;
    assert_eq!((error.kind(), error.message()), (ErrorKind::Exhausted, "the disk is gone"));
}

/// A server over TLS with this certificate, that answers `OK` to all.
async fn tls(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(stream, Arc::new(Mutex::new(vec![OK; 9].into_iter())), Arc::default()).await;
            });
        }
    });
    address
}

fn certificate(
    names: &[&str],
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    change(&mut params);
    let cert = params.self_signed(&signing_key).unwrap();
    rcgen::CertifiedKey { cert, signing_key }
}

async fn reached(address: SocketAddr, change: impl FnOnce(HttpConfig) -> HttpConfig) -> Result<(), Error> {
    let config = HttpConfig::parse(&format!("https://{address}")).unwrap();
    Http::new(change(config))?.send(Request::get("/x")).await.map(drop)
}

#[tokio::test]
async fn only_what_is_trusted_is_talked_to() {
    let good = certificate(&["127.0.0.1"], |_| {});
    let wrong_name = certificate(&["other.example"], |_| {});
    let no_name = certificate(&[], |_| {});
    let expired = certificate(&["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    for (which, cert, ca_accepts) in [
        ("good", &good, true),
        ("wrong name", &wrong_name, false),
        ("no name", &no_name, false),
        ("expired", &expired, false),
    ] {
        let address = tls(cert).await;
        let error = reached(address, |config| config).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe), "{which}: {error}");
        assert!(error.to_string().to_lowercase().contains("certificate"), "{which}: {error}");
        let ca = reached(address, |config| config.trust(Trust::Ca(cert.cert.pem().into_bytes()))).await;
        assert_eq!(ca.is_ok(), ca_accepts, "{which}: {ca:?}");
        let pin = Fingerprint::of(cert.cert.der());
        reached(address, |config| config.trust(Trust::Fingerprint(pin))).await.unwrap();
        let other = Fingerprint::of(b"another");
        let error = reached(address, |config| config.trust(Trust::Fingerprint(other))).await.unwrap_err();
        assert!(error.to_string().contains(&pin.to_string()), "the message names what was seen: {error}");
        reached(address, HttpConfig::danger_accept_invalid_certs).await.unwrap();
    }
    assert_eq!(
        reached(tls(&good).await, |c| c.trust(Trust::Ca(b"nonsense".to_vec()))).await.unwrap_err().kind(),
        ErrorKind::Config
    );
}

/// Signed by an authority of this name.
fn signed(
    names: &[&str],
    authority: &rcgen::Issuer<'_, rcgen::KeyPair>,
) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = rcgen::CertificateParams::new(names).unwrap().signed_by(&signing_key, authority).unwrap();
    rcgen::CertifiedKey { cert, signing_key }
}

#[tokio::test]
async fn an_authority_vouches_for_what_it_has_signed_and_for_nothing_else() {
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (rcgen::Issuer::new(params, key), pem.into_bytes())
    };
    let ((ours, pem), (others, other_pem)) = (authority("ours"), authority("others"));
    let trusting = |address, pem: &[u8]| {
        let trust = Trust::Ca(pem.to_vec());
        reached(address, |config| config.trust(trust))
    };
    let good = tls(&signed(&["127.0.0.1"], &ours)).await;
    trusting(good, &pem).await.unwrap();
    trusting(good, &[pem.clone(), other_pem.clone()].concat()).await.unwrap();
    let future = certificate(&["127.0.0.1"], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    for (which, address, pem) in [
        ("signed by another authority", tls(&signed(&["127.0.0.1"], &others)).await, &pem),
        ("the authority is another one", good, &other_pem),
        ("the name is another one", tls(&signed(&["10.0.0.1", "localhost"], &ours)).await, &pem),
        ("it names nobody", tls(&signed(&[], &ours)).await, &pem),
        ("it is not valid yet", tls(&future).await, &future.cert.pem().into_bytes()),
    ] {
        let error = trusting(address, pem).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Connect, Effect::None), "{which}: {error}");
    }
}

/// All that is traced, at every level.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl tracing::field::Visit for Heard {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?} "));
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push_str(&format!("{} ", event.metadata().name()));
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

thread_local! {
    /// What this thread writes to the log of the libraries that do not trace; nothing where nobody listens.
    static LOGGED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The process has one such log, and its tests run side by side: each hears its own thread.
struct Logged;

impl Logged {
    fn listen() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            log::set_logger(&Self).unwrap();
            log::set_max_level(log::LevelFilter::Trace);
        });
        LOGGED.set(Some(String::new()));
    }
}

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|logged| {
            if let Some(logged) = logged {
                logged.push_str(&format!("{} {}\n", record.target(), record.args()));
            }
        });
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn a_secret_is_in_no_trace_no_log_no_error_and_no_debug() {
    let heard = Heard::default();
    Logged::listen();
    let _listening = tracing::subscriber::set_default(heard.clone());
    let mut seen = String::new();
    let secret = || SecretString::from("canary");
    let request = || {
        let form = [("password", "canary")];
        Request::post("/login").secret_header("authorization", &secret()).query("ticket", "canary").form(form)
    };
    let refused = "HTTP/1.1 401 no ticket\r\nset-cookie: auth=canary\r\ncontent-length: 0\r\n\r\n";
    let odd = "HTTP/1.1 200 OK\r\nx-secret: canary\r\ncontent-length: 2\r\n\r\n{]";
    for act in
        [OK, Act::Say(refused), Act::SayAndClose(odd), Act::Close, Act::SayAndClose("rubbish"), Act::Hang]
    {
        let server = Server::start(vec![act.clone(), act]).await;
        let config = server.config().request_timeout(Duration::from_millis(200));
        seen.push_str(&format!("{config:?} {:?} ", request()));
        let http = Http::new(config).unwrap();
        seen.push_str(&format!("{http:?} "));
        match http.send(request()).await {
            Ok(response) => {
                let error = response.error();
                seen.push_str(&format!(
                    "{response:?} {error} {error:#?} {:?} ",
                    decode::<u32>(response.bytes())
                ));
            }
            Err(error) => seen.push_str(&format!("{error} {error:#?} ")),
        }
        match http.websocket(request()).await {
            Ok(socket) => seen.push_str(&format!("{socket:?} ")),
            Err(error) => seen.push_str(&format!("{error} {error:#?} ")),
        }
    }
    assert!(seen.contains("401"), "{seen}");
    assert!(!seen.contains("canary"), "{seen}");
    let heard = heard.0.lock().unwrap().clone();
    assert!(!heard.contains("canary"), "{heard}");
    let logged = LOGGED.take().unwrap();
    assert!(logged.contains("starting new connection"), "the libraries below are not heard: {logged}");
    assert!(!logged.contains("canary"), "{logged}");
}

#[tokio::test]
async fn the_first_certificate_is_remembered_and_another_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known");
    let first = tls(&certificate(&[], |_| {})).await;
    let trust = || Trust::FirstUse(file.clone());
    reached(first, |config| config.trust(trust())).await.unwrap();
    reached(first, |config| config.trust(trust())).await.unwrap();
    let known = std::fs::read_to_string(&file).unwrap();
    assert_eq!(known.lines().count(), 1, "{known}");
    assert!(known.starts_with(&format!("{first} ")), "{known}");
    // Another certificate at the same address.
    let second = tls(&certificate(&[], |_| {})).await;
    std::fs::write(&file, known.replace(&first.to_string(), &second.to_string())).unwrap();
    let error = reached(second, |config| config.trust(trust())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("has changed"), "{error}");
    std::fs::write(&file, format!("{second} rubbish\n")).unwrap();
    assert!(
        reached(second, |config| config.trust(trust())).await.is_err(),
        "a line that cannot be read trusts nobody"
    );
}

#[tokio::test]
async fn a_websocket_talks_and_a_refusal_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            } else if message.is_close() {
                break;
            }
        }
    });
    let http = Http::new(HttpConfig::parse(&format!("http://{address}")).unwrap()).unwrap();
    let mut socket = http.websocket(Request::get("/ws").query("a", "b")).await.unwrap();
    for message in [Message::Text("hello".into()), Message::Binary(Bytes::from_static(b"\x00\xff"))] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close().await.unwrap();

    let refusing = Server::start(vec![
        Act::SayAndClose("HTTP/1.1 401 no ticket\r\ncontent-length: 0\r\n\r\n"),
        Act::Hang,
    ])
    .await;
    let http = Http::new(refusing.config().request_timeout(Duration::from_millis(300))).unwrap();
    let error = http.websocket(Request::get("/ws")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unauthenticated, Some("401")), "{error}");
    assert_eq!(http.websocket(Request::get("/ws")).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_deadline_beyond_what_the_clock_shows_is_none() {
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let server = Server::start(vec![Act::Say(good), Act::Say(good)]).await;
    let config = HttpConfig::parse(&format!("http://{}", server.address)).unwrap();
    let http = Http::new(config.request_timeout(Duration::MAX)).unwrap();
    assert_eq!(http.send(Request::get("/")).await.unwrap().text(), "ok");
    let body = ByteStream::from_bytes("bytes");
    let upload = Request::post("/").stream("text/plain", body).deadline(Duration::MAX);
    assert_eq!(http.send(upload).await.unwrap().text(), "ok");
}

#[tokio::test]
async fn a_call_that_only_reads_may_say_so() {
    let server = Server::start(vec![Act::Close]).await;
    let error = failed(&server.http(), Request::new(Method::POST, "/query").reads()).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Transport, Retry::Safe));
}
