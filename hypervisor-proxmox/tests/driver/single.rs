//! Single exchanges, where one answer is all that matters.

use hypervisor_core::ErrorKind;
use hypervisor_core::model::{ConsoleKind, GroupChange, VmChange};
use hypervisor_core::traits::Compute as _;
use hypervisor_proxmox::Proxmox;
use hypervisor_proxmox::fake::{Exchange, FakeGuest, FakePve, SingleServer};
use serde_json::json;

use super::{connect, vm};

fn one_guest() -> Exchange {
    let guest = json!({ "type": "qemu", "vmid": 100, "node": "pve1", "name": "web-1", "status": "running" });
    let node = json!({ "type": "node", "node": "pve1", "status": "online" });
    Exchange::get("/cluster/resources").answers(json!([guest, node]))
}

fn running() -> Exchange {
    let status = json!({ "vmid": 100, "name": "web-1", "status": "running", "qmpstatus": "running" });
    Exchange::get("/nodes/pve1/qemu/100/status/current").answers(status)
}

async fn server() -> (SingleServer, Proxmox) {
    let server = SingleServer::start().await;
    server.mount(one_guest()).await;
    server.mount(running()).await;
    let proxmox = Proxmox::connect(server.config().unwrap()).await.unwrap();
    (server, proxmox)
}

#[tokio::test]
async fn a_spice_console_is_what_the_proxy_says() {
    let (server, proxmox) = server().await;
    let spice = json!({ "type": "spice", "host": "pvespiceproxy:6F:100:pve1::abc", "proxy": "http://pve1:3128",
        "tls-port": 61000, "password": "one-time", "host-subject": "OU=PVE,CN=pve1", "ca": "PEM" });
    server.mount(Exchange::post("/nodes/pve1/qemu/100/spiceproxy").answers(spice).times(1)).await;
    let access = proxmox.get_console(&vm(100), &ConsoleKind::Spice).await.unwrap();
    assert_eq!((access.kind, access.tls_port), (ConsoleKind::Spice, Some(61_000)));
    assert_eq!(access.address.as_deref(), Some("pvespiceproxy:6F:100:pve1::abc"));
    assert_eq!(access.url.as_deref(), Some("http://pve1:3128"));
    assert_eq!(access.password.as_deref(), Some("one-time"));
    // A guest whose screen is none for SPICE.
    server.mount(Exchange::post("/nodes/pve1/qemu/100/spiceproxy").refuses(500, "no spice port")).await;
    let error = proxmox.get_console(&vm(100), &ConsoleKind::Spice).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidState, "no spice port"));
}

#[tokio::test]
async fn a_release_whose_terminals_take_no_token_is_told_apart_from_a_missing_privilege() {
    let guest = FakeGuest::vm(100).running().set("serial0", "socket");
    let pve = FakePve::builder().version("8.4.5").vm(guest.clone()).start().await.unwrap();
    let error = connect(&pve).await.open_console(&vm(100), &ConsoleKind::Serial).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("not to an API token"), "{error}");
    // With a ticket the same release opens it.
    super::logged_in(&pve).await.open_console(&vm(100), &ConsoleKind::Serial).await.unwrap();
    let (server, proxmox) = server().await;
    let denied = "Permission check failed (/vms/100, VM.Console)";
    server.mount(Exchange::post("/nodes/pve1/qemu/100/termproxy").refuses(403, denied)).await;
    let error = proxmox.open_console(&vm(100), &ConsoleKind::Serial).await.unwrap_err();
    assert!(error.hint().unwrap().contains("grant VM.Console on /vms/100"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_parameter_is_said_of_it() {
    let (server, proxmox) = server().await;
    let config = json!({ "name": "web-1", "cores": 1, "memory": "512", "digest": "d1" });
    server.mount(Exchange::get("/nodes/pve1/qemu/100/config").answers(config)).await;
    let put = || Exchange::put("/nodes/pve1/qemu/100/config").with("cores", "2").with("digest", "d1");
    let wrong = put().rejects("cores", "value must have a maximum value of 1").rejects("numa", "no");
    server.mount(wrong).await;
    let error = proxmox.update_vm(&vm(100), &VmChange::new().cpus(2)).await.unwrap_err();
    assert_eq!((error.kind(), error.fields().len()), (ErrorKind::InvalidInput, 2));
    assert_eq!(error.fields()["cores"], "value must have a maximum value of 1");
    let sent = server.requests().await;
    let last = sent.last().unwrap();
    assert_eq!((last.0.as_str(), last.1.as_str()), ("PUT", "/nodes/pve1/qemu/100/config"));
}

#[tokio::test]
async fn a_group_within_a_group_is_named_by_a_parameter() {
    let (server, proxmox) = server().await;
    let group = "prod/web".into();
    server
        .mount(Exchange::put("/pools").with("poolid", "prod/web").with("comment", "x").answers(json!(null)))
        .await;
    server.mount(Exchange::delete("/pools").with("poolid", "prod/web").answers(json!(null))).await;
    let _done = proxmox.update_group(&group, &GroupChange::new().description("x")).await.unwrap();
    let _gone = proxmox.delete_group(&group).await.unwrap();
}

#[test]
#[should_panic(expected = "has no call GET /nodes/pve1/qemu/100/nonsense")]
fn an_exchange_that_the_server_does_not_have_cannot_be_mounted() {
    let _ = Exchange::get("/nodes/pve1/qemu/100/nonsense");
}
