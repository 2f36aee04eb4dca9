//! A job's id holds the backend's task and the process that got it: translated both ways without a look into the database, so that an
//! event may name a task before its call has returned.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hypervisor_core::model::TaskId;
use uuid::Uuid;

/// The id of a job whose call has not returned yet, or left no task.
pub(crate) fn fresh() -> String {
    format!("job_{}", Uuid::now_v7().simple())
}

/// The id of the job that this task is. `scope` keeps apart the tasks of backends that count them anew in each process.
pub(crate) fn of_task(scope: &str, task: &TaskId) -> TaskId {
    TaskId::from(format!("job_{scope}.{}", BASE64_URL_SAFE_NO_PAD.encode(task.as_str())))
}

/// The scope and the task of such an id.
pub(crate) fn task_of(id: &str) -> Option<(&str, TaskId)> {
    let (scope, task) = id.strip_prefix("job_")?.split_once('.')?;
    let task = BASE64_URL_SAFE_NO_PAD.decode(task).ok()?;
    Some((scope, TaskId::from(String::from_utf8(task).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_its_task() {
        let upid = TaskId::from("UPID:pve1:0003E1B5:00D2B4A9:6881F2C0:qmstart:100:root@pam:");
        let id = of_task("0123456789ab", &upid);
        assert!(id.as_str().chars().all(|each| each.is_ascii_alphanumeric() || "_.-".contains(each)));
        assert_eq!(task_of(id.as_str()), Some(("0123456789ab", upid)));
        assert_eq!(task_of(&fresh()), None);
        assert_eq!(task_of("job_x.!"), None);
        assert_eq!(task_of("other"), None);
    }
}
