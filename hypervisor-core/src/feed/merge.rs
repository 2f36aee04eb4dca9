//! The events of many backends in one stream.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};

use crate::error::Error;
use crate::model::{Event, EventQuery, EventStream};
use crate::traits::Hypervisor;

/// The first pause before a source that has ended is opened again; it doubles.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether a source is heard from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Health {
    /// Its events come.
    Up,
    /// They do not, for this reason. It is tried again.
    Down(Error),
}

/// What one source of a [`merge`] says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SourceEvent {
    /// Something happened there.
    Event {
        /// The source's name, as it was given.
        source: Arc<str>,
        /// What happened.
        event: Event,
    },
    /// It can be heard from now, or no longer. After it came back, what it has is to be read again.
    Health {
        /// The source's name.
        source: Arc<str>,
        /// How it is.
        health: Health,
    },
}

/// The stream of [`merge`]. It never ends while there are sources.
pub struct MergedStream(SelectAll<BoxStream<'static, SourceEvent>>);

impl fmt::Debug for MergedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedStream").field("sources", &self.0.len()).finish()
    }
}

impl Stream for MergedStream {
    type Item = SourceEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SourceEvent>> {
        self.0.poll_next_unpin(context)
    }
}

/// One feed of several backends. Each is watched by itself: one that cannot be reached says so once, is tried again ever less often, and does
/// not hold up the others. Ids are unique within one source only.
///
/// The work is done by whoever reads the stream; nothing runs while nobody does, and each source bounds what it keeps until then.
#[must_use]
pub fn merge(
    sources: impl IntoIterator<Item = (String, Arc<dyn Hypervisor>)>,
    query: &EventQuery,
) -> MergedStream {
    let each = sources.into_iter().map(|(name, backend)| source(name.into(), backend, query.clone()));
    MergedStream(futures::stream::select_all(each))
}

struct Source {
    name: Arc<str>,
    backend: Arc<dyn Hypervisor>,
    query: EventQuery,
    events: Option<EventStream>,
    pause: Duration,
    down: bool,
}

fn source(
    name: Arc<str>,
    backend: Arc<dyn Hypervisor>,
    query: EventQuery,
) -> BoxStream<'static, SourceEvent> {
    let source = Source { name, backend, query, events: None, pause: Duration::ZERO, down: false };
    futures::stream::unfold(source, |mut source| async move {
        let said = source.next().await;
        Some((said, source))
    })
    .boxed()
}

impl Source {
    async fn next(&mut self) -> SourceEvent {
        loop {
            if let Some(events) = &mut self.events {
                match events.next().await {
                    Some(Ok(event)) => {
                        self.pause = Duration::ZERO;
                        return SourceEvent::Event { source: Arc::clone(&self.name), event };
                    }
                    Some(Err(error)) => return self.lost(error),
                    None => {
                        let ended = Error::new(crate::ErrorKind::Transport, "the stream of events ended");
                        return self.lost(ended.with_effect(crate::Effect::None));
                    }
                }
            }
            tokio::time::sleep(self.pause).await;
            match self.backend.watch(&self.query).await {
                Ok(events) => {
                    self.events = Some(events);
                    self.down = false;
                    return self.health(Health::Up);
                }
                Err(error) if self.down => {
                    self.wait_longer();
                    tracing::debug!(source = &*self.name, %error, "a source of events is still down");
                }
                Err(error) => return self.lost(error),
            }
        }
    }

    fn lost(&mut self, error: Error) -> SourceEvent {
        self.events = None;
        self.down = true;
        self.wait_longer();
        self.health(Health::Down(error))
    }

    fn wait_longer(&mut self) {
        self.pause = self.pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    fn health(&self, health: Health) -> SourceEvent {
        SourceEvent::Health { source: Arc::clone(&self.name), health }
    }
}
