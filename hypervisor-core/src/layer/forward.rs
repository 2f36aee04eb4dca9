//! Every method of every trait, forwarded through the policy.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::layered::{Layered, Recover};
use super::table::operations;
use super::{Call, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::model::*;
use crate::operation::Operation;
use crate::traits::{
    Backups, Batch, Compute, Events, Guest, Hypervisor, Metrics, Network, Snapshots, Storage, Tasks,
};

/// An argument that can be handed over once for each attempt.
trait Argument: Sized {
    type Kept: Sync;
    fn keep(self) -> Self::Kept;
    fn again(kept: &Self::Kept) -> Self;
}

macro_rules! cloned_arguments {
    ($($(<$lt:lifetime>)? $ty:ty;)*) => { $(
        impl$(<$lt>)? Argument for $ty {
            type Kept = Self;
            fn keep(self) -> Self { self }
            fn again(kept: &Self) -> Self { Clone::clone(kept) }
        }
    )* };
}

cloned_arguments! {
    Bytes; ByteSize; WipeAlgorithm; MetricsPeriod; Option<Duration>; Option<AddressSource>; u64; u32;
}

impl<'a, T: Sync + ?Sized> Argument for &'a T {
    type Kept = &'a T;

    fn keep(self) -> Self {
        self
    }

    fn again(kept: &Self) -> Self {
        kept
    }
}

impl Argument for ByteStream {
    type Kept = Mutex<Option<Self>>;

    fn keep(self) -> Self::Kept {
        Mutex::new(Some(self))
    }

    /// The first attempt gets the bytes; a policy that repeats a stream all the same gets an error for its bytes, not a short file.
    fn again(kept: &Self::Kept) -> Self {
        let stream = kept.lock().ok().and_then(|mut kept| kept.take());
        stream.unwrap_or_else(|| {
            let error =
                Error::new(ErrorKind::InvalidState, "the stream has been read and cannot be read again");
            Self::new(1, futures::stream::once(async { Err(error) }))
        })
    }
}

macro_rules! forward {
    ($($trait:ident { $($method:ident($($arg:ident: $ty:ty),*) -> $out:ty = $call:expr $(, $recover:expr)?;)* })*) => { $(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<P: Policy> $trait for Layered<P> {
            $(async fn $method(&self, $($arg: $ty),*) -> Result<$out> {
                let call = $call;
                $(let $arg = Argument::keep($arg);)*
                let recover = forward!(@recover $($recover)?);
                forward!(@send $method, self, call, recover $(, $arg)*)
            })*
        }
    )* };
    // Every attempt carries the uid that was learnt before the first one.
    (@send delete_vm, $layered:ident, $call:ident, $recover:ident, $vm:ident, $options:ident) => {{
        let (wrapped, learned) = ($layered.wrapped(), OnceLock::<String>::new());
        let with_uid = OnceLock::new();
        let send = || {
            let options = match learned.get() {
                Some(uid) => with_uid.get_or_init(|| $options.clone().expected_uid(uid.as_str())),
                None => $options,
            };
            wrapped.delete_vm($vm, options)
        };
        $layered.call($call.learning(&learned), $recover, send).await
    }};
    (@send $method:ident, $layered:ident, $call:ident, $recover:ident $(, $arg:ident)*) => {{
        let wrapped = $layered.wrapped();
        $layered.call($call, $recover, || wrapped.$method($(Argument::again(&$arg)),*)).await
    }};
    (@recover) => { Recover::No };
    (@recover $recover:expr) => { $recover };
}

operations!(forward);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Batch for Layered<P> {
    /// What the backend cannot do is sent alone, so that its refusal does not take the others with it.
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        let possible = self.capabilities().require_all(op.operation(), &op.needs());
        possible.ok().and_then(|()| self.wrapped().bulk_key(op))
    }

    fn batch_limits(&self) -> BatchLimits {
        self.wrapped().batch_limits()
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        let needs = ops.iter().flat_map(BatchOp::needs).collect();
        let call = Call::new(Operation::SubmitBatch).needs(needs);
        let wrapped = self.wrapped();
        let mut outcomes = self.call(call, Recover::No, || wrapped.submit_bulk(ops)).await?;
        let failed = outcomes.iter_mut().zip(ops).filter_map(|(outcome, op)| match outcome {
            Ok(_) => None,
            Err(error) => {
                let error = error.clone();
                Some(async move { *outcome = self.after_bulk(op, error).await })
            }
        });
        futures::future::join_all(failed).await;
        Ok(outcomes)
    }

    async fn submit_batch(&self, request: &BatchRequest) -> Result<BatchReport> {
        let call = Call::new(Operation::SubmitBatch).composite();
        self.call(call, Recover::No, || Box::pin(crate::batch::run(self, request))).await
    }

    async fn clone_vms(&self, vm: &VmId, spec: &CloneMany) -> Result<BatchReport> {
        let call = Call::new(Operation::CloneVms).at(VmId::NOUN, vm).needs(spec.each.needs()).composite();
        self.call(call, Recover::No, || {
            Box::pin(async move { crate::batch::run(self, &crate::batch::clones(vm, spec)?).await })
        })
        .await
    }
}

impl<P: Policy> Layered<P> {
    /// What the policy makes of an operation that failed in a bulk call: the bulk call was its first attempt, a repetition is sent alone.
    async fn after_bulk(&self, op: &BatchOp, error: Error) -> Result<Started<BatchOutput>> {
        let call = Call::new(op.operation()).needs(op.needs());
        let call = match op.vm() {
            Some(vm) => call.at(VmId::NOUN, vm),
            None => call,
        };
        let made = Recover::Token(|started: Started<VmId>| started.map(BatchOutput::Vm));
        let (call, recover) = match op {
            BatchOp::CreateVm(spec) => (call.token(spec.client_token.as_ref()), made),
            BatchOp::CloneVm { spec, .. } => (call.token(spec.client_token.as_ref()), made),
            BatchOp::DeleteVm { options, .. } => {
                let call = call.deleting(options.expected_uid.as_ref()).already_sent();
                (call, Recover::Gone(|| Started::done(BatchOutput::Nothing)))
            }
            BatchOp::DeleteSnapshot { .. } | BatchOp::DeleteVolume(_) => {
                (call, Recover::Gone(|| Started::done(BatchOutput::Nothing)))
            }
            _ => (call, Recover::No),
        };
        let (first, wrapped) = (Mutex::new(Some(error)), self.wrapped());
        self.call(call, recover, || match first.lock().ok().and_then(|mut first| first.take()) {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => crate::batch::item::one(wrapped, op),
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Hypervisor for Layered<P> {
    fn info(&self) -> &BackendInfo {
        self.wrapped().info()
    }

    fn capabilities(&self) -> &Capabilities {
        self.wrapped().capabilities()
    }

    fn inner(&self) -> Option<&dyn Hypervisor> {
        Some(self.wrapped())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_gives_its_bytes_once_and_an_error_after_that() {
        let kept = Argument::keep(ByteStream::from_bytes("bytes"));
        assert_eq!(ByteStream::again(&kept).collect(10).await.unwrap(), "bytes");
        let mut second = ByteStream::again(&kept).into_chunks();
        assert_eq!(second.next().await.unwrap().unwrap_err().kind(), ErrorKind::InvalidState);
    }
}
