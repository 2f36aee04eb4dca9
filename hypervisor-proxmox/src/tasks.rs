//! Tasks: the server's own, whose id names the node to ask, and chains of several that this process sees through.

pub(crate) mod chain;
pub(crate) mod waits;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hypervisor_core::model::{
    HostId, Page, PageRequest, Started, TaskId, TaskInfo, TaskLog, TaskQuery, TaskState, Unreachable,
};
use hypervisor_core::traits::Tasks;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::time::sleep;

use crate::api::Call;
use crate::backend::{Inner, Proxmox};
use crate::error::named;
use crate::upid::Upid;
use crate::wire::error::task_failure;
use crate::wire::form::{Form, segment, vmid};
use crate::wire::{backup, task};

/// A task that was just started may not be known yet, for so many looks at this distance.
const FRESH_LOOKS: u32 = 5;
const FRESH_PAUSE: Duration = Duration::from_millis(200);
/// How long after its start a task counts as just started.
const FRESH: Duration = Duration::from_secs(15);
/// How often an end without a word is read again: the worker's last line may still be on its way.
const UNEXPECTED_LOOKS: u32 = 3;
/// So long a look at chains is held until one of them has ended.
const MOMENT: Duration = Duration::from_millis(50);
/// The most tasks of one node that a list reads.
const LIST_LIMIT: u64 = 1000;

#[async_trait]
impl Tasks for Proxmox {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        // The server answers at once; what this process sees through can be waited for.
        if let Some(hold) = hold {
            self.inner.chains.hold(&[task], hold).await;
        }
        self.inner.task(task).await.map_err(named(Operation::GetTask))
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        self.inner.list_tasks(query, page).await.map_err(named(Operation::ListTasks))
    }

    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        self.inner.log(task, from, limit).await.map_err(named(Operation::GetTaskLog))
    }

    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        self.inner.cancel(task).await.map_err(named(Operation::CancelTask))
    }
}

/// What a call has made, and the task at work on it, if the server has begun one.
pub(crate) fn begun<T>(output: T, task: Option<TaskId>) -> Started<T> {
    match task {
        Some(task) => Started::running(output, task),
        None => Started::done(output),
    }
}

fn upid(task: &TaskId) -> Result<Upid> {
    // An id that the server cannot have given is one that it does not know.
    task.as_str().parse().map_err(|_| task.not_found().with_backend(crate::BACKEND))
}

fn path(upid: &Upid, rest: &str) -> Result<String> {
    Ok(format!("/nodes/{}/tasks/{}{rest}", segment("host", upid.node())?, segment("task", upid.as_str())?))
}

impl Inner {
    /// Reads a task of either sort.
    pub(crate) async fn task(&self, id: &TaskId) -> Result<TaskInfo> {
        if let Some(info) = self.chains.get(id) {
            return Ok(info);
        }
        let upid = upid(id)?;
        let call = Call::get(path(&upid, "/status")?).operation(Operation::GetTask);
        let by_clock = SystemTime::now().duration_since(upid.started()).is_ok_and(|age| age < FRESH);
        // The clocks may differ by more than that.
        let fresh = by_clock || self.api.has_begun(id);
        let (mut looks, mut unexpected) = (0, 0);
        loop {
            let info = match self.api.bytes(&call).await {
                Ok(answer) => task::task(&answer)?,
                Err(error) if error.is_not_found() && fresh && looks < FRESH_LOOKS => {
                    looks += 1;
                    sleep(FRESH_PAUSE).await;
                    continue;
                }
                Err(error) if error.is_not_found() => {
                    return Err(crate::error::again(&error, id.not_found()));
                }
                // Another node than the one asked cannot be reached: the task itself may go on.
                Err(error) => return Err(error.with_target(TaskId::NOUN, id)),
            };
            if info.error.as_deref() == Some("unexpected status") && unexpected < UNEXPECTED_LOOKS {
                unexpected += 1;
                sleep(FRESH_PAUSE).await;
                continue;
            }
            return Ok(self.with_log(&upid, info).await);
        }
    }

    /// Adds what only the log tells: warnings, why a backup failed, what it made.
    async fn with_log(&self, upid: &Upid, mut info: TaskInfo) -> TaskInfo {
        if let Some(why) = info.error.as_deref().filter(|_| info.state == TaskState::Failed) {
            info.error_kind = definite(why);
        }
        let ended = info.state.is_final();
        let wants_log = ended
            && (!info.warnings.is_empty()
                || info.error.as_deref() == Some("job errors")
                || (upid.kind() == "vzdump" && info.state == TaskState::Succeeded));
        if !wants_log {
            return info;
        }
        let Ok(log) = self.server_log(upid, 0, 0, true).await else { return info };
        let warnings = task::warnings(&log);
        if !info.warnings.is_empty() && !warnings.is_empty() {
            info.warnings = warnings;
        }
        if info.error.as_deref() == Some("job errors") {
            let causes = task::job_errors(&log);
            if let Some(first) = causes.first() {
                info.error_kind = definite(first.rsplit(" - ").next().unwrap_or(first));
                info.error = Some(causes.join("; "));
            }
        }
        if upid.kind() == "vzdump" && info.state == TaskState::Succeeded {
            info.made = backup::made(&log).map(|id| id.to_string());
        }
        info
    }

