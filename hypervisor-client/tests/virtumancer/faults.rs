//! Bad input and failure: never a panic, always an error of the right kind that says whether the call may have had an effect.

use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::{Generation, Virtumancer};
use hypervisor_core::model::{NicSource, PageRequest, PowerAction, VmId, VmQuery, VmState};
use hypervisor_core::{Compute, Effect, ErrorKind, Metrics, Retry};

use crate::support::{Scripted, answer, done, json, server};

const HOST: &str = r#"[{"id":"h","uri":"qemu:///system","state":"CONNECTED","connected":true}]"#;
const PAGE: &str = "<!doctype html><html><body>Virtumancer</body></html>";

fn vm() -> VmId {
    "h/a".into()
}

/// A current server with one host, whose list of guests is answered like this.
async fn with_vms(vms: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> (Scripted, Virtumancer) {
    server(Generation::Current, move |line| match line {
        "GET /api/v1/hosts" => Some(json(HOST)),
        "GET /api/v1/hosts/h/vms" => Some(vms()),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn truncated_json_is_a_protocol_error_and_has_no_effect() {
    let (_server, virtumancer) = with_vms(|| json(r#"[{"name":"a","vcpu_count":2"#)).await;
    let error = virtumancer.get_vm(&vm()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::None), "{error}");
    // In a list, it is the host that could not be asked.
    let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert!(page.items.is_empty() && page.unreachable.len() == 1, "{page:?}");
    assert!(page.unreachable[0].reason.contains("cannot be understood"), "{page:?}");
}

#[tokio::test]
async fn what_a_nic_is_plugged_into_costs_nothing_else_where_it_is_not_told() {
    const NICS: &str =
        r#"{"disks":[],"networks":[{"mac":{"address":"52:54:00:aa:bb:01"},"source":{"bridge":""}}]}"#;
    let plugs = [
        answer(500, "text/plain; charset=utf-8", "database is locked\n"),
        answer(404, "text/plain; charset=utf-8", "VM not found\n"),
        json("null"),
        json(r#"{"error":"no"}"#),
    ];
    for plugs in plugs {
        let (_server, virtumancer) = server(Generation::Current, move |line| match line {
            "GET /api/v1/hosts" => Some(json(HOST)),
            "GET /api/v1/hosts/h/vms" => Some(json(r#"[{"name":"a"}]"#)),
            "GET /api/v1/hosts/h/vms/a/hardware" => Some(json(NICS)),
            "GET /api/v1/hosts/h/vms/a/port-attachments" => Some(plugs.clone()),
            _ => None,
        })
        .await;
        let nics = virtumancer.get_vm_config(&vm()).await.unwrap().nics;
        assert_eq!((nics.len(), &nics[0].source), (1, &NicSource::Disconnected));
    }
}

#[tokio::test]
async fn a_page_of_html_is_told_as_one() {
    let (_server, virtumancer) = with_vms(|| answer(200, "text/html; charset=utf-8", PAGE)).await;
    let error = virtumancer.get_vm(&vm()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("text/html"), "{error}");
}

#[tokio::test]
async fn a_page_of_html_for_a_power_verb_is_no_success() {
    let (_server, virtumancer) =
        server(Generation::Early, |line| line.starts_with("POST").then(|| answer(200, "text/html", PAGE)))
            .await;
    let error = virtumancer.power_vm(&vm(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::Unknown), "{error}");
}

#[tokio::test]
async fn wrong_types_are_told_with_their_place() {
    for (body, place) in [
        (r#"[{"name":"a"},{"name":"b","vcpu_count":"two"}]"#, "[1]"),
        (r#"[{"name":7}]"#, "[0].name"),
        (r#"[{"name":"a","graphics":[]},5]"#, "[1]"),
        (r#"{"vms":[]}"#, "sequence"),
        (r#"[{"name":"a","state":{}}]"#, "[0]"),
    ] {
        let (_server, virtumancer) = with_vms(move || json(body)).await;
        let error = virtumancer.get_vm(&vm()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{body}");
        assert!(error.message().contains(place), "{body}: {error}");
    }
}

#[tokio::test]
async fn null_lists_are_empty() {
    let (_server, virtumancer) = with_vms(|| json("null\n")).await;
    let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert!(page.items.is_empty() && page.unreachable.is_empty());
    assert!(virtumancer.get_vm(&vm()).await.unwrap_err().is_not_found());
    let (_server, virtumancer) =
        server(Generation::Early, |line| (line == "GET /api/v1/hosts").then(|| json("null"))).await;
    assert!(virtumancer.hosts().await.unwrap().is_empty());
}

#[tokio::test]
async fn unknown_states_and_fields_are_kept() {
    let (_server, virtumancer) =
        with_vms(|| json(r#"[{"name":"a","state":"ACTIVE","libvirtState":"TELEPORTING","new_field":{"x":1},"graphics":null}]"#)).await;
    let found = virtumancer.get_vm(&vm()).await.unwrap();
    assert_eq!(found.state, VmState::Unknown("TELEPORTING".into()));
}

#[tokio::test]
async fn no_content_is_success_for_a_verb_and_an_error_for_a_list() {
    let (_server, virtumancer) = with_vms(done).await;
    let error = virtumancer.get_vm(&vm()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::None), "{error}");
}

#[tokio::test]
async fn a_reset_in_mid_body_may_have_had_an_effect_only_where_something_was_asked_for() {
    let torn = || {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n[{\"name\""
            .to_vec()
    };
    let (_server, virtumancer) = with_vms(torn).await;
    let error = virtumancer.get_vm(&vm()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Transport, Retry::Safe, Effect::None),
        "{error}"
    );
    let (_server, virtumancer) =
        server(Generation::Current, move |line| line.starts_with("POST").then(torn)).await;
    let error = virtumancer.power_vm(&vm(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Transport, Retry::IfIdempotent), "{error}");
    assert_eq!(
        (error.effect(), error.operation()),
        (Effect::Unknown, Some(hypervisor_core::Operation::StartVm))
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http+virtumancer://{}?hv_timeout=200ms", listener.local_addr().unwrap());
    let hold = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let error = Virtumancer::connect(ClientConfig::new(&url).unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::None), "{error}");
    hold.abort();
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let (server, _) = with_vms(|| {
        let mut body =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n["
                .to_vec();
        body.extend(std::iter::repeat_n(b' ', 1 << 20));
        body
    })
    .await;
    let config = ClientConfig::new(&server.url()).unwrap();
    let config = config.with_http(|http| http.max_body(hypervisor_core::model::ByteSize::kib(64)));
    let virtumancer = Virtumancer::connect(config).await.unwrap();
    let error = virtumancer.get_vm(&vm()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn refusals_by_what_stands_before_it_keep_their_kind() {
    for (status, kind) in [
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (429, ErrorKind::RateLimited),
        (503, ErrorKind::Backend),
    ] {
        let (_server, virtumancer) = with_vms(move || answer(status, "text/html", PAGE)).await;
        let error = virtumancer.get_vm(&vm()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert_eq!(error.effect(), Effect::None);
        assert!(!error.message().contains('<'), "{error}");
    }
    let (_server, virtumancer) = with_vms(|| answer(401, "text/html", PAGE)).await;
    let error = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "who is refused is refused on every host");
}

#[tokio::test]
async fn loads_of_every_wrong_shape_are_errors() {
    for body in ["", "[]", "null", "\"x\"", r#"{"cpu_time":{}}"#, r#"{"disk_stats":7}"#] {
        let (_server, virtumancer) = server(Generation::Current, move |line| match line {
            "GET /api/v1/hosts/h/vms/a/stats" => Some(json(body)),
            "GET /api/v1/hosts/h/vms" => Some(json("[]")),
            _ => None,
        })
        .await;
        let error =
            tokio::time::timeout(Duration::from_secs(5), virtumancer.get_vm_metrics(&vm())).await.unwrap();
        let kind = error.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Protocol | ErrorKind::NotFound), "{body}: {kind}");
    }
}
