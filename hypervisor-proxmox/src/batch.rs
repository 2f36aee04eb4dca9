//! Many operations at a time: power verbs go together where the server has a call for that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::model::{
    BatchLimits, BatchOp, BatchOutput, BulkKey, GuestKind, HostId, PowerAction, Shutdown, Started, TaskId,
    VmId, VmInfo, VmState,
};
use hypervisor_core::traits::Batch;
use hypervisor_core::{Error, ErrorKind, Operation, Result, Retry};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::Call;
use crate::backend::{Inner, Proxmox};
use crate::compute::{list, power};
use crate::error::{named, of_vm};
use crate::locate::View;
use crate::wire::form::{Form, vmid};
use crate::wire::status::is_managed;

/// The most guests of one call.
const MOST: usize = 200;
/// The most of them that the server works on at a time.
const MOST_WORKERS: u64 = 64;

#[async_trait]
impl Batch for Proxmox {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        if !self.inner.probe.has_bulk_action() {
            return None;
        }
        let BatchOp::PowerVm { action, .. } = op else { return None };
        verb(action).map(|(verb, form)| BulkKey::new(format!("{verb}?{}", form.encode()), MOST))
    }

    /// A node runs its tasks beside one another, but those that change one storage wait for its lock, a minute at most.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::new(6)
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        submit(&self.inner, ops).await.map_err(named(Operation::SubmitBatch))
    }
}

/// The call for a verb, with its parameters. Pausing and cutting the power have none.
fn verb(action: &PowerAction) -> Option<(&'static str, Form)> {
    match action {
        PowerAction::Start => Some(("start", Form::new())),
        PowerAction::Shutdown(Shutdown { power_off_after: Some(limit), .. }) => {
            let form = Form::new().number("timeout", limit.as_secs().max(1)).flag("force-stop", true);
            Some(("shutdown", form))
        }
        PowerAction::Hibernate => Some(("suspend", Form::new().flag("to-disk", true))),
        PowerAction::Pause => Some(("suspend", Form::new())),
        _ => None,
    }
}

/// The state that shows that a verb has done its work.
fn wanted(action: &PowerAction) -> VmState {
    match action {
        PowerAction::Start => VmState::Running,
        PowerAction::Pause => VmState::Paused,
        PowerAction::Hibernate => VmState::Hibernated,
        _ => VmState::Stopped,
    }
}

/// How old the look at the cluster may be that tells the states of a batch's guests: its groups share it. Guests that this process has
/// changed are looked at anew.
const SHARED: Duration = Duration::from_secs(5);
/// Of so many guests on one host the host is asked, of fewer each guest.
const TOGETHER: usize = 3;

/// A guest without what a batch does not ask for.
fn brief(view: &View, vm: &VmId) -> Option<VmInfo> {
    let brief = view.guest(vmid(vm).ok()?)?;
    let mut guest =
        VmInfo::new(vm, vm.as_str(), brief.state.clone()).kind(brief.kind).template(brief.template);
    guest.host.clone_from(&brief.host);
    Some(guest)
}

/// The guests of these operations as they are.
///
/// Of one that this process has changed, and whose host does not tell how it is now, nothing is known.
async fn guests(inner: &Inner, ops: &[BatchOp]) -> Result<HashMap<VmId, Result<VmInfo>>> {
    let operation = Operation::SubmitBatch;
    let wanted: HashSet<&VmId> = ops.iter().filter_map(BatchOp::vm).collect();
    let now = Instant::now();
    let mut since = now.checked_sub(SHARED).unwrap_or(now);
    loop {
        let view = inner.view_since(operation, since).await?;
        let mut known: Vec<VmInfo> = wanted.iter().filter_map(|vm| brief(&view, vm)).collect();
        // One that is missing may have been made since.
        if known.len() < wanted.len() && since < now {
            since = now;
            continue;
        }
        let mut old = list::refresh(inner, operation, &mut known, &mut view.unreachable.clone()).await;
        let seen = known.into_iter().map(|guest| {
            let refusal = old.remove(&guest.id);
            (guest.id.clone(), refusal.map_or(Ok(guest), Err))
        });
        return Ok(seen.collect());
    }
}

