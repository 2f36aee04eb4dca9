//! Jobs, and the machines of a vCenter that they export.

use hypervisor_core::{Error, Result};
use secrecy::ExposeSecret as _;

use super::{Api, Call};
use crate::dialect::hypersdk::routes::{self, Route};
use crate::dialect::hypersdk::wire::{
    Cancelled, Job, JobDefinition, JobEta, JobLog, JobProgress, JobQuery, Submitted, VCenter, VmPath,
    VsphereVm,
};

/// A job's place among the others that begin with `/jobs/`.
const NO_JOBS: [&str; 6] = ["submit", "query", "cancel", "progress", "logs", "eta"];

fn of_job(route: &Route, id: &str) -> Result<Call> {
    if NO_JOBS.contains(&id) || id.is_empty() {
        return Err(Error::not_found("task", id));
    }
    let call = Call::new(route).id("id", id).map_err(|_| Error::not_found("task", id))?;
    Ok(call.about("task", id))
}

impl Api {
    /// Submits jobs (`POST /jobs/submit`). A definition that lacks more than its `vm_path` fails only when the job runs.
    ///
    /// # Errors
    /// `InvalidInput` for a definition without a `vm_path`.
    pub async fn submit_jobs(&self, jobs: &[JobDefinition]) -> Result<Submitted> {
        if let Some(index) = jobs.iter().position(|job| job.vm_path.is_empty()) {
            return Err(Error::invalid(format!("jobs[{index}].vm_path"), "must not be empty"));
        }
        let call = Call::new(&routes::JOBS_SUBMIT).json(&serde_json::json!({"jobs": jobs}))?;
        self.send(call).await?.object()
    }

    /// Lists jobs (`POST /jobs/query`).
    pub async fn query_jobs(&self, query: &JobQuery) -> Result<Vec<Job>> {
        self.send(Call::new(&routes::JOBS_QUERY).json(query)?.reads()).await?.list("jobs")
    }

    /// Reads one job (`GET /jobs/{id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, id: &str) -> Result<Job> {
        self.send(of_job(&routes::JOB, id)?).await?.object()
    }

    /// Reads how much of a job is done (`GET /jobs/progress/{id}`); nothing is known of one that has not begun.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job_progress(&self, id: &str) -> Result<Option<JobProgress>> {
        #[derive(Default, serde::Deserialize)]
        struct Progress {
            #[serde(default)]
            progress: Option<JobProgress>,
        }
        let answer = self.send(of_job(&routes::JOB_PROGRESS, id)?).await?;
        Ok(answer.object::<Progress>()?.progress)
    }

    /// Reads a job's log (`GET /jobs/logs/{id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job_logs(&self, id: &str) -> Result<JobLog> {
        self.send(of_job(&routes::JOB_LOGS, id)?).await?.object()
    }

    /// Reads how long a job may still take (`GET /jobs/eta/{id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job_eta(&self, id: &str) -> Result<JobEta> {
        self.send(of_job(&routes::JOB_ETA, id)?).await?.object()
    }

    /// Asks jobs to end (`POST /jobs/cancel`). Which could not be ended is in the answer, not an error.
    pub async fn cancel_jobs(&self, ids: &[&str]) -> Result<Cancelled> {
        self.send(Call::new(&routes::JOBS_CANCEL).json(&serde_json::json!({"job_ids": ids}))?).await?.object()
    }

    /// Lists the machines of a vCenter (`GET /vms/list`): the one that the daemon is set up for, or this one. The daemon takes its password in
    /// the query, where logs on the way may keep it. Without a vCenter the daemon closes the connection (`Transport`).
    pub async fn vsphere_vms(&self, vcenter: Option<&VCenter>) -> Result<Vec<VsphereVm>> {
        let mut call = Call::new(&routes::VMS_LIST).slow();
        if let Some(vcenter) = vcenter {
            let password = vcenter.password.as_ref().map(|password| password.expose_secret().to_owned());
            call = call
                .query("server", &vcenter.server)
                .query("username", &vcenter.username)
                .query("password", password.unwrap_or_default())
                .query("insecure", vcenter.insecure.to_string());
        }
        self.send(call).await?.list("vms")
    }

    /// Reads what the daemon's vCenter knows of a machine, as it comes (`POST /vms/info`).
    pub async fn vsphere_vm(&self, path: &str) -> Result<serde_json::Value> {
        let answer: serde_json::Value = self.vsphere(&routes::VMS_INFO, path, None, true).await?;
        Ok(answer.get("vm_info").cloned().unwrap_or(answer))
    }

    /// Asks a machine of the daemon's vCenter to power off, and waits at most so many seconds (`POST /vms/shutdown`).
    pub async fn shutdown_vsphere_vm(&self, path: &str, timeout: Option<u64>) -> Result<()> {
        self.vsphere(&routes::VMS_SHUTDOWN, path, timeout, false).await.map(drop)
    }

    /// Cuts the power of a machine of the daemon's vCenter (`POST /vms/poweroff`).
    pub async fn power_off_vsphere_vm(&self, path: &str) -> Result<()> {
        self.vsphere(&routes::VMS_POWEROFF, path, None, false).await.map(drop)
    }

    /// Takes the CD drives away from a machine of the daemon's vCenter (`POST /vms/remove-cdrom`).
    pub async fn remove_vsphere_cdroms(&self, path: &str) -> Result<()> {
        self.vsphere(&routes::VMS_REMOVE_CDROM, path, None, false).await.map(drop)
    }

    async fn vsphere(
        &self,
        route: &Route,
        path: &str,
        timeout: Option<u64>,
        reads: bool,
    ) -> Result<serde_json::Value> {
        if path.is_empty() {
            return Err(Error::invalid("vm_path", "must not be empty"));
        }
        let body = VmPath { vm_path: path, timeout };
        let call = Call::new(route).json(&body)?.about("vm", path).slow();
        self.send(if reads { call.reads() } else { call }).await?.optional()
    }
}
