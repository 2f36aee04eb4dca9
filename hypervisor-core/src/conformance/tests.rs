//! The suite against backends that are wrong on purpose: each fault has to be found, and by the case that is about it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::pending;

use super::check::{Check, Stop, check_eq};
use super::context::Context;
use super::{Case, Outcome, Settings, cases, run_all};
use crate::layer::{Attempt, Call, Layered, Policy};
use crate::memory::Memory;
use crate::model::{ByteSize, Capabilities, VmQuery, VolumeSpec};
use crate::{Error, ErrorKind, Hypervisor, Operation, Result};

/// What a backend does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrong {
    /// Whatever fails, fails for a reason of the backend's own.
    Vague,
    /// Errors do not name the object.
    Nameless,
    /// A delete answers and does nothing.
    IdleDelete,
    /// What is claimed is not there.
    EmptyClaim,
    /// A read never ends.
    Silent,
}

impl Policy for Wrong {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        match (self, call.operation()) {
            (Self::IdleDelete, Operation::DeleteVm) => match attempt.already_gone() {
                Some(gone) => Ok(gone),
                None => attempt.send().await,
            },
            (Self::EmptyClaim, Operation::PauseVm) => {
                Err(Error::unsupported(Operation::PauseVm, "not today"))
            }
            (Self::Silent, Operation::GetVm) => pending().await,
            (Self::Vague, _) => {
                attempt.send().await.map_err(|error| Error::new(ErrorKind::Backend, error.to_string()))
            }
            (Self::Nameless, _) => {
                let error = attempt.send().await.map_err(|error| Error::new(error.kind(), "it went wrong"));
                error.map_err(|error| error.with_target("thing", "?"))
            }
            _ => attempt.send().await,
        }
    }
}

fn wrong(how: Wrong) -> Arc<dyn Hypervisor> {
    Arc::new(Layered::new(Arc::new(Memory::new()), how))
}

/// The cases that fail on a backend that does this wrong, with their reasons.
async fn found(how: Wrong) -> Vec<(&'static str, String)> {
    let settings = Settings::new().deadline(Duration::from_secs(1)).case_deadline(Duration::from_secs(5));
    let report = run_all(&wrong(how), &settings, |_| {}).await;
    let failed = report.rows.into_iter().filter(|row| row.outcome.is_failed());
    failed.map(|row| (row.case, row.outcome.reason().unwrap_or_default().to_owned())).collect()
}

fn told(found: &[(&str, String)], case: &str, word: &str) {
    let reason = found.iter().find(|(name, _)| *name == case).map(|(_, reason)| reason);
    let reason = reason.unwrap_or_else(|| panic!("{case} passes"));
    assert!(reason.contains(word), "{case}: {reason}");
}

#[tokio::test(start_paused = true)]
async fn vague_errors_are_found() {
    let found = found(Wrong::Vague).await;
    told(&found, "lifecycle::unknown_guest_is_not_found", "not found is expected");
    told(&found, "power::verbs_are_refused_while_stopped", "invalid state is expected");
    told(&found, "input::unusable_names_are_refused", "invalid input is expected");
    told(&found, "snapshots::taken_name_is_refused", "already exists is expected");
    told(&found, "update::another_revision_is_a_conflict", "conflict is expected");
}

#[tokio::test(start_paused = true)]
async fn errors_that_name_nothing_are_found() {
    let found = found(Wrong::Nameless).await;
    told(&found, "lifecycle::unknown_guest_is_not_found", "has to name vm");
    told(&found, "networks::unknown_network_is_not_found", "has to name network");
    told(&found, "input::zero_cpus_are_refused", "has to name the field");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_does_nothing_is_found() {
    let found = found(Wrong::IdleDelete).await;
    told(&found, "delete::deleted_guest_is_gone", "is accepted");
    told(&found, "lifecycle::created_guest_is_stopped", "left behind: vm");
}

#[tokio::test(start_paused = true)]
async fn a_claim_with_nothing_behind_it_is_found() {
    let found = found(Wrong::EmptyClaim).await;
    told(&found, "claims::supported_operations_are_never_unsupported", "pause_vm is claimed supported");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_is_found() {
    let found = found(Wrong::Silent).await;
    told(&found, "lifecycle::created_guest_is_stopped", "took longer than 5s");
}

#[tokio::test]
async fn what_a_backend_lacks_is_skipped_with_its_reason() {
    let all = Capabilities::all_native().unsupported([Operation::PauseVm], "no pause button");
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().capabilities(all).build());
    let case = |name: &str| cases().into_iter().find(|case| case.name == name).unwrap();
    let outcome = case("power::pause_freezes_and_resume_goes_on").run(&hv, &Settings::new()).await;
    assert_eq!(outcome, Outcome::Skipped("pause_vm: no pause button".to_owned()));
    let outcome = case("claims::unsupported_operations_are_refused_as_such").run(&hv, &Settings::new()).await;
    assert_eq!(outcome, Outcome::Passed);
}

#[tokio::test(start_paused = true)]
async fn the_image_and_the_bridge_of_the_settings_are_used() {
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    let image = hv.create_volume(&VolumeSpec::new("default", "base.qcow2", ByteSize::gib(1))).await.unwrap();
    let settings = Settings::new().image(&image.output).bridge("br0");
    for name in ["boot::guest_starts_from_a_copy_of_the_image", "nics::a_nic_is_plugged_into_a_bridge"] {
        let case = cases().into_iter().find(|case| case.name == name).unwrap();
        assert_eq!(case.run(&hv, &settings).await, Outcome::Passed, "{name}");
        assert!(matches!(case.run(&hv, &Settings::new()).await, Outcome::Skipped(_)), "{name}");
    }
}

async fn panics(cx: &Context) -> Check {
    cx.vm("a").await?;
    panic!("of its own making");
}

async fn forgets(cx: &Context) -> Check {
    // Not taken note of: only the search by prefix can find it.
    drop(cx.hv.create_vm(&cx.spec("a")).await?);
    check_eq!("the number of our guests", cx.vms(&VmQuery::all()).await?.len(), 1);
    Err(Stop::skipped("enough seen"))
}

#[tokio::test]
async fn nothing_stays_behind_whatever_a_case_does() {
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    let list =
        async || hv.list_vms(&VmQuery::all(), &crate::model::PageRequest::first()).await.unwrap().items;
    let case = Case::new("suite", "suite::panics", vec![Operation::CreateVm.into()], vec![], |cx| {
        Box::pin(panics(cx))
    });
    let outcome = case.run(&hv, &Settings::new()).await;
    assert_eq!(outcome, Outcome::Failed("it panicked: of its own making".to_owned()));
    assert_eq!(list().await, []);
    let case = Case::new("suite", "suite::forgets", vec![Operation::CreateVm.into()], vec![], |cx| {
        Box::pin(forgets(cx))
    });
    let outcome = case.run(&hv, &Settings::new()).await;
    assert!(outcome.reason().is_some_and(|reason| reason.contains("left behind: vm")), "{outcome:?}");
    assert!(outcome.is_failed());
    assert_eq!(list().await, []);
}
