//! Bad answers: never a panic, never unbounded memory, always an error of the right kind that says whether the call may have had an effect.
#![cfg(feature = "fake")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::future_not_send,
    reason = "tests fail by panicking"
)]

mod hypersdk;

use std::time::Duration;

use hypersdk::{connect, healthy, sent};
use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::hypersdk::HyperSdk;
use hypervisor_core::model::{ByteSize, CloneSpec, PageRequest, PowerAction, VmQuery, VmState};
use hypervisor_core::traits::{Compute as _, Network as _, Storage as _, Tasks as _};
use hypervisor_core::{Effect, Error, ErrorKind, Retry};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A daemon that gives this answer at this path.
async fn answering(verb: &str, at: &str, answer: ResponseTemplate) -> (MockServer, HyperSdk) {
    let server = healthy().await;
    Mock::given(method(verb)).and(path(at)).respond_with(answer).with_priority(1).mount(&server).await;
    let hypersdk = connect(&server).await;
    (server, hypersdk)
}

async fn listing(body: &str) -> hypervisor_core::Result<Vec<hypervisor_core::model::VmInfo>> {
    let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
    let (_server, hypersdk) = answering("GET", "/libvirt/domains", answer).await;
    let page = hypersdk.list_vms(&VmQuery::all(), &PageRequest::first()).await;
    page.map(|page| page.items)
}

