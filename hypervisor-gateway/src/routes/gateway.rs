//! The gateway itself: health, tokens, webhooks.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{handler, many, own, route};
use super::{Access, Body, Good, Route, shapes};
use crate::rate::Category;
use crate::{about, counters, tokens, webhooks};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/health",
            "health",
            "*",
            handler!(about::health),
            "Whether the gateway works.",
        )
        .gives(Good::Data(&[
            ("status", own!(String)),
            ("version", own!(String)),
            ("uptime_seconds", own!(u64)),
            ("components", own!(shapes::Components)),
        ]))
        .access(Access::Open),
        route(
            Method::GET,
            "/v1/info",
            "info",
            "*",
            handler!(about::info),
            "What the gateway serves, what that can do, and what the limits are.",
        )
        .gives(Good::Data(&[
            ("name", own!(String)),
            ("version", own!(String)),
            ("api_versions", many!(String)),
            ("backend", own!(model::BackendInfo)),
            ("capabilities", own!(model::Capabilities)),
            ("extensions", many!(String)),
            ("limits", own!(shapes::Limits)),
        ]))
        .access(Access::Token),
        route(Method::GET, "/v1/openapi.json", "openapi", "*", handler!(about::openapi), "This document.")
            .gives(Good::Bytes("application/json"))
            .access(Access::Token),
        route(
            Method::GET,
            "/metrics",
            "metrics",
            "monitoring:read",
            handler!(counters::get),
            "The gateway's counters, in Prometheus' format.",
        )
        .gives(Good::Bytes("text/plain")),
        route(
            Method::POST,
            "/v1/auth/tokens",
            "create_token",
            "token:write",
            handler!(tokens::post),
            "Makes a token.",
        )
        .takes(Body::Json(own!(tokens::CreateToken)))
        .gives(Good::Created(&[
            ("token_id", own!(String)),
            ("access_token", own!(String)),
            ("token_type", own!(String)),
            ("expires_at", own!(String)),
            ("permissions", many!(String)),
        ]))
        .counts_as(Category::Authentication)
        .with_basic(),
        route(
            Method::GET,
            "/v1/auth/tokens",
            "list_tokens",
            "token:read",
            handler!(tokens::list),
            "Lists the tokens, without themselves.",
        )
        .gives(Good::Data(&[("tokens", many!(tokens::TokenItem))])),
        route(
            Method::DELETE,
            "/v1/auth/tokens/{token_id}",
            "revoke_token",
            "token:write",
            handler!(tokens::delete),
            "Revokes a token.",
        )
        .gives(Good::Message)
        .counts_as(Category::Authentication),
        route(
            Method::GET,
            "/v1/webhooks",
            "list_webhooks",
            "webhook:read",
            handler!(webhooks::list),
            "Lists the webhooks.",
        )
        .gives(Good::Data(&[("webhooks", many!(webhooks::WebhookView))])),
        route(
            Method::POST,
            "/v1/webhooks",
            "create_webhook",
            "webhook:write",
            handler!(webhooks::post),
            "Makes a webhook.",
        )
        .takes(Body::Json(own!(webhooks::CreateWebhook)))
        .gives(Good::Created(&[("webhook", own!(webhooks::WebhookView))])),
        route(
            Method::GET,
            "/v1/webhooks/{webhook_id}",
            "get_webhook",
            "webhook:read",
            handler!(webhooks::get),
            "Reads a webhook.",
        )
        .gives(Good::Data(&[("webhook", own!(webhooks::WebhookView))])),
        route(
            Method::PUT,
            "/v1/webhooks/{webhook_id}",
            "update_webhook",
            "webhook:write",
            handler!(webhooks::put),
            "Changes a webhook.",
        )
        .takes(Body::Json(own!(webhooks::UpdateWebhook)))
        .gives(Good::Data(&[("webhook", own!(webhooks::WebhookView))])),
        route(
            Method::DELETE,
            "/v1/webhooks/{webhook_id}",
            "delete_webhook",
            "webhook:write",
            handler!(webhooks::delete),
            "Deletes a webhook and what it was not told yet.",
        )
        .gives(Good::Message),
        route(
            Method::GET,
            "/v1/webhooks/{webhook_id}/deliveries",
            "list_deliveries",
            "webhook:read",
            handler!(webhooks::deliveries),
            "Lists what a webhook was told, and what it did not take.",
        )
        .gives(Good::Data(&[("deliveries", many!(webhooks::Delivery))])),
    ]
}
