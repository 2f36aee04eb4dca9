//! The daemon itself, and sessions.

use hypervisor_core::Result;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Api, Call};
use crate::dialect::hypersdk::routes;
use crate::dialect::hypersdk::wire::{
    DaemonStatus, ExportMethods, Health, ManifestCheck, Session, WorkflowJob, WorkflowStatus,
};

impl Api {
    /// Whether the daemon is well (`GET /health`).
    pub async fn health(&self) -> Result<Health> {
        self.send(Call::new(&routes::HEALTH)).await?.object()
    }

    /// Its version and what it is at work on (`GET /status`).
    pub async fn status(&self) -> Result<DaemonStatus> {
        self.send(Call::new(&routes::STATUS)).await?.object()
    }

    /// The ways in which it can export machines (`GET /capabilities`).
    pub async fn capabilities(&self) -> Result<ExportMethods> {
        self.send(Call::new(&routes::CAPABILITIES)).await?.object()
    }

    /// Begins a session (`POST /api/login`). The daemon as shipped gives one for any password of a user that its host knows, and asks for none.
    ///
    /// # Errors
    /// `Unauthenticated` for an unknown user, `Config` where the password would go over plain http and nobody has allowed that.
    pub async fn login(&self, username: &str, password: &SecretString) -> Result<Session> {
        self.privacy.check()?;
        let body = serde_json::json!({"username": username, "password": password.expose_secret()});
        let call = Call::new(&routes::LOGIN).json(&body)?;
        let response =
            self.http.send(self.unsigned(&call)).await.map_err(|error| call.without_answer(error))?;
        call.answer(response)?.object()
    }

    pub(super) async fn begin_session(
        &self,
        name: &str,
        password: &SecretString,
    ) -> Result<Option<SecretString>> {
        Ok(self.login(name, password).await?.token)
    }

    /// Ends a session (`POST /api/logout`).
    ///
    /// # Errors
    /// `Unauthenticated` where the token is missing, `Config` as for [`login`](Self::login).
    pub async fn logout(&self, token: &SecretString) -> Result<()> {
        self.privacy.check()?;
        let call = Call::new(&routes::LOGOUT);
        let bearer = SecretString::from(format!("Bearer {}", token.expose_secret()));
        let request = self.unsigned(&call).secret_header("authorization", &bearer);
        let response = self.http.send(request).await.map_err(|error| call.without_answer(error))?;
        call.answer(response)?.done()
    }

    /// What the workflow daemon is at work on (`GET /api/workflow/status`).
    pub async fn workflow_status(&self) -> Result<WorkflowStatus> {
        self.send(Call::new(&routes::WORKFLOW_STATUS)).await?.object()
    }

    /// The workflow daemon's jobs, of one status where it is given (`GET /api/workflow/jobs`).
    pub async fn workflow_jobs(&self, status: Option<&str>) -> Result<Vec<WorkflowJob>> {
        let call = Call::new(&routes::WORKFLOW_JOBS);
        let call = status.into_iter().fold(call, |call, status| call.query("status", status));
        self.send(call).await?.list("jobs")
    }

    /// The workflow daemon's jobs that are at work (`GET /api/workflow/jobs/active`).
    pub async fn active_workflow_jobs(&self) -> Result<Vec<WorkflowJob>> {
        self.send(Call::new(&routes::WORKFLOW_JOBS_ACTIVE)).await?.list("jobs")
    }

    /// Hands a manifest to the workflow daemon, and gives its answer as it comes (`POST /api/workflow/manifest/submit`).
    pub async fn submit_manifest(&self, manifest: &serde_json::Value) -> Result<serde_json::Value> {
        self.send(Call::new(&routes::MANIFEST_SUBMIT).json(manifest)?).await?.optional()
    }

    /// Has a manifest checked (`POST /api/workflow/manifest/validate`). What is wrong with it is in the answer, not an error.
    pub async fn validate_manifest(&self, manifest: &serde_json::Value) -> Result<ManifestCheck> {
        self.send(Call::new(&routes::MANIFEST_VALIDATE).json(manifest)?.reads()).await?.object()
    }
}
