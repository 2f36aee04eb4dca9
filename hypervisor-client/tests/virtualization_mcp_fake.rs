//! The fake virtualization-mcp agrees with what was recorded from the server, and what was recorded is taken for what it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::PathBuf;

use hypervisor_client::dialect::virtualization_mcp::{Shape, VirtualizationMcp};
use hypervisor_client::fake::{Fake, FakeBox, McpServer};
use hypervisor_core::http::{Method, Request};
use hypervisor_core::model::PageRequest;
use hypervisor_core::{Compute as _, ErrorKind, Hypervisor as _, Operation, Retry};
use serde_json::Value;

/// The recorded exchanges, where they are.
fn exchanges() -> Option<PathBuf> {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let reference = std::env::var_os("HYPERVISOR_REFERENCE").map_or_else(usual, PathBuf::from);
    let folder = reference.join("exchanges/virtualization-mcp");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("\nSKIPPED: {} is not present: set HYPERVISOR_REFERENCE\n", folder.display());
    None
}

/// The method, path and body that were sent, and the status and body that came.
fn exchange(text: &str) -> (Method, String, Option<Value>, u16, Value) {
    let (asked, answered) = text.split_once("### RESPONSE").unwrap();
    let line = asked.lines().nth(1).unwrap();
    let mut words = line.split(' ');
    let method = words.next().unwrap().parse().unwrap();
    let path = words.next().unwrap().to_owned();
    let sent =
        asked.lines().find(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap());
    let status = answered.lines().find_map(|line| line.strip_prefix("HTTP/1.1 ")).unwrap();
    let status = status.split(' ').next().unwrap().parse().unwrap();
    let body = answered.lines().find(|line| line.starts_with('{')).unwrap();
    (method, path, sent, status, serde_json::from_str(body).unwrap())
}

fn same_shape(found: &Value, recorded: &Value, place: &str) {
    match (found, recorded) {
        (Value::Object(found), Value::Object(recorded)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            let (mut a, mut b) = (keys(found), keys(recorded));
            a.sort();
            b.sort();
            assert_eq!(a, b, "{place}");
            for (key, recorded) in recorded {
                same_shape(&found[key], recorded, &format!("{place}.{key}"));
            }
        }
        (Value::Array(found), Value::Array(recorded)) => {
            if let (Some(found), Some(recorded)) = (found.first(), recorded.first()) {
                same_shape(found, recorded, &format!("{place}[0]"));
            }
        }
        (found, recorded) => {
            let same = std::mem::discriminant(found) == std::mem::discriminant(recorded);
            assert!(same, "{place} is {found} where {recorded} was recorded");
        }
    }
}

async fn served() -> McpServer {
    Fake::virtualization_mcp()
        .as_served()
        .with_vm(FakeBox::new("web-01").running())
        .with_vm(FakeBox::new("db-01"))
        .start()
        .await
}

#[tokio::test]
async fn its_answers_have_the_shapes_that_were_recorded() {
    let Some(folder) = exchanges() else { return };
    let mut compared = 0;
    for name in [
        "001_health",
        "002_vms",
        "003_vms_page-1_per_page-1_fields-name",
        "004_host_info",
        "007_templates",
        "008_vms_web-01_snapshots",
        "012_post_vms_db-01_start",
        "013_post_vms_db-01_start",
        "014_post_vms_ghost_start",
        "015_post_vms_db-01_pause",
        "016_post_vms_db-01_resume",
        "017_post_vms_db-01_stop",
        "018_post_vms_db-01_snapshot",
        "019_get_vms_db-01_snapshots",
        "020_post_vms_db-01_delete-snapshot",
        "023_delete_vms_new-01",
        "024_delete_vms_ghost",
        "025_delete_templates_t",
        "026_put_templates_zz",
    ] {
        let fake = served().await;
        let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
        let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
        let (method, path, sent, status, recorded) = exchange(&text);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let request =
            pairs.fold(Request::new(method, path), |request, (name, value)| request.query(name, value));
        let request = match sent {
            Some(sent) => request.json(&sent),
            None => request,
        };
        let response = mcp.raw(request).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        same_shape(&response.json().unwrap(), &recorded, name);
        compared += 1;
    }
    assert_eq!(compared, 19);
}

