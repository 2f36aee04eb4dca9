//! The events of one backend, for as long as somebody reads them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;

use super::merge::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Event, EventKind, EventQuery, EventStream};
use crate::traits::Hypervisor;

struct Kept {
    backend: Arc<dyn Hypervisor>,
    query: EventQuery,
    events: Option<EventStream>,
    /// Why the next item is a gap.
    gap: Option<String>,
    pause: Duration,
    ended: bool,
}

/// The stream behind `hypervisor.follow_events(query)`, which has been opened once.
pub(crate) fn keep(backend: Arc<dyn Hypervisor>, query: EventQuery, events: EventStream) -> EventStream {
    let gap = Some("events are told from now on".to_owned());
    let kept = Kept { backend, query, events: Some(events), gap, pause: Duration::ZERO, ended: false };
    futures::stream::unfold(kept, |mut kept| async move {
        let item = kept.next().await?;
        Some((item, kept))
    })
    .boxed()
}

impl Kept {
    async fn next(&mut self) -> Option<Result<Event>> {
        while !self.ended {
            let Some(events) = &mut self.events else {
                if let Err(error) = self.open().await {
                    self.ended = true;
                    return Some(Err(error));
                }
                continue;
            };
            if let Some(reason) = self.gap.take() {
                return Some(Ok(Event::new(SystemTime::now(), EventKind::Resync { reason })));
            }
            match events.next().await {
                Some(Ok(event)) => {
                    self.pause = Duration::ZERO;
                    return Some(Ok(event));
                }
                Some(Err(error)) => self.lost(error.to_string()),
                None => self.lost("the stream of events ended".to_owned()),
            }
        }
        None
    }

    fn lost(&mut self, reason: String) {
        tracing::warn!(backend = %self.backend.info().backend, %reason, "events are lost until they can be followed again");
        self.events = None;
        self.gap = Some(reason);
    }

    /// Tries once more.
    ///
    /// # Errors
    /// What will not change by itself.
    async fn open(&mut self) -> Result<()> {
        tokio::time::sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        match self.backend.watch(&self.query).await {
            Ok(events) => self.events = Some(events),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => tracing::debug!(%error, "events cannot be followed yet"),
        }
        Ok(())
    }
}

fn is_final(error: &Error) -> bool {
    use ErrorKind::{Config, InvalidInput, PermissionDenied, Unauthenticated, Unsupported};
    matches!(error.kind(), Config | InvalidInput | PermissionDenied | Unauthenticated | Unsupported)
}