    async fn server_log(&self, upid: &Upid, from: u64, limit: u32, ended: bool) -> Result<TaskLog> {
        // No limit at all is written as 0.
        let form = Form::new().number("start", from).number("limit", limit.into());
        let call = Call::get(path(upid, "/log")?).query(form).operation(Operation::GetTaskLog);
        task::log(&self.api.bytes(&call).await?, from, ended)
    }

    async fn log(&self, id: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        if let Some(log) = self.chains.log(id, from, limit) {
            return Ok(log);
        }
        let upid = upid(id)?;
        // Whether it has ended has to be known before the lines are read, or the last ones could be missed.
        let ended = self.task(id).await?.state.is_final();
        self.server_log(&upid, from, limit.max(1), ended)
            .await
            .map_err(|error| error.with_target(TaskId::NOUN, id))
    }

    pub(crate) async fn cancel(&self, id: &TaskId) -> Result<()> {
        if let Some(now) = self.chains.cancel(id)? {
            // The chain sees its present task end.
            return match now {
                Some(task) => self.cancel_on_server(&task).await,
                None => Ok(()),
            };
        }
        let info = self.task(id).await?;
        if info.state.is_final() {
            let why = format!("the task has ended: it is {}", info.state);
            return Err(Error::invalid_state(why).with_target(TaskId::NOUN, id).with_backend(crate::BACKEND));
        }
        self.cancel_on_server(id).await
    }

    async fn cancel_on_server(&self, id: &TaskId) -> Result<()> {
        let call = Call::delete(path(&upid(id)?, "")?, Form::new()).operation(Operation::CancelTask);
        self.api.bytes(&call).await.map(drop)
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        let (ours, theirs): (Vec<&TaskId>, Vec<&TaskId>) =
            query.ids.iter().partition(|id| self.chains.get(id).is_some());
        if !ours.is_empty() && theirs.is_empty() {
            self.chains.hold(&ours, MOMENT).await;
            let mut chains = self.chains.list();
            chains.retain(|task| query.matches(task));
            return Ok(Page::cut(chains, page, |task| task.id.to_string()));
        }
        let view = self.recent_view(Operation::ListTasks).await?;
        let mut form = Form::new().text("source", "all").number("limit", LIST_LIMIT);
        if let Some(vm) = &query.vm {
            // Not a number, not a guest: nothing ever worked on it.
            let Ok(number) = vmid(vm) else { return Ok(Page::only(Vec::new())) };
            form = form.number("vmid", number.into());
        }
        let mut hosts: Vec<HostId> = match &query.host {
            Some(host) => vec![host.clone()],
            None => view.online().cloned().collect(),
        };
        // The id of a task tells its host and when it began.
        let wanted: Vec<Upid> = theirs.into_iter().filter_map(|id| upid(id).ok()).collect();
        if let Some(first) = wanted.iter().map(Upid::started).min() {
            hosts.retain(|host| wanted.iter().any(|upid| upid.node() == host.as_str()));
            let since = first.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            form = form.number("since", since.as_secs());
        }
        let asked = hosts.iter().map(|host| self.tasks_of(host, &form));
        let answers = futures::future::join_all(asked).await;
        let mut tasks = self.chains.list();
        let mut unreachable = view.unreachable.clone();
        unreachable.retain(|known| query.host.as_ref().is_none_or(|host| known.host == *host));
        for (host, answer) in hosts.into_iter().zip(answers) {
            match answer {
                Ok(of_host) => tasks.extend(of_host),
                Err(error) if error.kind() == ErrorKind::HostUnreachable => {
                    unreachable.retain(|known| known.host != host);
                    unreachable.push(Unreachable::new(host, error.message()));
                }
                Err(error) => return Err(crate::error::of_host(&host)(error)),
            }
        }
        tasks.retain(|task| query.matches(task));
        Ok(Page::cut(tasks, page, |task| task.id.to_string()).with_unreachable(unreachable))
    }

    async fn tasks_of(&self, host: &HostId, form: &Form) -> Result<Vec<TaskInfo>> {
        let path = format!("/nodes/{}/tasks", segment("host", host.as_str())?);
        let call = Call::get(path).query(form.clone()).operation(Operation::ListTasks);
        Ok(task::tasks(&self.api.bytes(&call).await?)?.0)
    }
}

/// What sort of failure an exit text means, where it says that for certain.
fn definite(why: &str) -> Option<ErrorKind> {
    let error = task_failure(why);
    let vague = matches!(error.kind(), ErrorKind::TaskFailed | ErrorKind::Timeout | ErrorKind::Cancelled);
    (!vague).then(|| error.kind())
}

/// The error of a task that has ended badly.
pub(crate) fn failure(info: &TaskInfo) -> Error {
    let why = info.error.clone().unwrap_or_default();
    let error = match info.state {
        TaskState::Cancelled => Error::new(ErrorKind::Cancelled, why),
        _ => task_failure(&why),
    };
    let error = error.with_backend(crate::BACKEND).with_task(info.id.clone());
    match info.operation {
        Some(operation) => error.with_operation(operation),
        None => error,
    }
}
