//! What has happened, as a ring of bounded size, and the streams that read it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio::sync::Notify;

use super::clock::{Clock, wall};
use super::{Memory, Shared};
use crate::error::Result;
use crate::model::{Event, EventKind, EventQuery, EventStream};
use crate::operation::Operation;
use crate::traits::Events;

/// The last events. A reader that is further behind than the ring is long gets a `Lagged`.
#[derive(Debug)]
pub(super) struct EventLog {
    ring: VecDeque<Event>,
    capacity: usize,
    /// The number of the event that comes next.
    next: u64,
}

impl EventLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self { ring: VecDeque::new(), capacity: capacity.max(1), next: 0 }
    }

    pub(super) fn push(&mut self, at: Duration, kind: EventKind) {
        if self.ring.len() == self.capacity {
            self.ring.pop_front();
        }
        self.ring.push_back(Event::new(wall(at), kind));
        self.next += 1;
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The first event from `cursor` on that the query wants; moves the cursor behind it.
    fn read(&self, cursor: &mut u64, query: &EventQuery, now: Duration) -> Option<Event> {
        let first = self.next - u64::try_from(self.ring.len()).unwrap_or(0);
        if *cursor < first {
            let missed = self.next - *cursor;
            *cursor = self.next;
            return Some(Event::new(wall(now), EventKind::Lagged { missed }));
        }
        let skip = usize::try_from(*cursor - first).unwrap_or(usize::MAX);
        for event in self.ring.iter().skip(skip) {
            *cursor += 1;
            if query.matches(event) {
                return Some(event.clone());
            }
        }
        None
    }
}

/// One reader. It holds the hypervisor weakly: the stream ends with the last `Memory`.
struct Reader {
    shared: Weak<Shared>,
    changed: Arc<Notify>,
    clock: Clock,
    query: EventQuery,
    cursor: u64,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        let changed = Arc::clone(&self.changed);
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let (event, due) = {
                let shared = self.shared.upgrade()?;
                shared.look(|world| {
                    let event = world.events.read(&mut self.cursor, &self.query, world.now);
                    (event, world.next_change())
                })
            };
            if event.is_some() {
                return event;
            }
            match due.and_then(|due| self.clock.instant(due)) {
                Some(due) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => notified.await,
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Events for Memory {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        let cursor = self.call(Operation::Watch, &[], Ok(()), |world| Ok(world.events.next())).await?;
        let reader = Reader {
            shared: Arc::downgrade(&self.shared),
            changed: Arc::clone(&self.shared.changed),
            clock: self.shared.clock,
            query: query.clone(),
            cursor,
        };
        let events = futures::stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            Some((Ok(event), reader))
        });
        Ok(events.boxed())
    }
}
