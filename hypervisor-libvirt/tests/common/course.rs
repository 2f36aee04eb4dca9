//! Tasks, as they look to somebody who watches them.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use hypervisor_core::Result;
use hypervisor_core::model::{Started, TaskId, TaskInfo};
use hypervisor_core::traits::Tasks;
use hypervisor_libvirt::Libvirt;

/// What a task went through.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub(crate) progress: Vec<f64>,
    pub(crate) stages: Vec<String>,
    end: Option<TaskInfo>,
    pub(crate) log: Vec<String>,
}

impl Course {
    /// The task when it had ended.
    pub(crate) fn end(&self) -> &TaskInfo {
        self.end.as_ref().unwrap()
    }
}

/// Follows a task to its end.
pub(crate) async fn follow<T>(libvirt: &Libvirt, started: Result<Started<T>>) -> Course {
    let task = started.map_err(|error| error.to_string()).map(|started| started.task).unwrap().unwrap();
    let mut course = Course::default();
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let info = libvirt.get_task(&task, Some(Duration::from_millis(100))).await.unwrap();
        if let Some(progress) = info.progress.filter(|now| course.progress.last() != Some(now)) {
            course.progress.push(progress);
        }
        if let Some(stage) = info.stage.clone().filter(|now| course.stages.last() != Some(now)) {
            course.stages.push(stage);
        }
        if info.state.is_final() {
            let log = libvirt.get_task_log(&task, 0, 1000).await.unwrap();
            assert!(log.complete && log.lines.iter().all(|line| line.time.is_some()));
            course.log = log.lines.into_iter().map(|line| line.text).collect();
            course.end = Some(info);
            return course;
        }
        assert!(Instant::now() < end, "the task does not end: {course:?}");
    }
}

/// Waits until a task is somewhere in the middle, and says how far.
pub(crate) async fn in_the_middle(libvirt: &Libvirt, task: &TaskId) -> f64 {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let info = libvirt.get_task(task, Some(Duration::from_millis(100))).await.unwrap();
        assert!(!info.state.is_final() && info.can_cancel, "{info:?}");
        if let Some(done) = info.progress.filter(|done| *done > 0.0) {
            return done;
        }
        assert!(Instant::now() < end, "the task does not get on: {info:?}");
    }
}
