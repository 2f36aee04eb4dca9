//! Waiting for tasks, with bars on terminals; and what becomes of the tasks after Ctrl-C.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use hypervisor::handle::WaitOptions;
use hypervisor::model::TaskInfo;
use hypervisor::{Hypervisor, Result, Task, TaskId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Ui;
use super::cli::Global;
use super::exit::Stop;
use super::text::plain;

/// A whole task, in the unit of a bar.
const WHOLE: u64 = 1000;
const TICK: Duration = Duration::from_millis(120);
/// How wide a bar is.
const WIDTH: usize = 32;

/// How one piece of work has gone so far.
pub(crate) enum Done<T> {
    /// It has ended well, with these warnings.
    Finished(T, Vec<String>),
    /// It goes on, and nobody waits for it.
    Running(TaskId, Option<T>),
}

/// Waits for what commands start.
pub(crate) struct Waiter {
    wait: bool,
    deadline: Duration,
    bars: MultiProgress,
    shown: bool,
    backend: OnceLock<String>,
    running: Mutex<BTreeMap<TaskId, String>>,
    /// Calls that have not been answered yet.
    calls: Mutex<Vec<String>>,
}

impl Waiter {
    pub(crate) fn new(global: &Global, ui: &Ui) -> Self {
        let shown = ui.err_terminal && !global.json;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            wait: global.wait,
            deadline: global.deadline,
            bars: MultiProgress::with_draw_target(target),
            shown,
            backend: OnceLock::new(),
            running: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    pub(crate) fn connected(&self, hv: &Arc<dyn Hypervisor>) {
        self.backend.get_or_init(|| hv.info().backend.clone());
    }

    /// Whether the task goes on when this program has ended: not where the driver itself does the work.
    fn survives(&self, task: &TaskId) -> bool {
        let ends_with_us = matches!(self.backend.get().map(String::as_str), Some("libvirt" | "memory"));
        !ends_with_us && !task.as_str().starts_with("chain:")
    }

    pub(crate) fn waits(&self) -> bool {
        self.wait
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Makes a call that may itself take long: some backends do the work before they answer, and tell nothing meanwhile.
    pub(crate) async fn call<T>(&self, label: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{prefix:.bold} [{spinner:.cyan}] {elapsed}").tick_strings(&bounces()));
        bar.set_prefix(plain(label));
        bar.enable_steady_tick(TICK);
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(label.to_owned());
        let outcome = call.await;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other != label);
        bar.finish_and_clear();
        outcome
    }

    /// Waits for the task where that was asked for, or where it would end with this program.
    pub(crate) async fn finish<T: Clone + Send + Sync>(
        &self,
        label: &str,
        task: Task<T>,
    ) -> Result<Done<T>, Stop> {
        match task.id() {
            Some(id) if !self.wait && self.survives(id) => {
                let (id, output) = (id.clone(), task.output().cloned());
                return Ok(Done::Running(id, output));
            }
            _ => {}
        }
        let task = task.with_options(WaitOptions::new().deadline(self.deadline));
        let (output, warnings) = self.follow(label, &task).await?;
        Ok(Done::Finished(output, warnings))
    }

    /// Waits for the task in any case.
    pub(crate) async fn follow<T: Clone + Send + Sync>(
        &self,
        label: &str,
        task: &Task<T>,
    ) -> Result<(T, Vec<String>), Stop> {
        let Some(id) = task.id().cloned() else {
            let done = task.wait_outcome().await?;
            return Ok((done.output, done.warnings));
        };
        self.remember(&id, label);
        let bar = self.bar(label);
        let mut progress = task.progress();
        // What cannot be followed can still be waited for.
        while let Some(Ok(info)) = progress.next().await {
            show(&bar, &info);
        }
        drop(progress);
        let outcome = task.wait_outcome().await;
        bar.finish_and_clear();
        self.forget(&id);
        let done = outcome?;
        Ok((done.output, done.warnings))
    }

    /// A bar for a task; it is not drawn where there is no terminal.
    pub(crate) fn bar(&self, label: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(WHOLE));
        bar.set_style(style("{prefix:.bold} [{bar:32.cyan/dim}] {percent:>3}%  {msg}  {elapsed}"));
        bar.set_prefix(plain(label));
        bar.enable_steady_tick(TICK);
        bar
    }

    /// A bar for bytes.
    pub(crate) fn bytes(&self, label: &str, length: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(length));
        bar.set_style(style(
            "{prefix:.bold} [{bar:32.cyan/dim}] {percent:>3}%  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}",
        ));
        bar.set_prefix(plain(label));
        bar
    }

    /// A line that shows that something goes on.
    pub(crate) fn spinner(&self, label: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {prefix:.bold}  {msg}  {elapsed}"));
        bar.set_prefix(plain(label));
        bar.enable_steady_tick(TICK);
        bar
    }

    fn remember(&self, task: &TaskId, label: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(task.clone(), label.to_owned());
    }

    fn forget(&self, task: &TaskId) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
    }

    /// Says what goes on after Ctrl-C, and how to follow it.
    pub(crate) fn interrupted(&self, ui: &mut Ui) {
        if self.shown {
            let _ = self.bars.clear();
        }
        for label in std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner)) {
            ui.note(format!(
                "interrupted: {label}: it may have been done; look with `hv list` before acting again"
            ));
        }
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for (task, label) in running {
            if self.survives(&task) {
                ui.note(format!("interrupted: {label} goes on; follow it with: hv tasks follow '{task}'"));
            } else {
                let why = "its work ends with this program";
                ui.note(format!("interrupted: {label}: {why}; look with `hv show` before acting again"));
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━─")
}

/// A block that goes to and fro.
fn bounces() -> Vec<&'static str> {
    static FRAMES: OnceLock<Vec<String>> = OnceLock::new();
    let frames = FRAMES.get_or_init(|| {
        let room = WIDTH - BLOCK.chars().count();
        let there = 0..=room;
        there
            .chain((1..room).rev())
            .map(|at| format!("{}{BLOCK}{}", " ".repeat(at), " ".repeat(room - at)))
            .collect()
    });
    frames.iter().map(String::as_str).collect()
}

const BLOCK: &str = "━━━━━━━━";

fn show(bar: &ProgressBar, info: &TaskInfo) {
    if let Some(part) = info.progress {
        let thousandths = Duration::from_secs_f64(part.clamp(0.0, 1.0)).as_millis();
        bar.set_position(u64::try_from(thousandths).unwrap_or(WHOLE));
    }
    let stage = info.stage.as_deref().map_or_else(|| info.state.to_string(), plain);
    bar.set_message(stage);
}
