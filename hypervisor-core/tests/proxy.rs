//! The proxy that brings faults about does what it says.

#![cfg(all(feature = "http", feature = "conformance"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hypervisor_core::conformance::{FaultProxy, Harm, Injury, Strike};
use hypervisor_core::http::{Http, HttpConfig, Request};
use hypervisor_core::layer::Fault;
use hypervisor_core::{Effect, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that counts the requests it has read.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
                }
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn each_fault_strikes_once_and_only_what_it_is_meant_for() {
    let (upstream, acted) = server().await;
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let config = HttpConfig::parse(&format!("http://{}", proxy.address())).unwrap();
    let http = Http::new(config.request_timeout(Duration::from_millis(500))).unwrap();
    for (at, (fault, reached)) in [
        (Fault::CutBefore, false),
        (Fault::CutAfter, true),
        (Fault::Silent, true),
        (Fault::Truncated, true),
        (Fault::RateLimited, false),
        (Fault::Unavailable, false),
    ]
    .into_iter()
    .enumerate()
    {
        let before = acted.load(Ordering::SeqCst);
        proxy.arm(fault, true, 1);
        assert!(
            http.send(Request::get("/read")).await.unwrap().is_success(),
            "{fault:?}: a read is not meant"
        );
        let outcome = http.send(Request::post("/write").bytes("text/plain", "body")).await;
        let kind = match outcome {
            Ok(response) => response.error().kind(),
            Err(error) => error.kind(),
        };
        assert!(fault.kinds().contains(&kind), "{fault:?} is {kind}");
        let through = acted.load(Ordering::SeqCst) - before;
        assert_eq!(through, if reached { 2 } else { 1 }, "{fault:?}");
        assert_eq!(proxy.struck(), at + 1);
        assert_eq!(
            http.send(Request::post("/write")).await.unwrap().text(),
            "hello",
            "{fault:?} strikes once"
        );
    }
    assert!(proxy.requests().iter().any(|line| line == "GET /read HTTP/1.1"), "{:?}", proxy.requests());
}

/// The server's answer, as long as it is.
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn an_answer_that_is_harmed_at_any_byte_is_whole_or_an_error() {
    let (upstream, _) = server().await;
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let config = HttpConfig::parse(&format!("http://{}", proxy.address())).unwrap();
    let http = Http::new(config.request_timeout(Duration::from_secs(5))).unwrap();
    for at in 0..ANSWER.len() {
        for injury in
            [Injury::Cut, Injury::Truncate, Injury::Delay(Duration::from_millis(2)), Injury::Duplicate]
        {
            let before = proxy.struck();
            proxy.harm(Harm::answer(injury, at), true, 1);
            let outcome = http.send(Request::post("/write").bytes("text/plain", "body")).await;
            assert_eq!(proxy.struck(), before + 1, "{injury:?} at {at}");
            match outcome {
                Ok(response) => {
                    assert_eq!(response.text(), "hello", "{injury:?} at {at}");
                    assert!(
                        matches!(injury, Injury::Delay(_) | Injury::Duplicate),
                        "{injury:?} at {at} is whole"
                    );
                }
                Err(error) => {
                    assert_eq!(
                        (error.kind(), error.effect()),
                        (ErrorKind::Transport, Effect::Unknown),
                        "{injury:?} at {at}"
                    );
                    assert!(!matches!(injury, Injury::Delay(_)), "{error}");
                }
            }
        }
    }
    proxy.harm(Harm::answer(Injury::Cut, ANSWER.len()), true, 1);
    assert_eq!(http.send(Request::post("/write")).await.unwrap().text(), "hello", "there is no such byte");
}

#[tokio::test]
async fn a_request_can_be_cut_and_can_arrive_twice() {
    let (upstream, acted) = server().await;
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let config = HttpConfig::parse(&format!("http://{}", proxy.address())).unwrap();
    let http = Http::new(config.request_timeout(Duration::from_secs(5))).unwrap();
    let post = || http.send(Request::post("/write").bytes("text/plain", "body"));
    proxy.harm(Harm::request(Injury::Cut, 10), true, 1);
    let error = post().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Transport, Effect::Unknown));
    let before = acted.load(Ordering::SeqCst);
    proxy.harm(Harm::request(Injury::Duplicate, 0), true, 1);
    assert_eq!(post().await.unwrap().text(), "hello");
    assert_eq!(acted.load(Ordering::SeqCst), before + 2, "the server acts twice");
    assert_eq!(post().await.unwrap().text(), "hello", "the connection goes on");
}

#[tokio::test]
async fn connections_are_refused_and_taken_again() {
    let (upstream, acted) = server().await;
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let http = Http::new(HttpConfig::parse(&format!("http://{}", proxy.address())).unwrap()).unwrap();
    assert!(http.send(Request::get("/read")).await.is_ok());
    proxy.refuse(true).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = http.send(Request::post("/write")).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Connect, Effect::None));
    assert_eq!(acted.load(Ordering::SeqCst), 1);
    proxy.refuse(false).await;
    assert!(http.send(Request::post("/write")).await.is_ok());
}

#[tokio::test]
async fn the_dice_are_asked_for_every_request_until_they_are_taken_away() {
    let (upstream, _) = server().await;
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let http = Http::new(HttpConfig::parse(&format!("http://{}", proxy.address())).unwrap()).unwrap();
    // Every second read, and no write.
    let mut reads = 0;
    proxy.roll(move |writes| {
        reads += u32::from(!writes);
        (!writes && reads % 2 == 0).then_some(Strike::Fault(Fault::RateLimited))
    });
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(http.send(Request::get("/read")).await.unwrap().status());
        assert!(http.send(Request::post("/write")).await.unwrap().is_success());
    }
    assert_eq!(statuses, [200, 429, 200, 429]);
    assert_eq!(proxy.struck(), 2);
    // What is armed goes first.
    proxy.arm(Fault::Unavailable, false, 1);
    assert_eq!(http.send(Request::get("/read")).await.unwrap().status(), 503);
    proxy.disarm();
    for _ in 0..4 {
        assert!(http.send(Request::get("/read")).await.unwrap().is_success());
    }
}

#[tokio::test]
async fn what_was_passed_on_has_arrived_once_the_server_is_done_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let acted = Arc::new(AtomicUsize::new(0));
    let (acting, (read, mut has_read)) = (Arc::clone(&acted), tokio::sync::mpsc::channel(1));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            read.send(()).await.unwrap();
            // Busy with something else, and done with it only after its caller has gone.
            tokio::time::sleep(Duration::from_millis(200)).await;
            acting.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let proxy = FaultProxy::start(upstream).await.unwrap();
    proxy.arrived().await;
    for (number, fault) in [None, Some(Fault::CutAfter), Some(Fault::Silent)].into_iter().enumerate() {
        if let Some(fault) = fault {
            proxy.arm(fault, true, 1);
        }
        let mut client = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(b"POST /write HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        has_read.recv().await.unwrap();
        drop(client);
        assert_eq!(acted.load(Ordering::SeqCst), number, "{fault:?}: the server is not done yet");
        tokio::time::timeout(Duration::from_secs(20), proxy.arrived()).await.unwrap();
        assert_eq!(acted.load(Ordering::SeqCst), number + 1, "{fault:?}: it has arrived");
    }
}
