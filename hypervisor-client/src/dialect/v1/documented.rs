//! What the documented API has no call for and is made of several.

use std::time::Duration;

use hypervisor_core::model::{Page, PageRequest, Started, TaskId, TaskState, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
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

/// What a call that writes answers: mostly one object, with the job that is at work on it. The document shows it for creates only.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    #[serde(alias = "network", alias = "pool", alias = "storage", alias = "snapshot", alias = "backup")]
    vm: Option<Value>,
    job: Option<Value>,
    #[serde(alias = "creation_job_id", alias = "task_id")]
    job_id: Option<Value>,
    id: Option<Value>,
}

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
        let inside = self.vm.iter().flat_map(|object| {
            ["creation_job_id", "job_id", "task_id"].into_iter().filter_map(|key| object.get(key))
        });
        let job = self.job.as_ref().and_then(|job| text(job.get("id")).or_else(|| text(Some(job))));
        let job = job
            .or_else(|| text(self.job_id.as_ref()))
            .or_else(|| inside.into_iter().find_map(|id| text(Some(id))));
        job.map(TaskId::from)
    }

    /// The id of what was made.
    pub(super) fn made(&self) -> Option<String> {
        let inside =
            self.vm.as_ref().and_then(|object| text(object.get("id")).or_else(|| text(object.get("name"))));
        inside.or_else(|| text(self.id.as_ref()))
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

    /// A call that makes something, whose answer has to name it.
    pub(super) async fn make(&self, request: hypervisor_core::http::Request) -> Result<Started<String>> {
        let written = self.write(request).await?;
        let made = written.made();
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