/// One call for all that are in a state for it. The server's task says only that it has tried them all, so each guest has a task
/// of its own here, which ends with a look at the guest.
async fn submit(inner: &Arc<Inner>, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
    let operation = Operation::SubmitBatch;
    let guests = guests(inner, ops).await?;
    let mut answers: Vec<Result<(VmId, PowerAction, u32)>> = Vec::with_capacity(ops.len());
    for op in ops {
        let BatchOp::PowerVm { vm, action } = op else {
            answers.push(Err(crate::error::unsupported(operation, "only power verbs go together")));
            continue;
        };
        let known = guests.get(vm).ok_or_else(|| vm.not_found());
        let looked = known.and_then(|guest| guest.as_ref().map_err(Error::clone)).and_then(|guest| {
            inner.require(action.operation(), &action.needs())?;
            action.check_state(&guest.state)?;
            if guest.template {
                return Err(Error::invalid_state("a template is not started: clone it"));
            }
            Ok((vm.clone(), *action, vmid(vm)?))
        });
        answers.push(looked.map_err(of_vm(vm)).map_err(named(action.operation())));
    }
    let going: Vec<(VmId, PowerAction, u32)> =
        answers.iter().filter_map(|answer| answer.as_ref().ok().cloned()).collect();
    let Some((_, first, _)) = going.first() else {
        let nothing = |_| Started::done(BatchOutput::Nothing);
        return Ok(answers.into_iter().map(|answer| answer.map(nothing)).collect());
    };
    let Some((verb, form)) = verb(first) else {
        return Err(crate::error::unsupported(operation, "the server has no such verb for many guests"));
    };
    // The caller has said how many may run at a time; the server's own default is four.
    let workers = u64::try_from(going.len()).unwrap_or(MOST_WORKERS).min(MOST_WORKERS);
    let form = form.number("max-workers", workers);
    let form = form.each("vms", going.iter().map(|(_, _, number)| number.to_string()));
    let call = Call::post(format!("/cluster/bulk-action/guest/{verb}"), form).operation(operation);
    let task = match inner.api.task(&call).await {
        // Of one guest too many: the others need not go without.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && going.len() > 1 => {
            return Ok(each(inner, answers).await);
        }
        other => other?,
    };
    let places = going.iter().filter_map(|(vm, _, _)| {
        let guest = guests.get(vm)?.as_ref().ok()?;
        Some((vm.clone(), guest.host.clone()?, guest.kind))
    });
    let ended = follow(inner, task.clone(), *first, places.collect());
    Ok(answers
        .into_iter()
        .map(|answer| {
            let (vm, action, _) = answer?;
            inner.locator.touch(&vm);
            let chain = one(inner, &vm, action, ended.clone());
            Ok(Started::running(BatchOutput::Nothing, chain))
        })
        .collect())
}

/// The same guest by guest.
async fn each(
    inner: &Arc<Inner>,
    answers: Vec<Result<(VmId, PowerAction, u32)>>,
) -> Vec<Result<Started<BatchOutput>>> {
    let calls = answers.into_iter().map(|answer| async move {
        let (vm, action, _) = answer?;
        let started = power::power(inner, &vm, &action).await.map_err(named(action.operation()))?;
        Ok(match started.task {
            Some(task) => Started::running(BatchOutput::Nothing, task),
            None => Started::done(BatchOutput::Nothing),
        })
    });
    futures::future::join_all(calls).await
}

/// What has come of a bulk call.
#[derive(Clone)]
struct End {
    task: Result<(), Error>,
    /// What guests did then, as far as their hosts were asked.
    states: Arc<HashMap<VmId, VmState>>,
}

/// One wait for the server's task and one look at each host with several of its guests, whoever is interested in the end. When the task is
/// expected to end, both looks go out together.
fn follow(
    inner: &Arc<Inner>,
    task: Option<TaskId>,
    action: PowerAction,
    guests: Vec<(VmId, HostId, GuestKind)>,
) -> watch::Receiver<Option<End>> {
    let (tell, told) = watch::channel(None);
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let mut hosts: HashMap<(HostId, GuestKind), Vec<VmId>> = HashMap::new();
        for (vm, host, kind) in guests {
            hosts.entry((host, kind)).or_default().push(vm);
        }
        hosts.retain(|_, guests| guests.len() >= TOGETHER);
        let look = || states(&inner, action, &hosts);
        let (task, seen) = match &task {
            Some(task) => {
                let (task, seen) = inner.wait_beside(task, look).await;
                (task.map(drop), seen)
            }
            None => (Ok(()), None),
        };
        let wanted = wanted(&action);
        let whole =
            |seen: &HashMap<VmId, VmState>| hosts.values().flatten().all(|vm| seen.get(vm) == Some(&wanted));
        let states = match seen.filter(whole) {
            Some(seen) => seen,
            None => look().await,
        };
        // Nobody may be interested any more.
        let _ = tell.send(Some(End { task, states: Arc::new(states) }));
    });
    told
}

