//! An error of the backend arrives at the client as it was, whatever kind it is of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hypervisor_core::layer::{Attempt, Call, Layered, Policy};
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{VmId, VmSpec};
use hypervisor_core::{Effect, Error, ErrorKind, Hypervisor, Result, Retry};
use libtest_mimic::Failed;

/// Fails each call with the error that lies here.
#[derive(Debug, Default, Clone)]
struct Failing(Arc<Mutex<Option<Error>>>);

impl Policy for Failing {
    async fn run<T: Send + 'static>(&self, _: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let error = self.0.lock().expect("no panic").clone();
        match error {
            Some(error) => Err(error),
            None => attempt.send().await,
        }
    }
}

/// All that is to be the same. The gateway adds the id of the request; the client counts its own attempts.
fn compared(error: &Error) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("kind", error.kind().to_string()),
        ("retry", format!("{:?}", error.retry())),
        ("effect", format!("{:?}", error.effect())),
        ("fields", format!("{:?}", error.fields())),
        ("code", format!("{:?}", error.code())),
        ("target", format!("{:?}", error.target())),
        ("message", error.message().to_owned()),
        ("hint", format!("{:?}", error.hint())),
        ("retry_after", format!("{:?}", error.retry_after())),
        ("log_tail", format!("{:?}", error.log_tail())),
        ("operation", format!("{:?}", error.operation())),
    ])
}

async fn through_all() -> std::result::Result<(), String> {
    let failing = Failing::default();
    let local: Arc<dyn Hypervisor> = Arc::new(Layered::new(Arc::new(Memory::new()), failing.clone()));
    let (_gateway, remote) = super::through(Arc::clone(&local)).await;
    let (vm, spec) = (VmId::from("100"), VmSpec::new("a"));
    for kind in ErrorKind::ALL {
        let plain = Error::new(*kind, "why it failed").with_target(VmId::NOUN, &vm);
        let full = plain
            .clone()
            .with_code("E-42")
            .with_field("memory", "is too large")
            .with_hint("Give it less")
            .with_retry_after(Duration::from_secs(7))
            .with_log_tail(vec!["one".to_owned(), "two".to_owned()]);
        let repeatable = full.clone().with_retry(Retry::IfIdempotent).with_effect(Effect::Unknown);
        let partial = full.clone().with_retry(Retry::Never).with_effect(Effect::Partial);
        for error in [plain, full, repeatable, partial] {
            *failing.0.lock().expect("no panic") = Some(error);
            let pairs = [
                (local.get_vm(&vm).await.err(), remote.get_vm(&vm).await.err()),
                (local.create_vm(&spec).await.err(), remote.create_vm(&spec).await.err()),
                (local.get_cluster().await.err(), remote.get_cluster().await.err()),
            ];
            for (ours, theirs) in pairs {
                let (ours, theirs) = (ours.expect("an error"), theirs.expect("an error"));
                let (local, remote) = (compared(&ours), compared(&theirs));
                if local != remote {
                    return Err(format!("{kind}: {local:#?} became {remote:#?}"));
                }
            }
        }
    }
    Ok(())
}

/// Kind, retry, effect, fields, code, target and the rest, for a read and for a create.
pub(crate) fn all_kinds() -> std::result::Result<(), Failed> {
    super::block_on(through_all()).map_err(Failed::from)
}
