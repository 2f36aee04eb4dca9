//! What reaches into guests on a real libvirtd: console, cloud-init, live changes, addresses, templates.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use common::bench::{BOOT, Bench};
use hypervisor_core::ErrorKind;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_libvirt::{ConsoleStream, OpenConsole};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Reads on until the guest has said `text`.
async fn read_until(console: &mut ConsoleStream, text: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut part = vec![0; 1024];
        while !String::from_utf8_lossy(&all).contains(text) {
            let count = console.read(&mut part).await.unwrap();
            assert!(count > 0, "the console ends before `{text}`");
            all.extend_from_slice(&part[..count]);
        }
    };
    let outcome = tokio::time::timeout(BOOT, reading).await;
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(outcome.is_ok(), "the console does not say `{text}`: {all}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_answers_on_the_console() {
    let Some(bench) = Bench::new("tty").await else { return };
    let vm = bench.make(&bench.booting("a").graphics(GraphicsKind::Vnc)).await;
    let first = OpenConsole::new();
    assert_eq!(bench.console_stream(&vm, &first).await.unwrap_err().kind(), ErrorKind::InvalidState);
    bench.power(&vm, PowerAction::Start).await;
    let mut console = bench.console_stream(&vm, &first).await.unwrap();
    read_until(&mut console, "GUEST-READY").await;
    console.write_all(b"\n").await.unwrap();
    console.write_all(b"echo sum-$((1200+34))\n").await.unwrap();
    console.flush().await.unwrap();
    read_until(&mut console, "sum-1234").await;

    let error = bench.console_stream(&vm, &first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    let mut second = bench.console_stream(&vm, &OpenConsole::new().take_over(true)).await.unwrap();
    // The first session is over, by an end or an error.
    let mut rest = Vec::new();
    let over = tokio::time::timeout(BOOT, console.read_to_end(&mut rest)).await;
    assert!(over.is_ok(), "the session that was taken over goes on");
    // More than there is room for, all of it and in order.
    second.write_all(b"seq 1 20000; echo all-$((30+3))\n").await.unwrap();
    let all = read_until(&mut second, "all-33").await;
    let numbers: Vec<u32> = all.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=20_000), "{} numbers", numbers.len());

    // Dropped, it is free for the next one.
    drop(second);
    let mut third = None;
    for _ in 0..50 {
        match bench.console_stream(&vm, &first).await {
            Ok(console) => {
                third = Some(console);
                break;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut third = third.unwrap();
    bench.power(&vm, PowerAction::PowerOff).await;
    let over = tokio::time::timeout(Duration::from_secs(20), third.read_to_end(&mut rest)).await;
    assert!(over.is_ok(), "the console of a guest that is off does not end");
    let odd = OpenConsole::new().device("serial9");
    bench.power(&vm, PowerAction::Start).await;
    let error = bench.console_stream(&vm, &odd).await.unwrap_err();
    assert!(error.message().contains("serial9"), "{error}");

    let screen = bench.get_console(&vm, &ConsoleKind::Vnc).await.unwrap();
    assert!(screen.port.unwrap() >= 5900 && screen.address.as_deref() == Some("127.0.0.1"), "{screen:?}");
    let picture = bench.screenshot_vm(&vm).await.unwrap();
    let magic: &[u8] = if picture.media_type == "image/png" { b"\x89PNG" } else { b"P6" };
    assert!(picture.data.starts_with(magic), "{}", picture.media_type);
    bench.end().await;
}
