//! Delivering events: signed, at least once, again and again with longer and longer pauses until the receiver takes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::target;
use crate::clock::{self, rfc3339};
use crate::config::WebhookTargets;
use crate::gateway::App;
use crate::store::{DeliveryRow, WebhookRow};

const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Deliveries of other gateways, and those whose time has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const AT_A_TIME: usize = 16;

/// Delivers whatever is due, as long as the gateway lives.
pub(crate) async fn deliver(app: Arc<App>) {
    let client = match client(&app) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "webhooks cannot be delivered"),
    };
    let places = Arc::new(tokio::sync::Semaphore::new(AT_A_TIME));
    loop {
        // Longer than the receiver may take, so that nobody else sends it meanwhile.
        let lease = app.config.webhook_timeout * 2 + Duration::from_secs(5);
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match app.store.claim_delivery(lease).await {
            Ok(Some(delivery)) => {
                let (app, client) = (Arc::clone(&app), client.clone());
                tokio::spawn(async move {
                    attempt(&app, &client, delivery).await;
                    drop(place);
                });
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the queue of the webhooks cannot be read"),
        }
        drop(place);
        let _ = tokio::time::timeout(LOOK_EVERY, app.deliver.notified()).await;
    }
}

fn client(app: &App) -> Result<reqwest::Client, reqwest::Error> {
    crate::tls::install();
    let targets = app.config.webhook_targets.clone();
    let mut builder = reqwest::Client::builder();
    if targets != WebhookTargets::Any {
        // A proxy would look names up by itself.
        builder = builder.no_proxy();
    }
    builder
        .dns_resolver(Arc::new(target::Guarded(targets)))
        .timeout(app.config.webhook_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("hypervisor-gateway/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The signature of a body: HMAC-SHA256 in hex.
fn sign(secret: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={hex}"))
}

async fn send(
    app: &App,
    client: &reqwest::Client,
    webhook: &WebhookRow,
    delivery: &DeliveryRow,
) -> Result<(), String> {
    // What is allowed may have changed since it was made.
    let url = url::Url::parse(&webhook.url).map_err(|error| error.to_string())?;
    if let Some(why) = target::refused(&app.config.webhook_targets, &url) {
        return Err(why);
    }
    let data: Value = serde_json::from_str(&delivery.data).unwrap_or_default();
    let body = json!({
        "event": delivery.event,
        "timestamp": rfc3339(clock::from_millis(delivery.time)),
        "data": data,
        "webhook": { "id": webhook.id, "attempt": delivery.attempt },
    });
    let body = body.to_string().into_bytes();
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header("x-webhook-id", &webhook.id)
        .header("x-webhook-delivery", &delivery.id)
        .header("x-webhook-event", &delivery.event);
    if let Some(signature) = webhook.secret.as_deref().and_then(|secret| sign(secret, &body)) {
        request = request.header("x-webhook-signature", signature);
    }
    match request.body(body).send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("the receiver answered {}", response.status())),
        Err(error) => Err(reasons(&error.without_url())),
    }
}

/// An error with what led to it: "error sending request" alone helps nobody who looks for why his webhook is silent.
fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn attempt(app: &App, client: &reqwest::Client, delivery: DeliveryRow) {
    let now = app.store.now();
    let outcome = match app.store.webhook(&delivery.webhook).await {
        Ok(Some(webhook)) if webhook.active => send(app, client, &webhook, &delivery).await,
        Ok(Some(_)) => Err("the webhook is not active".to_owned()),
        // An event that was queued while the webhook was deleted.
        Ok(None) => {
            let gone = Some("the webhook was deleted".to_owned());
            if let Err(error) =
                app.store.settle_delivery(&delivery.id, delivery.attempt, "failed", now, gone).await
            {
                tracing::warn!(%error, "a delivery cannot be recorded");
            }
            return;
        }
        Err(error) => Err(error.to_string()),
    };
    let attempts = u32::try_from(delivery.attempt).unwrap_or(u32::MAX);
    let (state, due, problem) = match outcome {
        Ok(()) => {
            app.counters.delivered.fetch_add(1, Ordering::Relaxed);
            ("delivered", now, None)
        }
        Err(problem) if attempts >= app.config.webhook_attempts => {
            app.counters.undelivered.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(delivery = delivery.id, problem, "an event is given up");
            ("failed", now, Some(problem))
        }
        Err(problem) => {
            let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1).min(16));
            let pause = app.config.webhook_backoff.saturating_mul(doubled).min(LONGEST_PAUSE);
            ("pending", now + clock::span(pause), Some(problem))
        }
    };
    // If this fails, the lease ends and the event is sent again: at least once.
    if let Err(error) = app.store.settle_delivery(&delivery.id, delivery.attempt, state, due, problem).await {
        tracing::warn!(%error, "a delivery cannot be recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_others_sign_it() {
        // RFC 4231, test case 2.
        let signed = sign("Jefe", b"what do ya want for nothing?");
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signed.as_deref(), Some(expected));
    }
}
