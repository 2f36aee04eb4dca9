//! What the documented API has no call for and is made of several.

use std::time::Duration;

use hypervisor_core::model::{Page, PageRequest, Started, TaskId, TaskState, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::V1;
use super::call::about;
use super::wire::backup::BackupRecord;
use super::wire::envelope::key;
use super::wire::job::JobRecord;
use super::wire::network::NetworkRecord;
use super::wire::pool::PoolRecord;
use super::wire::vm::VmRecord;

/// How long a call waits for a job that another call has to follow.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

/// A list never has so many pages: a server that goes round in a circle is not followed for ever.
const PAGES: usize = 10_000;

/// What a record is known by.
pub(super) trait Record: DeserializeOwned {
    fn id(&self) -> &str;
}

macro_rules! records {
    ($($name:ident)*) => { $(
        impl Record for $name {
            fn id(&self) -> &str {
                &self.id
            }
        }
    )* };
}

records! { VmRecord NetworkRecord PoolRecord BackupRecord JobRecord }

/// What a call that writes answers: mostly one object, with the job that is at work on it. The document shows it for creates only, so an answer
/// may name several.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub(super) struct Written(Map<String, Value>);

impl From<Value> for Written {
    /// What has happened is not undone by a strange answer: one that is no object says nothing.
    fn from(said: Value) -> Self {
        match said {
            Value::Object(said) => Self(said),
            _ => Self::default(),
        }
    }
}

/// The keys of objects, and of jobs.
const OBJECTS: [&str; 6] = ["vm", "network", "pool", "storage", "snapshot", "backup"];
const JOBS: [&str; 3] = ["job_id", "creation_job_id", "task_id"];

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Written {
    /// The job that is at work, if one is.
    pub(super) fn job(&self) -> Option<TaskId> {
        let job = self.0.get("job").and_then(|job| text(job.get("id")).or_else(|| text(Some(job))));
        let of = |said: &Map<String, Value>| JOBS.into_iter().find_map(|key| text(said.get(key)));
        let inside = || OBJECTS.into_iter().find_map(|key| of(self.0.get(key)?.as_object()?));
        job.or_else(|| of(&self.0)).or_else(inside).map(TaskId::from)
    }

    /// The id of the object under one of these keys, or of the only one.
    pub(super) fn made(&self, keys: &[&str]) -> Option<String> {
        let id = |object: &Value| text(object.get("id")).or_else(|| text(object.get("name")));
        let named = keys.iter().find_map(|key| id(self.0.get(*key)?));
        let mut others = OBJECTS.into_iter().filter_map(|key| self.0.get(key));
        let only = others.next().filter(|_| others.next().is_none()).and_then(id);
        named.or(only).or_else(|| text(self.0.get("id")))
    }

    pub(super) fn started<T>(&self, output: T) -> Started<T> {
        match self.job() {
            Some(job) => Started::running(output, job),
            None => Started::done(output),
        }
    }
}

impl V1 {
    /// A call that writes; its answer may have no data.
    pub(super) async fn write(&self, request: hypervisor_core::http::Request) -> Result<Written> {
        Ok(self.link.envelope::<Written>(request).await?.data.unwrap_or_default())
    }

    /// A call that makes something, whose answer has to name it under one of these keys.
    pub(super) async fn make(
        &self,
        request: hypervisor_core::http::Request,
        keys: &[&str],
    ) -> Result<Started<String>> {
        let written = self.write(request).await?;
        let made = written.made(keys);
        let made =
            made.ok_or_else(|| Error::new(ErrorKind::Protocol, "the answer does not name what was made"))?;
        Ok(written.started(made))
    }

    /// A machine's details.
    pub(super) async fn details(&self, operation: Operation, vm: &VmId) -> Result<VmRecord> {
        let request = self.request(Operation::GetVm, &[vm.as_str()])?.operation(operation);
        self.link.field::<key::Vm, _>(request).await.map_err(about(VmId::NOUN, vm))
    }

    /// A page of a list.
    pub(super) async fn records<R: Record>(
        &self,
        operation: Operation,
        page: &PageRequest,
    ) -> Result<Page<R>> {
        let request = self.request(operation, &[])?;
        self.link.documented_page(request, page, |record: &R| record.id().to_owned()).await
    }

    /// One of a list, for what cannot be read by its id.
    pub(super) async fn find<R: Record>(
        &self,
        operation: Operation,
        wanted: impl Fn(&R) -> bool,
    ) -> Result<Option<R>> {
        let mut page = PageRequest::first();
        for _ in 0..PAGES {
            let found = self.records::<R>(operation, &page).await?;
            if let Some(record) = found.items.into_iter().find(&wanted) {
                return Ok(Some(record));
            }
            match found.next {
                Some(next) if page.cursor.as_ref() != Some(&next) => page = PageRequest::first().cursor(next),
                _ => return Ok(None),
            }
        }
        Err(Error::new(ErrorKind::Protocol, "the list does not end"))
    }

    /// Waits for the job of a call that another has to follow.
    ///
    /// # Errors
    /// `TaskFailed`, `Cancelled`, or `Timeout` with the job, which goes on.
    pub(super) async fn settled(&self, job: &TaskId) -> Result<()> {
        use hypervisor_core::Tasks as _;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let info = self.get_task(job, None).await?;
            let (kind, why) = match info.state {
                TaskState::Succeeded | TaskState::Forgotten => return Ok(()),
                TaskState::Failed => (ErrorKind::TaskFailed, info.error.unwrap_or_default()),
                TaskState::Cancelled => (ErrorKind::Cancelled, String::new()),
                _ if Instant::now() >= deadline => (
                    ErrorKind::Timeout,
                    format!("the job still runs after {PATIENCE:?}, and what was to follow it was not begun"),
                ),
                _ => {
                    sleep(LOOK).await;
                    continue;
                }
            };
            return Err(Error::new(kind, why).with_task(job.clone()).with_effect(Effect::Partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_names_several_objects_is_understood() {
        let written = |said: Value| serde_json::from_value::<Written>(said).unwrap();
        let both = written(json!({
            "backup": {"id": "b-1"}, "vm": {"id": 7}, "job_id": null, "task_id": "t-1", "creation_job_id": ""
        }));
        assert_eq!(
            (both.made(&["vm"]).as_deref(), both.made(&["backup"]).as_deref()),
            (Some("7"), Some("b-1"))
        );
        assert_eq!(both.made(&["network"]), None, "neither of them is one");
        assert_eq!(both.job(), Some("t-1".into()));
        let one = written(json!({"storage": {"name": "p", "creation_job_id": "j"}}));
        assert_eq!((one.made(&["pool"]), one.job()), (Some("p".to_owned()), Some("j".into())));
        assert_eq!(written(json!({"id": "n", "job": {"id": 3}})).made(&["vm"]), Some("n".to_owned()));
        assert_eq!(written(json!("done")).job(), None);
    }
}
