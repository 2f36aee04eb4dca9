use std::collections::BTreeSet;

use super::table::area;
use crate::conformance::check::{Check, Stop, check, check_eq, refused, refused_unknown};
use crate::conformance::context::Context;
use crate::conformance::sweep::every;
use crate::error::ErrorKind::InvalidState;
use crate::model::{HostId, HostState, MetricsPeriod, MetricsTarget, VmId};
use crate::operation::Operation::{
    CreateVm, GetHostMetrics, GetMetricsHistory, GetVmMetrics, ListHosts, ListVmMetrics, StartVm,
};

area! { "metrics":
    a_host_has_a_load [GetHostMetrics, ListHosts];
    an_unknown_host_has_no_load [GetHostMetrics];
    a_running_guest_has_a_load [CreateVm, StartVm, GetVmMetrics];
    a_stopped_guest_has_no_load [CreateVm, GetVmMetrics];
    an_unknown_guest_has_no_load [GetVmMetrics];
    all_running_guests_are_listed [CreateVm, StartVm, ListVmMetrics];
    a_history_has_a_value_for_every_time [CreateVm, StartVm, GetMetricsHistory];
    a_host_has_a_history [ListHosts, GetMetricsHistory];
    an_unknown_guest_has_no_history [GetMetricsHistory];
}

async fn host(cx: &Context) -> Check<HostId> {
    let all = every(|page| async move { cx.hv.list_hosts(&page).await }).await?;
    let online = all.into_iter().find(|host| host.state == HostState::Online);
    online.map(|host| host.id).ok_or_else(|| Stop::failed("no host is online"))
}

fn fraction(what: &str, found: Option<f64>) -> Check {
    let is_one = found.is_none_or(|found| (0.0..=1.0).contains(&found));
    check!(is_one, "{what} is {found:?}, not between 0 and 1");
    Ok(())
}

async fn a_host_has_a_load(cx: &Context) -> Check {
    let host = host(cx).await?;
    let metrics = cx.hv.get_host_metrics(&host).await?;
    check_eq!("the host", metrics.host, host);
    fraction("its CPU usage", metrics.cpu_usage)?;
    let known = metrics.cpu_usage.is_some() || metrics.cpu_time.is_some() || metrics.memory_used.is_some();
    check!(known, "nothing is known of its load: {metrics:?}");
    if let (Some(used), Some(total)) = (metrics.memory_used, metrics.memory_total) {
        check!(used <= total, "of {total} of memory, {used} are said to be used");
    }
    Ok(())
}

async fn an_unknown_host_has_no_load(cx: &Context) -> Check {
    let unknown = HostId::from(cx.name("none"));
    let read = cx.hv.get_host_metrics(&unknown).await;
    refused_unknown("the load of an unknown host", read, HostId::NOUN, &unknown)
}

async fn a_running_guest_has_a_load(cx: &Context) -> Check {
    let vm = cx.running("vm").await?;
    let metrics = cx.hv.get_vm_metrics(&vm).await?;
    check_eq!("the guest", metrics.vm, vm);
    fraction("its CPU usage", metrics.cpu_usage)?;
    let cpu = metrics.cpu_usage.is_some() || metrics.cpu_time.is_some();
    let memory = metrics.memory_total.is_some() || metrics.memory_used.is_some();
    check!(cpu || memory, "nothing is known of its load: {metrics:?}");
    Ok(())
}

async fn a_stopped_guest_has_no_load(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    refused("the load of a stopped guest", cx.hv.get_vm_metrics(&vm).await, InvalidState)?;
    Ok(())
}

async fn an_unknown_guest_has_no_load(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let read = cx.hv.get_vm_metrics(&unknown).await;
    refused_unknown("the load of an unknown guest", read, VmId::NOUN, &unknown)
}

async fn all_running_guests_are_listed(cx: &Context) -> Check {
    let (a, b, stopped) = (cx.running("a").await?, cx.running("b").await?, cx.vm("c").await?);
    let all = every(|page| async move { cx.hv.list_vm_metrics(&page).await }).await?;
    let listed: BTreeSet<VmId> = all.into_iter().map(|metrics| metrics.vm).collect();
    for vm in [&a, &b] {
        check!(listed.contains(vm), "the running vm `{vm}` is not in the list");
    }
    check!(!listed.contains(&stopped), "the stopped vm `{stopped}` is in the list");
    Ok(())
}

async fn history(cx: &Context, target: MetricsTarget) -> Check {
    let history = cx.hv.get_metrics_history(&target, MetricsPeriod::Hour).await?;
    check!(!history.step.is_zero(), "the step is nothing");
    let rising = history.times.iter().zip(history.times.iter().skip(1)).all(|(before, after)| before < after);
    check!(rising, "the times do not rise: {:?}", history.times);
    for (name, values) in &history.series {
        check_eq!(format!("the number of values of {name}"), values.len(), history.times.len());
    }
    Ok(())
}

async fn a_history_has_a_value_for_every_time(cx: &Context) -> Check {
    let vm = cx.running("vm").await?;
    history(cx, MetricsTarget::Vm(vm)).await
}

async fn a_host_has_a_history(cx: &Context) -> Check {
    history(cx, MetricsTarget::Host(host(cx).await?)).await
}

async fn an_unknown_guest_has_no_history(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let target = MetricsTarget::Vm(unknown.clone());
    let read = cx.hv.get_metrics_history(&target, MetricsPeriod::Hour).await;
    refused_unknown("the history of an unknown guest", read, VmId::NOUN, &unknown)
}
