//! The gateway itself: health, information, its own description.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::openapi;
use crate::rate::Category;

/// `GET /v1/health`, the only answer without a token. The backend is what it was to the last request that needed it: a look costs a call,
/// and anybody may ask for health. `proxmox` is the document's name for the backend, whichever it is.
pub(crate) async fn health(call: Call) -> Reply {
    let app = &call.app;
    let word = |well: bool| if well { "healthy" } else { "unhealthy" };
    let database = app.store.ping().await;
    let backend = app.backend_answers.load(Ordering::Relaxed);
    let ai = if app.config.generator.is_some() { "healthy" } else { "not_configured" };
    let data = json!({
        "status": word(database && backend),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": app.since.elapsed().as_secs(),
        "components": {
            "database": word(database),
            "backend": word(backend),
            "proxmox": word(backend),
            "ai_service": ai,
        },
    });
    Answer::with(if database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &data)
}

pub(crate) async fn info(call: Call) -> Reply {
    let config = &call.app.config;
    let rates: serde_json::Map<_, _> = Category::ALL
        .iter()
        .filter_map(|category| {
            let rate = config.rate_of(*category)?;
            let value = json!({ "limit": rate.limit, "window_seconds": rate.window.as_secs() });
            Some((category.as_str().to_owned(), value))
        })
        .collect();
    let data = json!({
        "name": "hypervisor-gateway",
        "version": env!("CARGO_PKG_VERSION"),
        "api_versions": ["v1"],
        "backend": call.hv().info(),
        "capabilities": call.hv().capabilities(),
        "extensions": ["native-v1"],
        "limits": {
            "rates": rates,
            "body_bytes": config.body_limit,
            "concurrent_requests": config.concurrency,
            "page_size": 200,
            "native_page_size": 1000,
        },
    });
    Answer::ok(&data)
}

pub(crate) async fn openapi(_: Call) -> Reply {
    Answer::bytes("application/json", openapi::document().to_string())
}
