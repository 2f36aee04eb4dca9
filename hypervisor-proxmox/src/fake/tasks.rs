//! Tasks: they take time, hold locks, log, warn, fail and can be stopped.
//!
//! Nothing runs in the background. A task is a chain of steps with the times at which they are due, and whoever looks
//! at the cluster has the due ones carried out first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::Who;
use super::cluster::Cluster;
use super::faults::Fate;
use crate::Upid;

/// One step of a task.
pub(super) type Step = Box<dyn FnOnce(&mut Cluster, &str) -> Result<Next, String> + Send>;

/// What comes after a step.
pub(super) enum Next {
    /// The task is at its end.
    Done,
    /// The next step, and when.
    After(Duration, Step),
    /// The next step, and at which time of the clock.
    At(Duration, Step),
}

/// What has to be put right where a task ends early.
pub(super) type Undo = Box<dyn FnOnce(&mut Cluster) + Send>;

/// A task.
pub(super) struct Task {
    pub(super) upid: Upid,
    pub(super) number: u64,
    pub(super) log: Vec<String>,
    /// The final words, and when they were spoken.
    pub(super) exit: Option<(String, Duration)>,
    due: Duration,
    step: Option<Step>,
    undo: Option<Undo>,
    /// The guest whose lock file the task needs, and until when it waits for it.
    lock: Option<(u32, Duration)>,
    /// How many more looks at it fail.
    pub(super) unknown_looks: u32,
    fate: Option<Fate>,
    asked: bool,
}

impl Task {
    pub(super) fn is_running(&self) -> bool {
        self.exit.is_none()
    }
}

/// All tasks that the cluster remembers.
#[derive(Default)]
pub(super) struct Tasks {
    pub(super) all: BTreeMap<String, Task>,
    active: Vec<String>,
    count: u64,
}

impl Tasks {
    /// Adds a line to a task's log.
    pub(super) fn log(&mut self, upid: &str, line: impl Into<String>) {
        if let Some(task) = self.all.get_mut(upid) {
            task.log.push(line.into());
        }
    }

    /// Says what to put right if the task is stopped or fails from here on.
    pub(super) fn on_abort(&mut self, upid: &str, undo: impl FnOnce(&mut Cluster) + Send + 'static) {
        if let Some(task) = self.all.get_mut(upid) {
            task.undo = Some(Box::new(undo));
        }
    }

    /// Tasks of a host, newest first.
    pub(super) fn of_host(&self, host: &str) -> Vec<&Task> {
        let mut tasks: Vec<&Task> = self.all.values().filter(|task| task.upid.node() == host).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.number));
        tasks
    }

    /// When something happens next with a task.
    pub(super) fn due(&self, upid: &str) -> Option<Duration> {
        self.all.get(upid).filter(|task| task.is_running()).map(|task| task.due)
    }

    /// Tasks that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Task> {
        self.active.iter().filter_map(|upid| self.all.get(upid))
    }
}

/// What is to be done, by whom and where.
pub(super) struct Work<'a> {
    pub(super) who: &'a Who,
    pub(super) host: &'a str,
    pub(super) kind: String,
    pub(super) subject: String,
    /// The guest whose lock file is held throughout.
    pub(super) lock: Option<u32>,
}

impl Cluster {
    /// Starts a task; its first step is carried out at once unless it has to wait for a lock.
    pub(super) fn dispatch(&mut self, work: Work<'_>, step: Step) -> String {
        let pid = self.host_mut(work.host).map_or(1, super::cluster::Host::pid);
        let (now, unix) = (self.clock.now(), self.clock.unix());
        // A hundred ticks a second, since the host came up.
        let ticks = u64::try_from(now.as_millis() / 10).unwrap_or(0).saturating_add(0x3_27F6) & 0xF_FFFF_FFFF;
        let start = unix & 0xFFFF_FFFF;
        let made = Upid::new(work.host, pid, ticks, start, &work.kind, &work.subject, &work.who.owner());
        let Ok(upid) = made else { return String::new() };
        let text = upid.to_string();
        self.tasks.count += 1;
        let fate = self.faults.fate_of(&work.kind);
        let task = Task {
            upid,
            number: self.tasks.count,
            log: Vec::new(),
            exit: None,
            due: now,
            step: Some(step),
            undo: None,
            lock: work.lock.map(|vmid| (vmid, self.clock.after(self.options.lock_wait))),
            unknown_looks: self.options.unknown_looks,
            fate,
            asked: false,
        };
        self.tasks.all.insert(text.clone(), task);
        self.tasks.active.push(text.clone());
        self.settle();
        text
    }

    /// A task whose end comes after the time that such tasks take.
    pub(super) fn dispatch_with_end(
        &mut self,
        work: Work<'_>,
        begin: impl FnOnce(&mut Cluster, &str) -> Result<(), String> + Send + 'static,
        end: impl FnOnce(&mut Cluster, &str) -> Result<(), String> + Send + 'static,
    ) -> String {
        let time = self.task_time(&work.kind);
        self.dispatch(
            work,
            Box::new(move |cluster, upid| {
                begin(cluster, upid)?;
                Ok(Next::After(time, Box::new(move |cluster, upid| end(cluster, upid).map(|()| Next::Done))))
            }),
        )
    }

