//! Nothing is served without a token, but health.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use common::{config, serve, served};
use hypervisor_core::memory::Memory;
use hypervisor_gateway::{Access, routes};
use serde_json::json;

/// A path with something in the place of each parameter.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_refuses_no_token_a_wrong_one_an_expired_one_and_one_without_the_permission() {
    let gateway = served().await;
    let expired = gateway.gateway.create_token("old", &["*"], Some(Duration::ZERO)).await.unwrap().token;
    let mut open = Vec::new();
    for route in routes() {
        let path = filled(route.path);
        let call = |token: Option<String>| {
            let (gateway, method, path) = (&gateway, route.method.clone(), path.clone());
            async move { gateway.call_as(token.as_deref(), method, &path, None).await }
        };
        let Access::Permission(permission) = route.access else {
            if route.access == Access::Open {
                open.push(route.path);
                assert_eq!(call(None).await.status, StatusCode::OK);
                continue;
            }
            for token in
                [None, Some("pxa_00000000000000000000000000000000".to_owned()), Some(expired.clone())]
            {
                assert_eq!(call(token).await.status, StatusCode::UNAUTHORIZED, "{path}");
            }
            let any = gateway.gateway.create_token("any", &["vm:read"], None).await.unwrap().token;
            assert_eq!(call(Some(any)).await.status, StatusCode::OK, "{path}");
            continue;
        };
        for token in [None, Some("pxa_00000000000000000000000000000000".to_owned()), Some(expired.clone())] {
            let answer = call(token).await;
            assert_eq!(
                (answer.status, answer.code()),
                (StatusCode::UNAUTHORIZED, "INVALID_TOKEN".to_owned()),
                "{path}"
            );
            assert!(answer.headers.contains_key("www-authenticate"));
        }
        // All but what it takes; the other verb of the same noun is among them.
        let noun = permission.split(':').next().unwrap();
        let nouns = [
            "vm",
            "host",
            "storage",
            "network",
            "snapshot",
            "backup",
            "job",
            "monitoring",
            "guest",
            "group",
            "webhook",
            "token",
            "security",
            "ai",
            "batch",
        ];
        assert!(nouns.contains(&noun), "{permission}");
        let others: Vec<String> = nouns
            .iter()
            .flat_map(|noun| [format!("{noun}:read"), format!("{noun}:write")])
            .filter(|other| other != permission)
            .collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let lacking = gateway.gateway.create_token("lacking", &others, None).await.unwrap().token;
        let answer = call(Some(lacking)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{} {path}", route.method);
        assert_eq!(answer.code(), "INSUFFICIENT_PERMISSIONS");
        assert_eq!(answer.json()["error"]["details"]["required"], permission);
        // And what it takes is enough.
        let enough = gateway.gateway.create_token("enough", &[permission], None).await.unwrap().token;
        let status = call(Some(enough)).await.status;
        assert!(!matches!(status.as_u16(), 401 | 403), "{} {path}: {status}", route.method);
    }
    assert_eq!(open, ["/v1/health"]);
}

