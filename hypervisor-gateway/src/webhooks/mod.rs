//! Webhooks: who is told what happens.

mod deliver;
mod observe;
mod target;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use uuid::Uuid;

pub(crate) use deliver::deliver;
pub(crate) use observe::observe;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::clock::{self, rfc3339};
use crate::problem::{Problem, Result};
use crate::store::{DeliveryRow, WebhookRow};

/// The document's events.
pub(crate) const EVENTS: [&str; 7] = [
    "vm.created",
    "vm.deleted",
    "vm.status_changed",
    "backup.completed",
    "security.scan_completed",
    "job.completed",
    "system.alert",
];

/// The body of `POST /v1/webhooks`. It holds a secret, and has no `Debug`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct CreateWebhook {
    /// `https://…` or `http://…`, without user or password.
    url: String,
    /// Some of the document's events, or `*`.
    events: Vec<String>,
    /// Signs each delivery: `X-Webhook-Signature: sha256=<HMAC-SHA256 of the body, in hex>`.
    #[serde(default)]
    secret: Option<String>,
    #[serde(default = "yes")]
    active: bool,
}

const fn yes() -> bool {
    true
}

/// A webhook; its secret is never shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookView {
    id: String,
    url: String,
    events: Vec<String>,
    active: bool,
    signed: bool,
    created_at: String,
}

fn view(row: WebhookRow) -> WebhookView {
    WebhookView {
        id: row.id,
        url: row.url,
        events: row.events,
        active: row.active,
        signed: row.secret.is_some(),
        created_at: rfc3339(clock::from_millis(row.created)),
    }
}

fn check(call: &Call, url: &str, events: &[String]) -> Result<()> {
    let parsed = Url::parse(url).map_err(|error| Problem::invalid("url", error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(Problem::invalid("url", "must begin with https:// or http://"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Problem::invalid("url", "must hold neither user nor password"));
    }
    if let Some(why) = target::refused(&call.app.config.webhook_targets, &parsed) {
        return Err(Problem::invalid("url", why));
    }
    if events.is_empty() {
        return Err(Problem::invalid("events", "must not be empty"));
    }
    match events.iter().find(|event| *event != "*" && !EVENTS.contains(&event.as_str())) {
        Some(odd) => Err(Problem::invalid(
            "events",
            format!("`{}` is none of {}", odd.escape_debug(), EVENTS.join(", ")),
        )),
        None => Ok(()),
    }
}

fn failed(error: sqlx::Error) -> Problem {
    Problem::internal("webhooks cannot be read or written", &error)
}

pub(crate) async fn post(call: Call) -> Reply {
    let body: CreateWebhook = call.json()?;
    check(&call, &body.url, &body.events)?;
    let row = WebhookRow {
        id: format!("webhook_{}", Uuid::now_v7().simple()),
        url: body.url,
        events: body.events,
        secret: body.secret.filter(|secret| !secret.is_empty()),
        active: body.active,
        created: clock::now(),
    };
    // What was there before must not be told as new.
    observe::baseline(&call.app).await;
    call.app.store.put_webhook(&row).await.map_err(failed)?;
    call.app.observe.notify_one();
    Answer::with(StatusCode::CREATED, &json!({ "webhook": view(row) }))
}

async fn row(call: &Call) -> Result<WebhookRow> {
    let id: String = call.id("webhook_id")?;
    let found = call.app.store.webhook(&id).await.map_err(failed)?;
    found.ok_or_else(|| hypervisor_core::Error::not_found("webhook", id).into())
}

pub(crate) async fn list(call: Call) -> Reply {
    let all: Vec<_> = call.app.store.webhooks().await.map_err(failed)?.into_iter().map(view).collect();
    Answer::ok(&json!({ "webhooks": all }))
}

pub(crate) async fn get(call: Call) -> Reply {
    Answer::ok(&json!({ "webhook": view(row(&call).await?) }))
}

/// The body of `PUT /v1/webhooks/{webhook_id}`; what is missing stays. It holds a secret, and has no `Debug`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct UpdateWebhook {
    url: Option<String>,
    events: Option<Vec<String>>,
    secret: Option<String>,
    active: Option<bool>,
}

pub(crate) async fn put(call: Call) -> Reply {
    let body: UpdateWebhook = call.json()?;
    let mut row = row(&call).await?;
    row.url = body.url.unwrap_or(row.url);
    row.events = body.events.unwrap_or(row.events);
    row.active = body.active.unwrap_or(row.active);
    row.secret = body.secret.or(row.secret).filter(|secret| !secret.is_empty());
    check(&call, &row.url, &row.events)?;
    call.app.store.put_webhook(&row).await.map_err(failed)?;
    call.app.observe.notify_one();
    call.app.deliver.notify_one();
    Answer::ok(&json!({ "webhook": view(row) }))
}

pub(crate) async fn delete(call: Call) -> Reply {
    let id: String = call.id("webhook_id")?;
    if call.app.store.remove_webhook(&id).await.map_err(failed)? {
        Ok(Answer::Message("Webhook deleted successfully"))
    } else {
        Err(hypervisor_core::Error::not_found("webhook", id).into())
    }
}

/// What a webhook was told, or is to be told.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Delivery {
    id: String,
    event: String,
    status: String,
    attempts: i64,
    /// Why it was not taken, the last time.
    error: Option<String>,
    created_at: String,
}

pub(crate) async fn deliveries(call: Call) -> Reply {
    let webhook = row(&call).await?;
    let rows = call.app.store.deliveries(&webhook.id).await.map_err(failed)?;
    let delivery = |row: DeliveryRow| Delivery {
        id: row.id,
        event: row.event,
        status: row.state,
        attempts: row.attempt,
        error: row.problem,
        created_at: rfc3339(clock::from_millis(row.time)),
    };
    let all: Vec<Delivery> = rows.into_iter().map(delivery).collect();
    Answer::ok(&json!({ "deliveries": all }))
}
