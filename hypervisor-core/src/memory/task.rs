//! The table of tasks: long work that takes virtual time, can be watched and cancelled, and is undone when it fails.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::Memory;
use super::clock::wall;
use super::fault::Fault;
use super::state::{Lock, Target, TaskMap, Timer, World, by_number};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    EventKind, Feature, HostId, Page, PageRequest, Started, TaskId, TaskInfo, TaskLog, TaskLogLine,
    TaskQuery, TaskState, VmId,
};
use crate::operation::Operation;
use crate::traits::Tasks;

/// So many ended tasks are remembered.
const REMEMBERED: usize = 10_000;

type Step = Box<dyn FnOnce(&mut World) -> Result<()> + Send>;

/// Work that may take time: what it holds meanwhile, what it does at its end, and what takes it back.
pub(super) struct Work {
    operation: Operation,
    length: Duration,
    vm: Option<VmId>,
    host: Option<HostId>,
    made: Option<String>,
    stages: &'static [&'static str],
    locks: Vec<(Target, &'static str, bool)>,
    finish: Step,
    undo: Step,
}

impl Work {
    /// Work that does this at its end.
    pub(super) fn new(
        operation: Operation,
        finish: impl FnOnce(&mut World) -> Result<()> + Send + 'static,
    ) -> Self {
        Self {
            operation,
            length: Duration::ZERO,
            vm: None,
            host: None,
            made: None,
            stages: &["working"],
            locks: Vec::new(),
            finish: Box::new(finish),
            undo: Box::new(|_| Ok(())),
        }
    }

    /// What takes back what has been prepared.
    pub(super) fn undo(mut self, undo: impl FnOnce(&mut World) + Send + 'static) -> Self {
        self.undo = Box::new(|world| {
            undo(world);
            Ok(())
        });
        self
    }

    /// It takes this long, in these stages.
    pub(super) fn takes(mut self, length: Duration, stages: &'static [&'static str]) -> Self {
        self.length = length;
        self.stages = stages;
        self
    }

    /// The guest that it is about, which is locked meanwhile.
    pub(super) fn on(mut self, vm: &VmId, host: &HostId, reason: &'static str) -> Self {
        self.vm = Some(vm.clone());
        self.host = Some(host.clone());
        self.locks.push((Target::Vm(vm.clone()), reason, false));
        self
    }

    /// The guest that it is about, which is not locked.
    pub(super) fn about(mut self, vm: &VmId, host: &HostId) -> Self {
        self.vm = Some(vm.clone());
        self.host = Some(host.clone());
        self
    }

    /// What else is held meanwhile.
    pub(super) fn holds(mut self, target: Target, reason: &'static str, shared: bool) -> Self {
        self.locks.push((target, reason, shared));
        self
    }

    /// The id that the end of the task tells.
    pub(super) fn makes(mut self, made: &str) -> Self {
        self.made = Some(made.to_owned());
        self
    }
}

