use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::batch::{Course, run_with};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{BatchReport, BatchRequest, BatchStep};
use crate::traits::Hypervisor;

/// A batch under way: a stream of what happens to its items, and in the end the report. It runs while it is read; nothing is spawned.
///
/// Dropping it begins nothing new either, but then nobody learns what was done: [`cancel`](Self::cancel) and read on.
#[must_use = "a batch runs while it is read"]
pub struct BatchRun {
    course: Arc<Course>,
    steps: UnboundedReceiver<BatchStep>,
    work: Option<BoxFuture<'static, Result<BatchReport>>>,
    report: Option<Result<BatchReport>>,
}

impl fmt::Debug for BatchRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRun").field("ended", &self.work.is_none()).finish_non_exhaustive()
    }
}

impl BatchRun {
    pub(super) fn new(hv: Arc<dyn Hypervisor>, request: BatchRequest) -> Self {
        let (course, steps) = Course::told();
        let course = Arc::new(course);
        let told = Arc::clone(&course);
        let work = async move { run_with(&*hv, &request, &told).await }.boxed();
        Self { course, steps, work: Some(work), report: None }
    }

    /// Begins nothing new. What has begun is waited for; the stream goes on until it has ended, and the report says of every item what
    /// became of it: what was never begun is `Skipped`.
    pub fn cancel(&self) {
        self.course.cancel();
    }

    /// Reads the stream to its end, and gives the report.
    ///
    /// # Errors
    /// As of [`BatchBuilder::run`](super::BatchBuilder::run).
    pub async fn report(mut self) -> Result<BatchReport> {
        while self.next().await.is_some() {}
        let lost = || Err(Error::new(ErrorKind::Cancelled, "the batch has ended without a report"));
        self.report.unwrap_or_else(lost)
    }
}

impl Stream for BatchRun {
    type Item = BatchStep;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<BatchStep>> {
        // What has ended is told before anything new is begun, so that a cancel that it leads to comes in time.
        if let Poll::Ready(Some(step)) = self.steps.poll_recv(context) {
            return Poll::Ready(Some(step));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(report) = work.as_mut().poll(context)
        {
            self.work = None;
            self.report = Some(report);
        }
        match self.steps.poll_recv(context) {
            Poll::Ready(Some(step)) => Poll::Ready(Some(step)),
            // The work has ended, and no step is left.
            _ if self.work.is_none() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}
