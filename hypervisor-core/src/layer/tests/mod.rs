//! Tests of the layers, against a backend that answers as it is told.

mod budget;
mod chaos;
mod cost;
mod forward;
mod memory;
mod retry;
mod stack;
mod trace;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::table::operations;
use crate::error::{Error, ErrorKind, Result};
use crate::model::*;
use crate::traits::*;

/// What the backend does with one call.
enum Step {
    Answer(Box<dyn Any + Send>),
    Fail(Error),
    Hang,
}

/// A backend that answers the next call with the next step, whatever is called; without one it fails.
struct Scripted {
    info: BackendInfo,
    capabilities: Capabilities,
    steps: Mutex<VecDeque<Step>>,
    calls: Mutex<Vec<(&'static str, Duration)>>,
    /// The uid that each delete of a guest expects.
    uids: Mutex<Vec<Option<String>>>,
    begun: Instant,
    slow: Duration,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            info: BackendInfo::new("scripted", "https://root@host.example:8006/api"),
            capabilities: Capabilities::all_native(),
            steps: Mutex::new(steps.into_iter().collect()),
            calls: Mutex::default(),
            uids: Mutex::default(),
            begun: Instant::now(),
            slow: Duration::ZERO,
            at_work: AtomicUsize::new(0),
            most_at_work: AtomicUsize::new(0),
        }
    }

    fn shared(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self::new(steps))
    }

    /// The methods called so far.
    fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().iter().map(|(method, _)| *method).collect()
    }

    /// When they were called, counted from the beginning, in milliseconds of virtual time.
    fn times(&self) -> Vec<u128> {
        self.calls.lock().unwrap().iter().map(|(_, time)| time.as_millis()).collect()
    }

    async fn next<T: 'static>(&self, method: &'static str) -> Result<T> {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.calls.lock().unwrap().push((method, self.begun.elapsed()));
        let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        let _leave = Leave(&self.at_work);
        self.most_at_work.fetch_max(now, Ordering::SeqCst);
        if !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Answer(answer)) => {
                Ok(*answer.downcast().unwrap_or_else(|_| panic!("another answer: {method}")))
            }
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Hang) => std::future::pending().await,
            None => Err(Error::new(ErrorKind::Backend, "no step left")),
        }
    }
}

fn answer<T: Send + 'static>(answer: T) -> Step {
    Step::Answer(Box::new(answer))
}

fn fail(kind: ErrorKind) -> Step {
    Step::Fail(Error::new(kind, "scripted"))
}

macro_rules! scripted {
    ($($trait:ident { $($method:ident($($arg:ident: $ty:ty),*) -> $out:ty = $call:expr $(, $recover:expr)?;)* })*) => { $(
        #[async_trait]
        impl $trait for Scripted {
            $(async fn $method(&self, $($arg: $ty),*) -> Result<$out> {
                scripted!(@note $method, self $(, $arg)*);
                self.next(stringify!($method)).await
            })*
        }
    )* };
    (@note delete_vm, $backend:ident, $vm:ident, $options:ident) => {
        let _ = $vm;
        $backend.uids.lock().unwrap().push($options.expected_uid.clone());
    };
    (@note $method:ident, $backend:ident $(, $arg:ident)*) => {
        $(let _ = &$arg;)*
    };
}

operations!(scripted);

#[async_trait]
impl Batch for Scripted {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        op.vm().map(|vm| BulkKey::new(vm.as_str(), 7))
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        let _ = ops;
        self.next("submit_bulk").await
    }

    async fn submit_batch(&self, _: &BatchRequest) -> Result<BatchReport> {
        panic!("a batch goes through the layers one operation at a time");
    }

    async fn clone_vms(&self, _: &VmId, _: &CloneMany) -> Result<BatchReport> {
        panic!("a batch goes through the layers one operation at a time");
    }
}

impl Hypervisor for Scripted {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}
