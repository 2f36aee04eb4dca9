//! Streams that last, watches and consoles: each has a seat while it is open, and is told when the gateway ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::call::Call;
use crate::gateway::{App, ended};
use crate::problem::{Problem, Result};

/// Why a stream ends that nobody has ended.
pub(crate) const REASON: &str = "the gateway is shutting down";
/// So long the other side has to answer a goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// One place among the open streams, counted while it is taken.
pub(crate) struct Seat {
    app: Arc<App>,
    ending: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    pub(crate) fn take(call: &Call) -> Result<Self> {
        let app = Arc::clone(&call.app);
        let permit = Arc::clone(&app.subscribers).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::unavailable("OVERLOADED", "too many streams are open"))?;
        app.counters.subscribers.fetch_add(1, Ordering::Relaxed);
        Ok(Self { ending: app.ending.clone(), app, _permit: permit })
    }

    /// Waits for the end of the gateway.
    pub(crate) async fn ended(&mut self) {
        ended(&mut self.ending).await;
    }

    /// Whether the gateway has ended, or is about to.
    pub(crate) fn is_over(&self) -> bool {
        *self.ending.borrow() || self.ending.has_changed().is_err()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.app.counters.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the other side that the gateway ends, and gives it a moment to say that it has heard.
pub(crate) async fn say_goodbye(socket: &mut WebSocket) {
    let frame = CloseFrame { code: close_code::AWAY, reason: REASON.into() };
    let said = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever does not answer is left.
    let _ = tokio::time::timeout(FAREWELL, said).await;
}
