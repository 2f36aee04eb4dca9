use super::table::area;
use crate::conformance::check::{Check, Stop, check, check_eq, refused_field};
use crate::conformance::context::{Context, Made};
use crate::error::ErrorKind::NotFound;
use crate::model::{
    BatchItem, BatchOp, BatchOutcome, BatchReport, BatchRequest, OnError, PowerAction, VmId, VmState,
};
use crate::operation::Operation::{CreateVm, PowerOffVm, StartVm, SubmitBatch};

area! { "batch":
    outcomes_come_in_the_order_asked [CreateVm, SubmitBatch];
    an_empty_batch_does_nothing [SubmitBatch];
    a_failed_item_does_not_stop_the_others [CreateVm, StartVm, SubmitBatch];
    what_depends_on_a_failed_item_is_skipped [CreateVm, StartVm, SubmitBatch];
    an_item_waits_for_another [CreateVm, StartVm, PowerOffVm, SubmitBatch];
    nothing_is_begun_after_a_stop [CreateVm, StartVm, SubmitBatch];
    what_was_done_is_taken_back [CreateVm, StartVm, PowerOffVm, SubmitBatch];
    a_circle_is_refused [CreateVm, StartVm, SubmitBatch];
    a_gap_is_refused [CreateVm, StartVm, SubmitBatch];
    no_concurrency_is_refused [CreateVm, StartVm, SubmitBatch];
}

async fn submit(cx: &Context, request: &BatchRequest) -> Check<BatchReport> {
    let report = cx.hv.submit_batch(request).await?;
    report.vms().for_each(|vm| cx.keep(Made::Vm(vm.clone())));
    check_eq!("the number of outcomes", report.outcomes.len(), request.items.len());
    Ok(report)
}

fn start(vm: &VmId) -> BatchItem {
    BatchItem::new(BatchOp::power(vm, PowerAction::Start))
}

/// A power verb that has to fail.
fn bad(cx: &Context) -> BatchItem {
    start(&VmId::from(cx.name("none")))
}

fn outcome(report: &BatchReport, index: usize) -> Check<&BatchOutcome> {
    report.outcomes.get(index).ok_or_else(|| Stop::failed(format!("there is no outcome {index}")))
}

fn failed_as_unknown(report: &BatchReport, index: usize) -> Check {
    let found = outcome(report, index)?;
    let kind = found.error().map(crate::Error::kind);
    check!(kind == Some(NotFound), "outcome {index} is {found:?} where `not found` is expected");
    Ok(())
}

fn done(report: &BatchReport, index: usize) -> Check {
    let found = outcome(report, index)?;
    check!(found.is_done(), "outcome {index} is {found:?} where it is to be done");
    Ok(())
}

fn skipped(report: &BatchReport, index: usize) -> Check {
    let found = outcome(report, index)?;
    let skipped = matches!(found, BatchOutcome::Skipped(_));
    check!(skipped, "outcome {index} is {found:?} where it is to be skipped");
    Ok(())
}

async fn outcomes_come_in_the_order_asked(cx: &Context) -> Check {
    let names = ["c", "a", "b"];
    let ops = names.map(|name| BatchOp::CreateVm(Box::new(cx.spec(name))));
    let report = submit(cx, &BatchRequest::new(ops)).await?.into_result()?;
    let mut found = Vec::new();
    for vm in report.vms() {
        found.push(cx.get(vm).await?.name);
    }
    check_eq!("the names in the order of the outcomes", found, names.map(|name| cx.name(name)));
    Ok(())
}

async fn an_empty_batch_does_nothing(cx: &Context) -> Check {
    submit(cx, &BatchRequest::new(Vec::<BatchItem>::new())).await?;
    Ok(())
}

async fn a_failed_item_does_not_stop_the_others(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let report = submit(cx, &BatchRequest::new([bad(cx), start(&vm)])).await?;
    failed_as_unknown(&report, 0)?;
    done(&report, 1)?;
    cx.wait_state(&vm, &VmState::Running).await
}

async fn what_depends_on_a_failed_item_is_skipped(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let report = submit(cx, &BatchRequest::new([bad(cx), start(&vm).after(vec![0])])).await?;
    failed_as_unknown(&report, 0)?;
    skipped(&report, 1)?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}

async fn an_item_waits_for_another(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let off = BatchItem::new(BatchOp::power(&vm, PowerAction::PowerOff));
    let report = submit(cx, &BatchRequest::new([off.after(vec![1]), start(&vm)])).await?;
    done(&report, 0)?;
    done(&report, 1)?;
    cx.wait_state(&vm, &VmState::Stopped).await
}

async fn nothing_is_begun_after_a_stop(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let request = BatchRequest::new([bad(cx), start(&vm)]).concurrency(1).on_error(OnError::Stop);
    let report = submit(cx, &request).await?;
    failed_as_unknown(&report, 0)?;
    skipped(&report, 1)?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}

async fn what_was_done_is_taken_back(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let first = start(&vm).compensate(BatchOp::power(&vm, PowerAction::PowerOff));
    let request = BatchRequest::new([first, bad(cx).after(vec![0])]).on_error(OnError::Compensate);
    let report = submit(cx, &request).await?;
    let found = outcome(&report, 0)?;
    check!(matches!(found, BatchOutcome::Compensated), "outcome 0 is {found:?}, but is to be taken back");
    failed_as_unknown(&report, 1)?;
    cx.wait_state(&vm, &VmState::Stopped).await
}

async fn a_circle_is_refused(cx: &Context) -> Check {
    let (a, b) = (cx.vm("a").await?, cx.vm("b").await?);
    let circle = BatchRequest::new([start(&a).after(vec![1]), start(&b).after(vec![0])]);
    refused_field("a circle", cx.hv.submit_batch(&circle).await, "items[0].after")?;
    check_eq!("the state of one of it", cx.state(&a).await?, VmState::Stopped);
    Ok(())
}

async fn a_gap_is_refused(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let gap = BatchRequest::new([start(&vm), start(&vm).after(vec![7])]);
    refused_field("waiting for no item", cx.hv.submit_batch(&gap).await, "items[1].after")?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}

async fn no_concurrency_is_refused(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let none = BatchRequest::new([start(&vm)]).concurrency(0);
    refused_field("nothing at a time", cx.hv.submit_batch(&none).await, "concurrency")?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}
