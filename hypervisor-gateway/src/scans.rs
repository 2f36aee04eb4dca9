//! What an embedding server supplies: generated code and security scans.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use hypervisor_core::{Error, ErrorKind};
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::gateway::{App, until_end};
use crate::hooks::{Generate, ScanRequest, Scanner};
use crate::problem::Result;
use crate::store::Outgoing;

const LOOK_EVERY: Duration = Duration::from_secs(5);

fn not_supplied(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("this gateway has nobody who {what}"))
        .with_hint("A server that embeds the gateway can supply it")
}

pub(crate) async fn generate(call: Call) -> Reply {
    let request: Generate = call.json()?;
    let generator = call.app.config.generator.as_ref();
    let generator = generator.ok_or_else(|| not_supplied("generates code"))?;
    let made = generator.generate(&request).await?;
    let (model, tokens) = (made.model.clone(), made.tokens_used);
    let answer = Answer::ok(&json!({ "generated_code": made }))?;
    Ok(answer.meta("ai_model", model).meta("tokens_used", tokens))
}

fn scanner(app: &App) -> Result<Arc<dyn Scanner>> {
    Ok(app.config.scanner.clone().ok_or_else(|| not_supplied("scans"))?)
}

pub(crate) async fn start(call: Call) -> Reply {
    let request: ScanRequest = call.json()?;
    let scan = scanner(&call.app)?.start(&request).await?;
    let watching = tell_when_done(Arc::clone(&call.app), scan.id.clone());
    tokio::spawn(until_end(Arc::clone(&call.app), watching));
    Answer::with(StatusCode::CREATED, &json!({ "scan": scan }))
}

pub(crate) async fn get(call: Call) -> Reply {
    let id: String = call.id("scan_id")?;
    Answer::ok(&json!({ "scan": scanner(&call.app)?.get(&id).await? }))
}

async fn tell_when_done(app: Arc<App>, id: String) {
    let Ok(scanner) = scanner(&app) else { return };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match scanner.get(&id).await {
            Ok(scan) if scan.status == "running" => {}
            Ok(scan) => {
                let data = json!({ "scan": scan }).to_string();
                let event = Outgoing { event: "security.scan_completed", data };
                if let Err(error) = app.store.send(&[event]).await {
                    tracing::error!(%error, "the end of a scan cannot be told");
                }
                return app.deliver.notify_one();
            }
            Err(error) if error.is_not_found() => return,
            Err(error) => tracing::warn!(%error, scan = id, "a scan cannot be looked at"),
        }
    }
}
