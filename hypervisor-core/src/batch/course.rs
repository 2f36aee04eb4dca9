use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::model::{BatchOutcome, BatchStep};

/// What a batch tells while it runs, and what it is told.
#[derive(Debug, Default)]
pub(crate) struct Course {
    steps: Option<UnboundedSender<BatchStep>>,
    cancelled: AtomicBool,
}

impl Course {
    /// One that somebody listens to. It holds two steps for each item at most, or three where the item is taken back.
    pub(crate) fn told() -> (Self, UnboundedReceiver<BatchStep>) {
        let (steps, heard) = unbounded_channel();
        (Self { steps: Some(steps), cancelled: AtomicBool::new(false) }, heard)
    }

    /// Nothing new is begun from now on.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(super) fn begun(&self, item: usize) {
        self.tell(|| BatchStep::Begun { item });
    }

    pub(super) fn ended(&self, item: usize, outcome: &BatchOutcome) {
        self.tell(|| BatchStep::Ended { item, outcome: outcome.clone() });
    }

    /// Lets whoever listens hear of what has ended before anything new is begun.
    pub(super) async fn be_heard(&self) {
        if self.steps.is_some() {
            tokio::task::yield_now().await;
        }
    }

    fn tell(&self, step: impl FnOnce() -> BatchStep) {
        if let Some(steps) = &self.steps {
            // An error means that nobody listens any more.
            let _ = steps.send(step());
        }
    }
}