/// What the guests on these hosts do. Of a host that does not answer each guest is asked later, and says why it cannot be.
async fn states(
    inner: &Inner,
    action: PowerAction,
    hosts: &HashMap<(HostId, GuestKind), Vec<VmId>>,
) -> HashMap<VmId, VmState> {
    let paused = matches!(action, PowerAction::Pause);
    let looks = hosts.keys().map(|(host, kind)| async move {
        list::states(inner, action.operation(), host, *kind, paused).await
    });
    let seen = futures::future::join_all(looks).await.into_iter().flatten().flatten();
    seen.map(|guest| (guest.id, guest.state)).collect()
}

/// The end of one guest's part: what it does now tells.
fn one(
    inner: &Arc<Inner>,
    vm: &VmId,
    action: PowerAction,
    mut ended: watch::Receiver<Option<End>>,
) -> TaskId {
    let (work, guest) = (Arc::clone(inner), vm.clone());
    inner.chains.start(action.operation(), vm, move |link| async move {
        let end = match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone(),
            Err(_) => None,
        };
        link.checkpoint()?;
        let wanted = wanted(&action);
        let seen = end.as_ref().and_then(|end| end.states.get(&guest));
        if seen == Some(&wanted) {
            return Ok(());
        }
        let mut last = VmState::Unknown("unknown".to_owned());
        let mut blind = None;
        // The server's task may end a moment before QEMU says so.
        for pause in [0_u64, 250, 500, 1000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match list::state(&work, action.operation(), &guest).await {
                Ok(seen) if seen.state == wanted => return Ok(()),
                // The server has only passed on what was asked for.
                Ok(seen) if is_managed(&seen) && matches!(wanted, VmState::Running | VmState::Stopped) => {
                    return power::until(&work, &link, action.operation(), &guest, &wanted).await;
                }
                Ok(seen) => (last, blind) = (seen.state, None),
                // A failed look is not a failed task.
                Err(error) if error.retry() != Retry::Never => blind = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = blind {
            return Err(error);
        }
        match end.map(|end| end.task) {
            Some(Err(error)) => Err(error),
            _ => Err(Error::new(ErrorKind::TaskFailed, format!("the guest is {last}, not {wanted}"))),
        }
    })
}

#[cfg(all(test, feature = "fake"))]
mod tests {
    use super::*;
    use crate::ProxmoxConfig;
    use crate::fake::{FakeGuest, FakePve};
    use hypervisor_core::model::BatchRequest;

    #[tokio::test]
    async fn starts_go_together_and_so_do_the_looks_at_what_has_come_of_them() {
        let pve =
            FakePve::builder().hosts(2).many(64).task_time(Duration::from_millis(50)).start().await.unwrap();
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), pve.token_secret());
        let proxmox = Box::pin(Proxmox::connect(config)).await.unwrap();
        pve.clear_requests();
        let starts = (1000..1064).map(|number| BatchOp::power(number.to_string(), PowerAction::Start));
        let report = proxmox.submit_batch(&BatchRequest::new(starts).concurrency(32)).await.unwrap();
        assert!(report.all_done(), "{report:?}");
        let calls = pve.count("POST", "/cluster/bulk-action/guest/start");
        // Two, where all of a call are seen to end at once; a look that comes between two ends makes one more.
        assert!((2..=8).contains(&calls), "{calls} calls");
        let all = pve.requests().len();
        assert!(all < 64, "{all} requests for 64 guests: one for each would be as few");
        assert_eq!(pve.count("GET", "/nodes/*/tasks"), 0, "its own tasks are looked at without the server");
    }

    /// How the task of a call ended.
    async fn end(
        proxmox: &Proxmox,
        started: Started<BatchOutput>,
    ) -> Option<hypervisor_core::model::TaskInfo> {
        let task = started.task?;
        loop {
            let info = hypervisor_core::traits::Tasks::get_task(proxmox, &task, None).await.ok()?;
            if info.state.is_final() {
                return Some(info);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn what_high_availability_starts_later_has_not_failed() {
        let guest = |vmid: u32| FakeGuest::vm(vmid).managed();
        // It starts them four times as long after the end of the server's own task.
        let pve = FakePve::builder().vm(guest(100)).vm(guest(101)).task_time(Duration::from_millis(800));
        let pve = pve.start().await.unwrap();
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), pve.token_secret());
        let proxmox = Box::pin(Proxmox::connect(config)).await.unwrap();
        let starts = ["100", "101"].map(|vm| BatchOp::power(vm, PowerAction::Start));
        for started in proxmox.submit_bulk(&starts).await.unwrap() {
            let end = end(&proxmox, started.unwrap()).await.unwrap();
            assert_eq!(end.state, hypervisor_core::model::TaskState::Succeeded, "{end:?}");
        }
        assert!(pve.guests().iter().all(|guest| guest.running));
    }

    #[tokio::test]
    async fn a_guest_that_the_caller_may_not_start_takes_no_other_with_it() {
        let pve = FakePve::builder()
            .many(3)
            .task_time(Duration::from_millis(5))
            .role("Audit", &["VM.Audit", "Sys.Audit"])
            .role("Power", &["VM.Audit", "VM.PowerMgmt"])
            .api_token("ops@pve", "app", "secret", false)
            .grant("ops@pve", "/", "Audit")
            .grant("ops@pve", "/vms/1000", "Power")
            .grant("ops@pve", "/vms/1002", "Power")
            .start()
            .await
            .unwrap();
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token("ops@pve!app", "secret");
        let proxmox = Box::pin(Proxmox::connect(config)).await.unwrap();
        let starts = ["1000", "1001", "1002"].map(|vm| BatchOp::power(vm, PowerAction::Start));
        let mut states = Vec::new();
        for started in proxmox.submit_bulk(&starts).await.unwrap() {
            states.push(match started {
                Ok(started) => Ok(end(&proxmox, started).await.unwrap().state),
                Err(error) => Err(error.kind()),
            });
        }
        let done = Ok(hypervisor_core::model::TaskState::Succeeded);
        assert_eq!(states, [done, Err(ErrorKind::PermissionDenied), done]);
    }

    #[tokio::test]
    async fn a_guest_whose_host_does_not_tell_how_it_is_now_is_not_judged_by_how_it_was() {
        let pve = FakePve::builder().many(1).task_time(Duration::from_millis(5)).start().await.unwrap();
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), pve.token_secret());
        let proxmox = Arc::new(Box::pin(Proxmox::connect(config)).await.unwrap());
        let hv: Arc<dyn hypervisor_core::Hypervisor> = Arc::clone(&proxmox) as Arc<_>;
        let vm = hv.vm(VmId::from("1000"));
        vm.start().await.unwrap().await.unwrap();
        // From now on the cluster is known to run it, for as long as a batch takes that for true.
        assert!(proxmox.inner.view_since(Operation::SubmitBatch, Instant::now()).await.is_ok());
        vm.power_off().await.unwrap().await.unwrap();
        pve.faults().on("GET", "/nodes/*/qemu").times(1).answer(429, "Too Many Requests");
        let start = [BatchOp::power("1000", PowerAction::Start)];
        let refused = proxmox.submit_bulk(&start).await.unwrap().remove(0).unwrap_err();
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::RateLimited, Retry::Safe), "{refused}");
        let begun = proxmox.submit_bulk(&start).await.unwrap().remove(0).unwrap();
        assert!(end(&proxmox, begun).await.is_some());
    }

    #[tokio::test]
    async fn a_look_that_fails_is_no_start_that_failed() {
        let pve = FakePve::builder().many(2).task_time(Duration::from_millis(20)).start().await.unwrap();
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), pve.token_secret());
        let proxmox = Box::pin(Proxmox::connect(config)).await.unwrap();
        let starts = || ["1000", "1001"].map(|vm| BatchOp::power(vm, PowerAction::Start));
        let begun = proxmox.submit_bulk(&starts()).await.unwrap();
        pve.faults().on("GET", "/nodes/*/qemu/*/status/current").times(4).answer(429, "Too Many Requests");
        for started in begun {
            let end = end(&proxmox, started.unwrap()).await.unwrap();
            assert_eq!(end.state, hypervisor_core::model::TaskState::Succeeded, "{end:?}");
        }
        assert_eq!(pve.faults().struck(), 4, "looks were refused");
    }
}
