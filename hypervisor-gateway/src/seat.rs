//! Streams that last, watches and consoles: each has a seat while it is open, and is told when the gateway ends, or the token that it was opened
//! with.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use crate::call::Call;
use crate::gateway::{App, ended};
use crate::problem::{Problem, Result};
use crate::tokens::Principal;

/// How often the token of an open stream is looked up: it may have been revoked through another gateway.
const LOOK_UP_EVERY: Duration = Duration::from_secs(10);
/// So long the other side has to answer a goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why a stream ends that nobody has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Gateway,
    Token,
}

impl Over {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway is shutting down",
            Self::Token => "the token is not valid any more",
        }
    }
}

/// One place among the open streams, counted while it is taken.
pub(crate) struct Seat {
    app: Arc<App>,
    ending: watch::Receiver<bool>,
    invalid: watch::Receiver<bool>,
    watching: JoinHandle<()>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    pub(crate) fn take(call: &Call) -> Result<Self> {
        let app = Arc::clone(&call.app);
        let permit = Arc::clone(&app.subscribers).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::unavailable("OVERLOADED", "too many streams are open"))?;
        app.counters.subscribers.fetch_add(1, Ordering::Relaxed);
        let (tell, invalid) = watch::channel(false);
        let (who, of, revoked) = (Arc::clone(&call.who), Arc::clone(&app), app.believed.revoked());
        // It ends with the seat.
        let watching = tokio::spawn(async move {
            until_invalid(&of, &who, revoked).await;
            tell.send_replace(true);
            // Whoever asks later has to hear it, too.
            tell.closed().await;
        });
        Ok(Self { ending: app.ending.clone(), app, invalid, watching, _permit: permit })
    }

    /// Waits until the stream has to end.
    pub(crate) async fn ended(&mut self) -> Over {
        tokio::select! {
            () = ended(&mut self.ending) => Over::Gateway,
            () = ended(&mut self.invalid) => Over::Token,
        }
    }

    /// Whether the stream has to end, and why.
    pub(crate) fn over(&self) -> Option<Over> {
        if *self.ending.borrow() || self.ending.has_changed().is_err() {
            return Some(Over::Gateway);
        }
        self.invalid.borrow().then_some(Over::Token)
    }

    /// Changes to `true` when the token is not good any more.
    pub(crate) fn invalid(&self) -> watch::Receiver<bool> {
        self.invalid.clone()
    }
}

/// Waits until a token is revoked or expires.
async fn until_invalid(app: &App, who: &Principal, mut revoked: watch::Receiver<u64>) {
    loop {
        let left = who.left();
        tokio::select! {
            _ = revoked.changed() => {}
            () = tokio::time::sleep(left.map_or(LOOK_UP_EVERY, |left| left.min(LOOK_UP_EVERY))) => {}
        }
        // A database that does not answer is no reason to cut anybody off.
        let gone = matches!(app.store.has_token(&who.id).await, Ok(false));
        if gone || who.left().is_some_and(|left| left.is_zero()) {
            return;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.watching.abort();
        self.app.counters.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the other side why it ends, and gives it a moment to say that it has heard.
pub(crate) async fn say_goodbye(socket: &mut WebSocket, over: Over) {
    let code = match over {
        Over::Gateway => close_code::AWAY,
        Over::Token => close_code::POLICY,
    };
    let frame = CloseFrame { code, reason: over.reason().into() };
    let said = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever does not answer is left.
    let _ = tokio::time::timeout(FAREWELL, said).await;
}
