use futures::StreamExt as _;

use super::table::area;
use crate::conformance::check::{Check, Stop, check};
use crate::conformance::context::Context;
use crate::model::{DeleteVm, Event, EventKind, EventQuery, EventStream, VmState};
use crate::operation::Operation::{CreateVm, DeleteVm as Delete, StartVm, Watch};

area! { "events":
    a_new_guest_is_told [CreateVm, Watch];
    a_start_is_told [CreateVm, StartVm, Watch];
    a_deletion_is_told [CreateVm, Delete, Watch];
    only_the_guest_asked_for_is_told [CreateVm, StartVm, Watch];
    two_streams_tell_the_same [CreateVm, Watch];
    a_dropped_stream_disturbs_nothing [CreateVm, Watch];
}

/// Reads on until the event comes; what came before it is given back.
async fn wait(cx: &Context, what: &str, events: &mut EventStream, wanted: &EventKind) -> Check<Vec<Event>> {
    let mut before = Vec::new();
    let reading = async {
        loop {
            match events.next().await {
                Some(Ok(event)) if event.kind == *wanted => return Ok(()),
                Some(Ok(event)) => before.push(event),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Stop::failed(format!("the stream ended before {what}"))),
            }
        }
    };
    match tokio::time::timeout(cx.settings.deadline, reading).await {
        Ok(read) => read?,
        Err(_) => {
            let kinds: Vec<_> = before.iter().map(|event| &event.kind).collect();
            return Err(Stop::failed(format!("no event tells of {what}; what came is {kinds:?}")));
        }
    }
    Ok(before)
}

async fn a_new_guest_is_told(cx: &Context) -> Check {
    let mut events = cx.hv.watch(&EventQuery::all()).await?;
    let vm = cx.vm("vm").await?;
    wait(cx, "the creation", &mut events, &EventKind::VmCreated(vm)).await?;
    Ok(())
}

async fn a_start_is_told(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let mut events = cx.hv.watch(&EventQuery::all()).await?;
    cx.start(&vm).await?;
    let running = EventKind::VmStateChanged { vm, state: VmState::Running };
    wait(cx, "the start", &mut events, &running).await?;
    Ok(())
}

async fn a_deletion_is_told(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let mut events = cx.hv.watch(&EventQuery::all()).await?;
    cx.done(cx.hv.delete_vm(&vm, &DeleteVm::with_disks()).await).await?;
    wait(cx, "the deletion", &mut events, &EventKind::VmDeleted(vm)).await?;
    Ok(())
}

async fn only_the_guest_asked_for_is_told(cx: &Context) -> Check {
    let (vm, other) = (cx.vm("vm").await?, cx.vm("other").await?);
    let query = EventQuery::all().vm(&vm);
    let mut events = cx.hv.watch(&query).await?;
    cx.start(&other).await?;
    cx.start(&vm).await?;
    let running = EventKind::VmStateChanged { vm, state: VmState::Running };
    let before = wait(cx, "the start", &mut events, &running).await?;
    let others = before.iter().find(|event| !query.matches(event));
    check!(others.is_none(), "an event that was not asked for came: {others:?}");
    Ok(())
}

async fn two_streams_tell_the_same(cx: &Context) -> Check {
    let mut first = cx.hv.watch(&EventQuery::all()).await?;
    let mut second = cx.hv.watch(&EventQuery::all()).await?;
    let vm = cx.vm("vm").await?;
    let created = EventKind::VmCreated(vm);
    wait(cx, "the creation, on the first stream", &mut first, &created).await?;
    wait(cx, "the creation, on the second stream", &mut second, &created).await?;
    Ok(())
}

async fn a_dropped_stream_disturbs_nothing(cx: &Context) -> Check {
    let dropped = cx.hv.watch(&EventQuery::all()).await?;
    let mut kept = cx.hv.watch(&EventQuery::all()).await?;
    drop(dropped);
    let vm = cx.vm("vm").await?;
    wait(cx, "the creation", &mut kept, &EventKind::VmCreated(vm)).await?;
    Ok(())
}