    /// Carries out what is due.
    pub(super) fn settle(&mut self) {
        let now = self.clock.now();
        while let Some(upid) = self.next_due(now) {
            self.carry_out(&upid);
        }
    }

    fn next_due(&self, now: Duration) -> Option<String> {
        let due = self.tasks.running().filter(|task| task.due <= now);
        let ready = due.filter(|task| match task.lock {
            Some((vmid, until)) => {
                let holder = self.guests.get(&vmid).and_then(|guest| guest.holder.as_deref());
                holder.is_none_or(|holder| holder == task.upid.as_str()) || until <= now
            }
            None => true,
        });
        let first = ready.min_by_key(|task| (task.due, task.number))?;
        Some(first.upid.as_str().to_owned())
    }

    fn carry_out(&mut self, upid: &str) {
        let Some(task) = self.tasks.all.get_mut(upid) else { return };
        let (due, lock) = (task.due, task.lock);
        if let Some((vmid, _)) = lock
            && let Some(guest) = self.guests.get_mut(&vmid)
        {
            match &guest.holder {
                Some(holder) if holder != upid => {
                    let message = guest.lock_file_message();
                    task.log.push("trying to acquire lock...".to_owned());
                    return self.end(upid, due, Err(message));
                }
                _ => guest.holder = Some(upid.to_owned()),
            }
        }
        if let Some(fate) = task.fate.clone().filter(|_| !task.asked) {
            task.asked = true;
            match fate {
                Fate::Fail(text) => {
                    let time = self.options.task_time;
                    task.step = Some(Box::new(move |_, _| Err(text)));
                    task.due = due.saturating_add(time);
                    return;
                }
                Fate::Warn(text) => task.log.push(format!("WARN: {text}")),
                Fate::Vanish => return self.vanish(upid),
                Fate::Hang => {
                    task.due = Duration::MAX;
                    return;
                }
            }
        }
        let Some(step) = task.step.take() else { return self.end(upid, due, Ok(())) };
        // A step may start other tasks, and must not be met again meanwhile.
        task.due = Duration::MAX;
        match step(self, upid) {
            Ok(Next::Done) => self.end(upid, due, Ok(())),
            Ok(Next::At(time, step)) => {
                if let Some(task) = self.tasks.all.get_mut(upid) {
                    task.due = due.max(time);
                    task.step = Some(step);
                }
            }
            Ok(Next::After(time, step)) => {
                if let Some(task) = self.tasks.all.get_mut(upid) {
                    task.due = due.saturating_add(time);
                    task.step = Some(step);
                }
            }
            Err(text) => self.end(upid, due, Err(text)),
        }
    }

    fn end(&mut self, upid: &str, at: Duration, result: Result<(), String>) {
        let Some(task) = self.tasks.all.get_mut(upid) else { return };
        let undo = task.undo.take();
        let (exit, failed) = match result {
            Ok(()) => {
                let warnings = task.log.iter().filter(|line| line.starts_with("WARN:")).count();
                // The warnings of a backup job do not count.
                if warnings == 0 || task.upid.kind() == "vzdump" {
                    task.log.push("TASK OK".to_owned());
                    ("OK".to_owned(), false)
                } else {
                    task.log.push(format!("TASK WARNINGS: {warnings}"));
                    (format!("WARNINGS: {warnings}"), false)
                }
            }
            Err(text) => {
                task.log.push(format!("TASK ERROR: {text}"));
                (text.trim().replace('\n', " "), true)
            }
        };
        task.exit = Some((exit, at));
        self.release(upid, at);
        if let (true, Some(undo)) = (failed, undo) {
            undo(self);
        }
    }

    /// Gives back the lock file, so that those who wait for it go on.
    fn release(&mut self, upid: &str, at: Duration) {
        self.tasks.active.retain(|active| active != upid);
        let lock = self.tasks.all.get(upid).and_then(|task| task.lock);
        let Some((vmid, _)) = lock else { return };
        if let Some(guest) = self.guests.get_mut(&vmid).filter(|guest| guest.holder.as_deref() == Some(upid))
        {
            guest.holder = None;
        }
        for waiting in &self.tasks.active {
            if let Some(task) = self.tasks.all.get_mut(waiting)
                && task.lock.is_some_and(|(waited, _)| waited == vmid)
            {
                task.due = task.due.max(at);
            }
        }
    }

    /// Stops a running task as `DELETE` does.
    pub(super) fn interrupt(&mut self, upid: &str) {
        if self.tasks.all.get(upid).is_some_and(Task::is_running) {
            let now = self.clock.now();
            self.end(upid, now, Err("received interrupt".to_owned()));
        }
    }

    /// Ends a task as when its worker is killed: no last words.
    pub(super) fn vanish(&mut self, upid: &str) {
        let now = self.clock.now();
        if let Some(task) = self.tasks.all.get_mut(upid).filter(|task| task.exit.is_none()) {
            task.exit = Some(("unexpected status".to_owned(), now));
            task.step = None;
            self.release(upid, now);
        }
    }

    /// Carries a task through to its end at once; says whether it went well.
    pub(super) fn finish_now(&mut self, upid: &str) {
        while self.tasks.all.get(upid).is_some_and(Task::is_running) {
            if let Some(task) = self.tasks.all.get_mut(upid) {
                if task.due == Duration::MAX {
                    return;
                }
                task.due = self.clock.now();
            }
            self.carry_out(upid);
        }
    }
}