pub(super) struct Task {
    info: TaskInfo,
    begun: Duration,
    length: Duration,
    made: Option<String>,
    locks: Vec<Target>,
    stages: &'static [&'static str],
    steps: Option<(Step, Step)>,
    fault: Option<Fault>,
    log: Vec<(Duration, String)>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Task {
    /// When each stage begins.
    fn stage_times(&self) -> impl Iterator<Item = (Duration, &'static str)> + '_ {
        let parts = u32::try_from(self.stages.len()).unwrap_or(u32::MAX).max(1);
        let part = self.length / parts;
        self.stages.iter().zip(0_u32..).map(move |(stage, number)| (self.begun + part * number, *stage))
    }

    /// As it is at this time.
    fn at(&self, now: Duration, with_progress: bool) -> TaskInfo {
        let mut info = self.info.clone();
        if !info.state.is_final() {
            info.stage =
                self.stage_times().filter(|(at, _)| *at <= now).last().map(|(_, stage)| stage.to_owned());
            let done =
                now.saturating_sub(self.begun).as_secs_f64() / self.length.as_secs_f64().max(f64::EPSILON);
            info.progress = Some(done.clamp(0.0, 1.0));
        }
        if !with_progress {
            info.progress = None;
        }
        info
    }

    fn lines(&self, now: Duration) -> Vec<TaskLogLine> {
        let mut lines: Vec<(Duration, String)> = Vec::new();
        let until = if self.info.state.is_final() { self.ended_at() } else { now };
        let stages = self.stage_times().filter(|(at, _)| *at <= until);
        lines.extend(stages.map(|(at, stage)| (at, stage.to_owned())));
        lines.extend(self.log.iter().cloned());
        let numbered = lines.into_iter().zip(0_u64..);
        numbered.map(|((at, text), number)| TaskLogLine::new(number, text).time(wall(at))).collect()
    }

    fn ended_at(&self) -> Duration {
        self.log.last().map_or(self.begun, |(at, _)| *at)
    }
}

/// The tasks by number.
#[derive(Debug, Default)]
pub(super) struct TaskTable {
    tasks: TaskMap,
    given: u64,
}

fn id_of(number: u64) -> TaskId {
    TaskId::from(format!("task-{number}"))
}

fn number_of(id: &TaskId) -> Option<u64> {
    let text = id.as_str().strip_prefix("task-")?;
    text.parse().ok().filter(|number| id_of(*number) == *id)
}

impl TaskTable {
    /// The task, `None` where it is forgotten.
    fn get(&self, id: &TaskId) -> Result<Option<&Task>> {
        match number_of(id) {
            Some(number) if (1..=self.given).contains(&number) => Ok(self.tasks.get(&number)),
            _ => Err(id.not_found()),
        }
    }

    pub(super) fn forget(&mut self, id: &TaskId) -> Result<()> {
        match self.get(id)? {
            Some(task) if !task.info.state.is_final() => {
                Err(Error::invalid_state("only a task that has ended can be forgotten")
                    .with_target(TaskId::NOUN, id))
            }
            _ => {
                self.tasks.retain(|number, _| id_of(*number) != *id);
                Ok(())
            }
        }
    }
}

impl World {
    /// How long such work takes, if it takes time at all.
    pub(super) fn long(&self) -> Duration {
        self.config.task_time
    }

    /// Does the work: at once where it takes no time, else as a task.
    pub(super) fn run<T>(&mut self, work: Work, output: T) -> Result<Started<T>> {
        let fault = self.fault.take_if(|fault| matches!(fault, Fault::FailTask(_) | Fault::ForgetTask));
        if work.length.is_zero() && fault.is_none() {
            return match (work.finish)(self) {
                Ok(()) => Ok(Started::done(output)),
                Err(error) => {
                    (work.undo)(self)?;
                    Err(error)
                }
            };
        }
        self.tasks.given += 1;
        let number = self.tasks.given;
        let id = id_of(number);
        for (target, reason, shared) in &work.locks {
            let lock = Lock { task: id.clone(), reason, shared: *shared };
            self.locks.entry(target.clone()).or_default().push(lock);
        }
        let mut info = TaskInfo::new(id.clone(), TaskState::Running)
            .operation(work.operation)
            .user("memory")
            .started(wall(self.now))
            .can_cancel(true);
        info.vm = work.vm;
        info.host = work.host;
        let half = matches!(fault, Some(Fault::FailTask(_)));
        let task = Task {
            info,
            begun: self.now,
            length: work.length,
            made: work.made,
            locks: work.locks.into_iter().map(|(target, ..)| target).collect(),
            stages: work.stages,
            steps: Some((work.finish, work.undo)),
            fault,
            log: Vec::new(),
        };
        self.tasks.tasks.insert(number, task);
        self.emit(EventKind::TaskChanged { task: id.clone(), state: TaskState::Running });
        if work.length.is_zero() {
            self.end_task(&id);
        } else {
            let length = if half { work.length / 2 } else { work.length };
            self.after(length, Timer::TaskEnds(id.clone()));
        }
        Ok(Started::running(output, id))
    }

    /// The task's time has come.
    pub(super) fn end_task(&mut self, id: &TaskId) {
        let Some((steps, fault)) = self.release(id) else { return };
        let (finish, undo) = steps;
        let outcome = match &fault {
            Some(Fault::FailTask(reason)) => Err(Error::new(ErrorKind::TaskFailed, reason.clone())),
            _ => finish(self),
        };
        let state = match &outcome {
            Ok(()) => TaskState::Succeeded,
            Err(error) => {
                let undone = undo(self);
                self.note(id, undone.err().map_or_else(|| "undone".to_owned(), |error| error.to_string()));
                self.note(id, format!("TASK ERROR: {}", error.message()));
                TaskState::Failed
            }
        };
        if state == TaskState::Succeeded {
            self.note(id, "TASK OK".to_owned());
        }
        self.settle(id, state, outcome.err());
        if matches!(fault, Some(Fault::ForgetTask)) {
            self.tasks.tasks.retain(|number, _| id_of(*number) != *id);
        }
    }

    pub(super) fn cancel(&mut self, id: &TaskId) -> Result<()> {
        let state = self.tasks.get(id)?.map_or(TaskState::Forgotten, |task| task.info.state);
        if state.is_final() {
            let message = format!("it has ended: {state}");
            return Err(Error::invalid_state(message).with_target(TaskId::NOUN, id));
        }
        if let Some(((_, undo), _)) = self.release(id) {
            undo(self)?;
            self.note(id, "TASK ERROR: cancelled".to_owned());
            self.settle(id, TaskState::Cancelled, None);
        }
        Ok(())
    }

    /// Gives back what the task holds, and hands over its steps; `None` if it has ended before.
    fn release(&mut self, id: &TaskId) -> Option<((Step, Step), Option<Fault>)> {
        let task = self.tasks.tasks.get_mut(&number_of(id)?)?;
        let steps = task.steps.take()?;
        let fault = task.fault.take();
        for target in std::mem::take(&mut task.locks) {
            if let Some(locks) = self.locks.get_mut(&target) {
                locks.retain(|lock| lock.task != *id);
                if locks.is_empty() {
                    self.locks.remove(&target);
                }
            }
        }
        Some((steps, fault))
    }

    fn note(&mut self, id: &TaskId, line: String) {
        let now = self.now;
        if let Some(task) = number_of(id).and_then(|number| self.tasks.tasks.get_mut(&number)) {
            task.log.push((now, line));
        }
    }

    fn settle(&mut self, id: &TaskId, state: TaskState, error: Option<Error>) {
        let now = self.now;
        if let Some(task) = number_of(id).and_then(|number| self.tasks.tasks.get_mut(&number)) {
            let reached = task.at(now, true).progress;
            task.info.progress = if state == TaskState::Succeeded { Some(1.0) } else { reached };
            task.info.state = state;
            task.info.ended = Some(wall(now));
            task.info.can_cancel = false;
            task.info.error = error.map(|error| error.message().to_owned());
            if state == TaskState::Succeeded {
                task.info.made = task.made.take();
            }
        }
        self.emit(EventKind::TaskChanged { task: id.clone(), state });
        while self.tasks.tasks.len() > REMEMBERED {
            let oldest = self.tasks.tasks.iter().find(|(_, task)| task.info.state.is_final());
            let Some(number) = oldest.map(|(number, _)| *number) else { break };
            self.tasks.tasks.remove(&number);
        }
    }

    /// The task now, and when it will next look different.
    fn look_at_task(&self, id: &TaskId) -> Result<(TaskInfo, Option<Duration>)> {
        let Some(task) = self.tasks.get(id)? else {
            return Ok((TaskInfo::new(id.clone(), TaskState::Forgotten), None));
        };
        let stage = task.stage_times().map(|(at, _)| at).find(|at| *at > self.now);
        let next = if task.info.state.is_final() { None } else { stage.or_else(|| self.next_change()) };
        Ok((task.at(self.now, self.capabilities.has(Feature::TaskProgress)), next))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Tasks for Memory {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        let look = |world: &mut World| world.look_at_task(task);
        let (first, _) = self.call(Operation::GetTask, &[], Ok(()), look).await?;
        let Some(hold) = hold.filter(|_| !first.state.is_final()) else { return Ok(first) };
        let deadline = tokio::time::Instant::now().checked_add(hold);
        loop {
            let notified = self.shared.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let (info, next) = self.shared.look(|world| world.look_at_task(task))?;
            let changed = (info.state, &info.stage) != (first.state, &first.stage);
            if changed || deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now()) {
                return Ok(info);
            }
            let next = next.and_then(|next| self.shared.clock.instant(next));
            match next.into_iter().chain(deadline).min() {
                Some(due) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => notified.await,
            }
        }
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        self.call(Operation::ListTasks, &[], Ok(()), |world| {
            let with_progress = world.capabilities.has(Feature::TaskProgress);
            let all = world.tasks.tasks.values().map(|task| task.at(world.now, with_progress));
            let wanted = all.filter(|info| query.matches(info)).collect();
            Ok(world.page(wanted, page, |info| by_number(info.id.as_str())))
        })
        .await
    }

    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        self.call(Operation::GetTaskLog, &[], Ok(()), |world| {
            let Some(found) = world.tasks.get(task)? else {
                return Ok(TaskLog::new(Vec::new(), from, true));
            };
            let all = found.lines(world.now);
            let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let lines: Vec<_> = all.into_iter().filter(|line| line.number >= from).take(limit).collect();
            let next = lines.last().map_or(from, |line| line.number + 1);
            Ok(TaskLog::new(lines, next, found.info.state.is_final() && next >= count))
        })
        .await
    }

    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        self.call(Operation::CancelTask, &[], Ok(()), |world| world.cancel(task)).await
    }
}