#[tokio::test]
async fn what_is_not_there_is_told_only_to_those_who_have_a_token() {
    let gateway = served().await;
    for (method, path) in [(Method::GET, "/"), (Method::GET, "/v1/cats"), (Method::PATCH, "/v1/vms")] {
        let answer = gateway.call_as(None, method, path, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(gateway.get("/v1/cats").await.code(), "RESOURCE_NOT_FOUND");
    let answer = gateway.call(Method::PATCH, "/v1/vms", None).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED".to_owned())
    );
}

#[tokio::test]
async fn a_token_is_made_used_listed_without_itself_and_revoked() {
    let gateway = served().await;
    let body = json!({ "name": "deployment-automation", "expires_in": 60, "permissions": ["vm:read"] });
    let made = gateway.post("/v1/auth/tokens", body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.data();
    let (id, token) = (made["token_id"].as_str().unwrap(), made["access_token"].as_str().unwrap());
    assert!(token.starts_with("pxa_") && token.len() == 36, "{token}");
    assert_eq!(gateway.call_as(Some(token), Method::GET, "/v1/vms", None).await.status, StatusCode::OK);
    let listed = gateway.get("/v1/auth/tokens").await;
    assert!(listed.data()["tokens"].as_array().unwrap().iter().any(|each| each["token_id"] == id));
    assert!(!String::from_utf8_lossy(&listed.body).contains(token));
    let revoked = gateway.delete(&format!("/v1/auth/tokens/{id}")).await.json();
    assert_eq!(
        (&revoked["success"], &revoked["message"]),
        (&json!(true), &json!("Token revoked successfully"))
    );
    let after = gateway.call_as(Some(token), Method::GET, "/v1/vms", None).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.delete(&format!("/v1/auth/tokens/{id}")).await.status, StatusCode::NOT_FOUND);
}

/// Two gateways on one database; the second one asks it again so seldom.
async fn two(recheck: Duration) -> (tempfile::TempDir, common::Served, common::Served) {
    let home = tempfile::tempdir().unwrap();
    let config = config().database(format!("sqlite://{}/state.db", home.path().display()));
    let first = serve(Memory::new(), config.clone()).await;
    let second = serve(Memory::new(), config.recheck_tokens(recheck)).await;
    (home, first, second)
}

#[tokio::test]
async fn a_token_revoked_elsewhere_is_refused_when_the_database_is_asked_again() {
    for (recheck, expected) in
        [(Duration::ZERO, StatusCode::UNAUTHORIZED), (Duration::from_secs(3600), StatusCode::OK)]
    {
        let (_home, first, second) = two(recheck).await;
        let made = first.gateway.create_token("shared", &["vm:read"], None).await.unwrap();
        for gateway in [&first, &second] {
            let answer = gateway.call_as(Some(&made.token), Method::GET, "/v1/vms", None).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        assert_eq!(first.delete(&format!("/v1/auth/tokens/{}", made.id)).await.status, StatusCode::OK);
        let answer = first.call_as(Some(&made.token), Method::GET, "/v1/vms", None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "the gateway that revoked it");
        let answer = second.call_as(Some(&made.token), Method::GET, "/v1/vms", None).await;
        assert_eq!(answer.status, expected, "the other one, asking again after {recheck:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_believed_expires_all_the_same() {
    let gateway = serve(Memory::new(), config().recheck_tokens(Duration::from_secs(3600))).await;
    let made = gateway.gateway.create_token("short", &["vm:read"], Some(Duration::from_millis(1500))).await;
    let token = made.unwrap().token;
    let mut seen = Vec::new();
    while seen.last() != Some(&StatusCode::UNAUTHORIZED) {
        seen.push(gateway.call_as(Some(&token), Method::GET, "/v1/vms", None).await.status);
        assert!(seen.len() < 1000, "it does not expire");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen.first(), Some(&StatusCode::OK));
}

#[tokio::test]
async fn a_token_makes_none_that_may_more_or_lives_longer() {
    let gateway = served().await;
    let maker =
        gateway.gateway.create_token("maker", &["token:write", "vm:*"], Some(Duration::from_secs(600)));
    let maker = maker.await.unwrap().token;
    let make = |body| gateway.call_as(Some(&maker), Method::POST, "/v1/auth/tokens", Some(body));
    for more in ["*", "host:read", "token:*"] {
        let answer = make(json!({ "name": "n", "permissions": [more] })).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{more}");
    }
    let answer = make(json!({ "name": "n", "permissions": ["vm:write"] })).await.data();
    assert!(answer["expires_at"].is_string(), "it would outlive its maker: {answer}");
    for wrong in
        [json!({ "name": "n", "permissions": ["vm:pet"] }), json!({ "name": "n", "permissions": [] })]
    {
        let answer = make(wrong).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR".to_owned())
        );
    }
}

#[tokio::test]
async fn basic_authentication_makes_tokens_and_nothing_else() {
    let gateway = serve(Memory::new(), config().basic("admin", "canary")).await;
    let ask = |path: &str, method: Method, pair: &str, body: serde_json::Value| {
        use base64::Engine as _;
        let encoded = base64::prelude::BASE64_STANDARD.encode(pair);
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Basic {encoded}"))
            .header("content-type", "application/json");
        gateway.request(request.body(axum::body::Body::from(body.to_string())).unwrap())
    };
    let body = json!({ "name": "first", "permissions": ["*"] });
    let made = ask("/v1/auth/tokens", Method::POST, "admin:canary", body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let wrong = ask("/v1/auth/tokens", Method::POST, "admin:wrong", body.clone()).await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS".to_owned()));
    assert_eq!(wrong.json()["error"]["details"]["reason"], "authentication_failed");
    let elsewhere = ask("/v1/vms", Method::GET, "admin:canary", body).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_batch_is_no_way_around_permissions() {
    let gateway = served().await;
    let token = gateway.gateway.create_token("batch", &["batch:write"], None).await.unwrap().token;
    let request = hypervisor_core::model::BatchRequest::new([hypervisor_core::model::BatchOp::power(
        "a",
        hypervisor_core::model::PowerAction::Start,
    )]);
    let body = json!({ "request": request });
    let answer = gateway.call_as(Some(&token), Method::POST, "/v1/batch", Some(body)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.json()["error"]["details"]["required"], "vm:write");
}

#[tokio::test]
async fn a_database_that_fails_for_a_moment_is_no_fault_of_the_request() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/state.db", home.path().display());
    let gateway = serve(Memory::new(), config().database(&url).recheck_tokens(Duration::ZERO)).await;
    let beside = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::query("ALTER TABLE tokens RENAME TO gone").execute(&beside).await.unwrap();
    let answer = gateway.get("/v1/vms").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE")
    );
    let native = serde_json::from_value(answer.json()["error"]["native"].clone());
    let error: hypervisor_core::Error = native.unwrap();
    assert_eq!(
        (error.retry(), error.effect()),
        (hypervisor_core::Retry::Safe, hypervisor_core::Effect::None)
    );
    sqlx::query("ALTER TABLE gone RENAME TO tokens").execute(&beside).await.unwrap();
    assert_eq!(gateway.get("/v1/vms").await.status, StatusCode::OK);
}

#[tokio::test]
async fn whatever_stands_in_an_id_is_an_id_and_no_path() {
    let gateway = serve(Memory::new(), config()).await;
    for id in
        ["a%2Fb", "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd", "..%2f", "%C3%BC%20x", "%00", "%25", "+", "a%3Fb", "%0a"]
    {
        let answer = gateway.get(&format!("/v1/vms/{id}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        let decoded = url::form_urlencoded::parse(format!("v={}", id.replace('+', "%2B")).as_bytes())
            .next()
            .unwrap()
            .1
            .into_owned();
        let target = answer.json()["error"]["details"]["target"].as_str().unwrap().to_owned();
        assert_eq!(target, format!("vm `{decoded}`"));
    }
    // No UTF-8, and no such path.
    assert_eq!(gateway.get("/v1/vms/%FF").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(gateway.get("/v1/vms/a/b").await.status, StatusCode::NOT_FOUND);
    let head = gateway.call(Method::HEAD, "/v1/vms", None).await;
    assert!(head.status == StatusCode::OK && head.body.is_empty(), "HEAD is GET without its body");
    let wrong = gateway.call(Method::DELETE, "/v1/vms", None).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    let allow =
        wrong.headers.get("allow").map(|allow| allow.to_str().unwrap().to_owned()).unwrap_or_default();
    assert!(allow.contains("GET") && allow.contains("POST"), "405 names what there is: {allow:?}");
}