#[tokio::test]
async fn the_two_shapes_are_told_apart() {
    let fake = served().await;
    let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
    assert_eq!(mcp.shape(), Shape::Served);
    assert!(!mcp.capabilities().has(Operation::PauseVm));
    let fake = Fake::virtualization_mcp().start().await;
    let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
    assert_eq!(mcp.shape(), Shape::Documented);
    assert!(mcp.capabilities().has(Operation::CreateSnapshot));
}

#[tokio::test]
async fn an_api_key_is_sent_and_wanted() {
    let fake = Fake::virtualization_mcp().api_key("canary").start().await;
    let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
    drop(mcp.list_vms(&hypervisor_core::model::VmQuery::all(), &PageRequest::first()).await.unwrap());
    assert!(fake.requests().await.iter().all(|request| request.headers["x-api-key"] == "canary"));
    let config = fake.config().api_key("canary-wrong");
    let error = VirtualizationMcp::connect(config.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unauthenticated, Some("UNAUTHORIZED")));
    assert!(!format!("{error:?} {config:?}").contains("canary"));
}

/// The forms that were sent to `/auth/token`.
async fn asked(fake: &McpServer) -> Vec<String> {
    let all = fake.requests().await.into_iter().filter(|request| request.url.path() == "/api/v1/auth/token");
    all.map(|request| String::from_utf8(request.body).unwrap()).collect()
}

#[tokio::test]
async fn many_calls_fetch_one_token_and_one_more_when_it_was_revoked() {
    let fake = Fake::virtualization_mcp().oauth("id", "canary", 3600).start().await;
    let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
    let look = async || mcp.list_vms(&hypervisor_core::model::VmQuery::all(), &PageRequest::first()).await;
    for done in futures::future::join_all((0..8).map(|_| look())).await {
        done.unwrap();
    }
    assert_eq!(asked(&fake).await, ["grant_type=client_credentials&client_id=id&client_secret=canary"]);
    fake.revoke_tokens();
    let error = look().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Safe));
    look().await.unwrap();
    assert_eq!(asked(&fake).await[1..], ["grant_type=refresh_token&refresh_token=refresh-1"]);
}

#[tokio::test]
async fn a_refresh_token_that_is_refused_is_followed_by_the_grant() {
    let fake = Fake::virtualization_mcp().oauth("id", "canary", 3600).start().await;
    let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
    // Another client gets a token, which ends what we could refresh.
    drop(VirtualizationMcp::connect(fake.config()).await.unwrap());
    let look = async || mcp.list_vms(&hypervisor_core::model::VmQuery::all(), &PageRequest::first()).await;
    assert!(look().await.is_err());
    look().await.unwrap();
    let grants: Vec<String> =
        asked(&fake).await.iter().map(|form| form.split('&').next().unwrap().to_owned()).collect();
    let (client, refresh) = ("grant_type=client_credentials", "grant_type=refresh_token");
    assert_eq!(grants, [client, client, refresh, client]);
}

#[tokio::test]
async fn a_user_gets_a_token_by_password() {
    let fake = Fake::virtualization_mcp().oauth("bob", "canary", 3600).start().await;
    drop(VirtualizationMcp::connect(fake.config().basic("bob", "canary")).await.unwrap());
    assert_eq!(asked(&fake).await, ["grant_type=password&username=bob&password=canary"]);
    let error = VirtualizationMcp::connect(fake.config().basic("bob", "wrong-canary")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn too_many_calls_are_told_when_to_come_again() {
    let fake = Fake::virtualization_mcp().calls(1).start().await;
    let mcp = VirtualizationMcp::connect(fake.config()).await.unwrap();
    let error = mcp.get_vm(&"a".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::RateLimited, Some("RATE_LIMIT_EXCEEDED")));
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(7)));
}