#[tokio::test]
async fn bad_json_names_the_place_and_had_no_effect() {
    for (body, place) in [
        (r#"{"domains":[{"name":"a","state":"run"#, ""),
        (r#"{"domains":[{"name":"a"},{"name":{}}]}"#, "domains[1].name"),
        (r#"{"domains":[{"id":"1"}]}"#, "domains[0]"),
        (r#"{"domains":"none"}"#, "domains"),
        (r#"{"domains":[{"name":"a","cpus":"many"}]}"#, "domains[0].cpus"),
        (r#"{"machines":[]}"#, "domains"),
        ("17", "domains"),
        ("{} {}", ""),
    ] {
        let error = listing(body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{body}: {error}");
        assert!(error.message().contains(place), "{body}: {error}");
        assert_eq!(
            (error.effect(), error.operation()),
            (Effect::None, Some(hypervisor_core::Operation::ListVms))
        );
    }
}

#[tokio::test]
async fn null_and_nothing_are_empty_lists() {
    for body in ["null", "", r#"{"domains":null,"total":0}"#, "[]", r#"{"status":"success","data":null}"#] {
        assert!(listing(body).await.unwrap().is_empty(), "{body}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_for_by_its_name_is_not_left_out_of_a_list() {
    let gone =
        || ResponseTemplate::new(404).set_body_json(json!({"error": "volume not found: exit status 1"}));
    let (server, hypersdk) = answering("GET", "/libvirt/volume/info", gone()).await;
    // A name with a space, which the daemon cuts; one that virsh would take for an option; one that has gone meanwhile.
    let rows = json!({"volumes": [
        {"name": "my", "path": "disk.qcow2"}, {"name": "-x", "path": "/images/-x"}, {"name": "late", "path": "/images/late"},
    ]});
    let networks = json!({"networks": [{"name": "-net", "active": true}]});
    for (at, body) in [("/libvirt/volumes", rows), ("/libvirt/networks", networks)] {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path(at)).respond_with(answer).with_priority(1).mount(&server).await;
    }
    let volumes = hypersdk.list_volumes(&"default".into(), &PageRequest::first()).await.unwrap().items;
    let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["-x", "my"]);
    let networks = hypersdk.list_networks(&PageRequest::first()).await.unwrap().items;
    assert_eq!((networks.len(), networks[0].name.as_str(), networks[0].active), (1, "-net", true));
    assert!(sent(&server).await.iter().all(|(line, _)| !line.contains("=-")), "no option is ever sent");
}

#[tokio::test]
async fn an_unknown_state_is_kept_and_numbers_may_be_text() {
    let domain = json!({"name": "a", "uuid": "u", "state": "levitating", "cpus": "2", "memory": "256", "new": {"x": []}});
    let answer = ResponseTemplate::new(200).set_body_json(domain);
    let (_server, hypersdk) = answering("GET", "/libvirt/domain", answer).await;
    let vm = hypersdk.get_vm(&"a".into()).await.unwrap();
    assert_eq!(vm.state, VmState::Unknown("levitating".into()));
    assert_eq!((vm.cpus, vm.memory), (Some(2), Some(ByteSize::mib(256))));
}

#[tokio::test]
async fn html_instead_of_json_is_told_as_such() {
    let page = "<html><head><title>Bad gateway</title></head><body>proxy <b>broke</b></body></html>";
    let answer = ResponseTemplate::new(200).set_body_raw(page, "text/html");
    let (_server, hypersdk) = answering("GET", "/libvirt/networks", answer).await;
    let error = hypersdk.list_networks(&PageRequest::first()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error.hint().unwrap().contains("text/html") && error.hint().unwrap().contains("proxy broke"),
        "{error}"
    );
    let answer = ResponseTemplate::new(502).set_body_raw(page, "text/html");
    let (_server, hypersdk) = answering("GET", "/libvirt/networks", answer).await;
    let error = hypersdk.list_networks(&PageRequest::first()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Transport, Some("502")));
}

#[tokio::test]
async fn a_204_is_done_for_an_action_and_no_object() {
    let (_server, hypersdk) = answering("POST", "/libvirt/network/start", ResponseTemplate::new(204)).await;
    drop(hypersdk.start_network(&"lab".into()).await.unwrap());
    let (_server, hypersdk) = answering("GET", "/libvirt/network", ResponseTemplate::new(204)).await;
    assert_eq!(hypersdk.get_network(&"lab".into()).await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let answer =
        ResponseTemplate::new(200).set_body_json(json!({"status": "error", "error": "it is broken"}));
    let (_server, hypersdk) = answering("POST", "/libvirt/network/start", answer).await;
    let error = hypersdk.start_network(&"lab".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Backend, "it is broken"));
}

/// What the daemon answers and what is made of it.
async fn refused(status: u16, kind: &str, body: &str) -> Error {
    let answer = ResponseTemplate::new(status).set_body_raw(body, kind);
    let (_server, hypersdk) = answering("POST", "/libvirt/network/stop", answer).await;
    hypersdk.stop_network(&"lab".into()).await.unwrap_err()
}

#[tokio::test]
async fn the_text_decides_where_the_status_is_always_500() {
    use ErrorKind as K;
    let json = |text: &str| json!({"error": text, "timestamp": "2026-11-20T17:49:31Z"}).to_string();
    for (status, text, kind) in [
        (500, "failed to stop network: error: failed to get network 'lab'\n\n", K::NotFound),
        (500, "error: Requested operation is not valid: network is not active\n\n", K::InvalidState),
        (500, "failed to stop network: exit status 1", K::Backend),
        (
            500,
            "error: failed to connect to the hypervisor\nerror: Failed to connect socket",
            K::HostUnreachable,
        ),
        (500, "error: Timed out during operation: cannot acquire state change lock", K::Locked),
        (500, "write: No space left on device", K::Exhausted),
        (400, "vm_path is required", K::InvalidInput),
        (404, "network not found: exit status 1", K::NotFound),
        (401, "unauthorized", K::Unauthenticated),
        (403, "forbidden", K::PermissionDenied),
        (429, "slow down", K::RateLimited),
        (503, "webhooks not enabled", K::Unsupported),
    ] {
        let error = refused(status, "application/json", &json(text)).await;
        assert_eq!(error.kind(), kind, "{status} {text}: {error}");
        assert_eq!(error.message(), text.trim(), "the reason is never thrown away");
        assert_eq!(
            (error.code(), error.target()),
            (Some(status.to_string().as_str()), Some("network `lab`"))
        );
    }
}

#[tokio::test]
async fn text_is_read_too_and_an_unknown_path_is_not_a_missing_object() {
    let plain = "text/plain; charset=utf-8";
    let invalid = refused(400, plain, "invalid request body\n").await;
    assert_eq!((invalid.kind(), invalid.message()), (ErrorKind::InvalidInput, "invalid request body"));
    for (status, text) in [(404, "404 page not found\n"), (405, "method not allowed\n")] {
        let error = refused(status, plain, text).await;
        assert!(error.is_unsupported() && error.message().contains("/libvirt/network/stop"), "{error}");
        assert_eq!((error.retry(), error.effect()), (Retry::Never, Effect::None));
    }
}

#[tokio::test]
async fn credentials_and_calls_do_not_follow_to_another_server() {
    let elsewhere = healthy().await;
    let away = format!("{}/libvirt/networks", elsewhere.uri());
    let answer = ResponseTemplate::new(302).insert_header("location", away.as_str());
    let (_server, hypersdk) = answering("GET", "/libvirt/networks", answer).await;
    let error = hypersdk.list_networks(&PageRequest::first()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(sent(&elsewhere).await.is_empty());
    let round = ResponseTemplate::new(302).insert_header("location", "/libvirt/networks");
    let (server, hypersdk) = answering("GET", "/libvirt/networks", round).await;
    assert_eq!(hypersdk.list_networks(&PageRequest::first()).await.unwrap_err().kind(), ErrorKind::Protocol);
    assert!(sent(&server).await.len() < 10, "a circle is not followed for ever");
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let server = healthy().await;
    let large = ResponseTemplate::new(200).set_body_raw(vec![b' '; 200_000], "application/json");
    Mock::given(method("GET")).and(path("/libvirt/pools")).respond_with(large).mount(&server).await;
    let config = ClientConfig::new(&server.uri()).unwrap().with_http(|http| http.max_body(ByteSize::kib(64)));
    let hypersdk = HyperSdk::connect(config).await.unwrap();
    let error = hypersdk.get_pool(&"default".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::None));
}

/// A daemon that is well, and writes these bytes to any other request before it closes the connection or falls silent.
async fn writing(bytes: &'static [u8], silent: bool) -> HyperSdk {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = socket.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let body = match text.split(' ').nth(1) {
                    Some("/health") => Some(r#"{"status":"healthy"}"#),
                    Some("/status") => Some(r#"{"version":"0.0.1"}"#),
                    Some(target) if target.starts_with("/libvirt/domain?") => {
                        Some(r#"{"name":"a","uuid":"u","state":"shut off"}"#)
                    }
                    _ => None,
                };
                let Some(body) = body else {
                    socket.write_all(bytes).await.ok();
                    if silent {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    return;
                };
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                socket.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    let config =
        ClientConfig::new(&format!("http+hypersdk://{address}")).unwrap().timeout(Duration::from_millis(700));
    HyperSdk::connect(config).await.unwrap()
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_of_unknown_effect_for_what_writes() {
    const BROKEN: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"status\":";
    for bytes in [BROKEN, b"".as_slice(), b"HTTP/1.1 20".as_slice()] {
        let hypersdk = writing(bytes, false).await;
        let read = hypersdk.list_networks(&PageRequest::first()).await.unwrap_err();
        assert_eq!(
            (read.kind(), read.retry(), read.effect()),
            (ErrorKind::Transport, Retry::Safe, Effect::None)
        );
        let write = hypersdk.power_vm(&"a".into(), &PowerAction::Start).await.unwrap_err();
        assert_eq!((write.kind(), write.retry()), (ErrorKind::Transport, Retry::IfIdempotent), "{write}");
        assert_eq!((write.effect(), write.target()), (Effect::Unknown, Some("vm `a`")));
        let clone = hypersdk.clone_vm(&"a".into(), &CloneSpec::new("b")).await.unwrap_err();
        assert_eq!(
            (clone.effect(), clone.operation()),
            (Effect::Unknown, Some(hypervisor_core::Operation::CloneVm))
        );
    }
}

#[tokio::test]
async fn a_server_that_says_no_more_is_waited_for_no_longer_than_asked() {
    const SLOW: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{";
    let hypersdk = writing(SLOW, true).await;
    let read = hypersdk.list_networks(&PageRequest::first()).await.unwrap_err();
    assert_eq!((read.kind(), read.retry()), (ErrorKind::Timeout, Retry::Safe));
    let write = hypersdk.start_network(&"lab".into()).await.unwrap_err();
    assert_eq!((write.kind(), write.effect()), (ErrorKind::Timeout, Effect::Unknown));
    assert_eq!(hypersdk.get_task(&"j".into(), None).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn what_is_no_daemon_is_not_connected_to() {
    let server = MockServer::start().await;
    let config = || ClientConfig::new(&server.uri()).unwrap();
    assert_eq!(HyperSdk::connect(config()).await.unwrap_err().kind(), ErrorKind::Config);
    let page = ResponseTemplate::new(200).set_body_raw("<html></html>", "text/html");
    Mock::given(path("/health")).respond_with(page).mount(&server).await;
    let error = HyperSdk::connect(config()).await.unwrap_err();
    assert_eq!((error.kind(), error.backend()), (ErrorKind::Config, Some("hypersdk")));
    let nobody = ClientConfig::new("http+hypersdk://127.0.0.1:1").unwrap();
    assert_eq!(HyperSdk::connect(nobody).await.unwrap_err().kind(), ErrorKind::Connect);
    let oauth = ClientConfig::new("https+hypersdk://127.0.0.1:1").unwrap().oauth("id", "secret");
    assert_eq!(HyperSdk::connect(oauth).await.unwrap_err().kind(), ErrorKind::Config);
}

/// `virsh undefine` refuses a guest with firmware of its own after the daemon has cut its power.
#[tokio::test]
async fn a_guest_that_is_refused_after_its_power_was_cut_is_a_part_of_the_work() {
    use hypervisor_core::model::DeleteVm;
    for (running, effect) in [(true, Effect::Partial), (false, Effect::None)] {
        let (state, refusal) = (
            if running { "running" } else { "shut off" },
            "error: Failed to undefine domain 'uefi'\nerror: Requested operation is not valid: cannot undefine domain with nvram\n\n",
        );
        let body = json!({"operation": "undefine", "total": 1, "successful": 0, "failed": 1,
            "results": [{"domain": "uefi", "success": false, "error": refusal}]});
        let answer = ResponseTemplate::new(200).set_body_json(body);
        let (server, hypersdk) = answering("POST", "/libvirt/batch/delete", answer).await;
        for (at, body) in [
            (
                "/libvirt/domain",
                json!({"id": "", "name": "uefi", "uuid": "0cc8cbf3", "state": state, "cpus": 2, "memory": 256, "autostart": false, "persistent": true}),
            ),
            ("/libvirt/snapshots", json!({"snapshots": [], "total": 0, "domain": "uefi"})),
        ] {
            let answer = ResponseTemplate::new(200).set_body_json(body);
            Mock::given(method("GET"))
                .and(path(at))
                .respond_with(answer)
                .with_priority(1)
                .mount(&server)
                .await;
        }
        let error =
            hypersdk.delete_vm(&"uefi".into(), &DeleteVm::with_disks().power_off(true)).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidState, effect), "{error}");
        assert!(error.message().contains("nvram"), "{error}");
    }
}
