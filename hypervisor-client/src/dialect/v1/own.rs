//! What this API has beyond the traits.

use hypervisor_core::http::{Method, segment};
use hypervisor_core::model::{MetricsHistory, MetricsPeriod, Page, PageRequest, Started, TaskId, VmId};
use hypervisor_core::{Error, Operation, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::V1;
use super::call::about;
use super::wire::envelope::{Keyed, Listed, Pagination, key};
use super::wire::job::JobRecord;
use super::wire::metrics::{self, Metric};
use super::wire::own::{
    GatewayInfo, GenerateSpec, GeneratedCode, Health, Scan, ScanSpec, Session, Token, TokenSpec, Webhook,
    WebhookSpec,
};
use super::wire::vm::VmRecord;
use super::wire::vm_body::put_some;

/// Which machines are wanted, in what order, from where. Every field of the documented list.
///
/// ```
/// use hypervisor_client::dialect::v1::VmFilter;
/// let filter = VmFilter { status: Some("running".into()), sort: Some("name".into()), ..VmFilter::default() };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmFilter {
    /// `running`, `stopped` or `paused`.
    pub status: Option<String>,
    /// `production`, `development` or `staging`.
    pub environment: Option<String>,
    /// By `name`, `created_at` or `status`; the gateway's default is the name.
    pub sort: Option<String>,
    /// `asc` or `desc`; the gateway's default is ascending.
    pub order: Option<String>,
    /// How many at most, 1 to 200; the gateway's default is 50.
    pub limit: Option<u32>,
    /// How many to leave out at the start. Not together with a cursor.
    pub offset: Option<u64>,
    /// [`Pagination::next_cursor`] of the page before. Not together with an offset.
    pub cursor: Option<String>,
}

impl VmFilter {
    fn validate(&self) -> Result<()> {
        let one_of = |field: &str, value: &Option<String>, known: &[&str]| match value {
            Some(value) if !known.contains(&value.as_str()) => {
                Err(Error::invalid(field, format!("`{value}` is none of {}", known.join(", "))))
            }
            _ => Ok(()),
        };
        one_of("status", &self.status, &["running", "stopped", "paused"])?;
        one_of("environment", &self.environment, &["production", "development", "staging"])?;
        one_of("sort", &self.sort, &["name", "created_at", "status"])?;
        one_of("order", &self.order, &["asc", "desc"])?;
        if self.limit.is_some_and(|limit| !(1..=200).contains(&limit)) {
            return Err(Error::invalid("limit", "must be from 1 to 200"));
        }
        if self.offset.is_some() && self.cursor.is_some() {
            return Err(Error::invalid("cursor", "a page starts at an offset or at a cursor, not at both"));
        }
        Ok(())
    }
}

impl V1 {
    /// Makes an API token (`POST /v1/auth/tokens`). The document wants a user and password for it.
    ///
    /// # Errors
    /// `Unauthenticated`, `PermissionDenied`, `InvalidInput`.
    pub async fn create_token(&self, spec: &TokenSpec) -> Result<Token> {
        self.link.data(self.own(Method::POST, "/auth/tokens").json(spec)).await
    }

    /// Begins a session of a user (`POST /v1/auth/login`), with the code of a second factor where the gateway wants one
    /// ([`Session::mfa_required`]). Its token is one for [`ClientConfig::token`](crate::ClientConfig::token).
    ///
    /// # Errors
    /// `Unauthenticated`; `Config` where the password would go over plain http and nobody has allowed that.
    pub async fn login(
        &self,
        user: &str,
        password: &SecretString,
        mfa_token: Option<&SecretString>,
    ) -> Result<Session> {
        self.link.privacy().check()?;
        let mut body = json!({ "username": user, "password": password.expose_secret() });
        put_some(&mut body, "mfa_token", mfa_token.map(|code| code.expose_secret()));
        self.link.data(self.own(Method::POST, "/auth/login").json(&body)).await
    }

    /// Revokes an API token (`DELETE /v1/auth/tokens/{token_id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_token(&self, token_id: &str) -> Result<()> {
        let path = format!("/auth/tokens/{}", segment(token_id)?);
        self.write(self.own(Method::DELETE, &path)).await.map_err(about("token", token_id))?;
        Ok(())
    }

    /// Lists machines as the document shows them (`GET /v1/vms`), with all its filters and both of its ways to page.
    ///
    /// # Errors
    /// `InvalidInput` for a value that the document does not have.
    pub async fn search_vms(&self, filter: &VmFilter) -> Result<(Vec<VmRecord>, Pagination)> {
        filter.validate()?;
        let texts = [
            ("status", filter.status.clone()),
            ("environment", filter.environment.clone()),
            ("limit", filter.limit.map(|limit| limit.to_string())),
            ("offset", filter.offset.map(|offset| offset.to_string())),
            ("cursor", filter.cursor.clone()),
            ("sort", filter.sort.clone()),
            ("order", filter.order.clone()),
        ];
        let mut request = self.request(Operation::ListVms, &[])?;
        for (name, value) in texts {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        let listed: Listed<VmRecord> = self.link.data(request).await?;
        Ok((listed.items, listed.pagination.unwrap_or_default()))
    }

    /// Reads a machine as the document shows it, with its load, its protection and its backups (`GET /v1/vms/{vm_id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn vm_details(&self, vm: &VmId) -> Result<VmRecord> {
        self.details(Operation::GetVm, vm).await
    }

    /// Deletes a machine as the document has it (`DELETE /v1/vms/{vm_id}`), without the looks that
    /// [`delete_vm`](hypervisor_core::Compute::delete_vm) takes first. Unless `force`, a running machine is shut down first. `keep_backups: false`
    /// deletes its backups too.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_vm(&self, vm: &VmId, force: bool, keep_backups: bool) -> Result<Started<()>> {
        let request = self.request(Operation::DeleteVm, &[vm.as_str()])?;
        let request =
            request.query("force", force.to_string()).query("keep_backups", keep_backups.to_string());
        Ok(self.write(request).await.map_err(about(VmId::NOUN, vm))?.started(()))
    }

    /// Reads a job as the document shows it, with its whole log (`GET /v1/jobs/{job_id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, job: &TaskId) -> Result<JobRecord> {
        let request = self.request(Operation::GetTask, &[job.as_str()])?;
        self.link.field::<key::Job, _>(request).await.map_err(about(TaskId::NOUN, job))
    }

    /// Reads the load of the whole system (`GET /v1/monitoring/metrics`), as the gateway tells it: the document has no example.
    ///
    /// # Errors
    /// As for any call.
    pub async fn system_metrics(&self) -> Result<Value> {
        self.link.data(self.own(Method::GET, "/monitoring/metrics")).await
    }

    /// Reads a machine's load over a period (`GET /v1/monitoring/vms/{vm_id}/metrics`); no `metrics` means all.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a year, which is longer than the gateway goes back.
    pub async fn vm_history(
        &self,
        vm: &VmId,
        period: MetricsPeriod,
        metrics: &[Metric],
    ) -> Result<MetricsHistory> {
        let name = metrics::period(period).ok_or_else(|| {
            Error::invalid(
                "period",
                format!("a {period} is longer than the 30 days that the gateway goes back"),
            )
        })?;
        let path = format!("/monitoring/vms/{}/metrics", segment(vm.as_str())?);
        let mut request =
            self.own(Method::GET, &path).operation(Operation::GetMetricsHistory).query("period", name);
        if !metrics.is_empty() {
            let names: Vec<&str> = metrics.iter().map(|metric| metric.as_str()).collect();
            request = request.query("metrics", names.join(","));
        }
        let data = self.link.data(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(metrics::history(&data, period))
    }

    /// Has machines scanned (`POST /v1/security/scans`).
    ///
    /// # Errors
    /// `NotFound` for a machine; `Unsupported` where the gateway has no scanner.
    pub async fn start_scan(&self, spec: &ScanSpec) -> Result<Scan> {
        self.link.field::<key::Scan, _>(self.own(Method::POST, "/security/scans").json(spec)).await
    }

    /// Reads a scan, with its results once there are any (`GET /v1/security/scans/{scan_id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_scan(&self, scan: &str) -> Result<Scan> {
        let path = format!("/security/scans/{}", segment(scan)?);
        self.link.field::<key::Scan, _>(self.own(Method::GET, &path)).await.map_err(about("scan", scan))
    }

    /// Has code generated (`POST /v1/ai/generate`). The answer is a proposal: nothing is carried out.
    ///
    /// # Errors
    /// `RateLimited`; `Unsupported` where the gateway has no generator.
    pub async fn generate(&self, spec: &GenerateSpec) -> Result<GeneratedCode> {
        let request = self.own(Method::POST, "/ai/generate").json(spec);
        let (found, meta) = self.link.told::<Keyed<key::Generated, GeneratedCode>>(request).await?;
        Ok(GeneratedCode { meta, ..found.0 })
    }

    /// Makes a webhook (`POST /v1/webhooks`). What it sends is read by [`crate::webhook::Receiver`].
    ///
    /// # Errors
    /// `InvalidInput`.
    pub async fn create_webhook(&self, spec: &WebhookSpec) -> Result<Webhook> {
        let mut sent = json!({ "url": spec.url, "events": spec.events, "active": spec.active });
        put_some(&mut sent, "secret", spec.secret.as_ref().map(|secret| secret.expose_secret()));
        self.link.field::<key::Webhook, _>(self.own(Method::POST, "/webhooks").json(&sent)).await
    }

    /// Lists the webhooks (`GET /v1/webhooks`).
    ///
    /// # Errors
    /// As for any call.
    pub async fn list_webhooks(&self, page: &PageRequest) -> Result<Page<Webhook>> {
        let request = self.own(Method::GET, "/webhooks");
        self.link.documented_page(request, page, |webhook: &Webhook| webhook.id.clone()).await
    }

    /// Deletes a webhook (`DELETE /v1/webhooks/{webhook_id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_webhook(&self, webhook: &str) -> Result<()> {
        let path = format!("/webhooks/{}", segment(webhook)?);
        self.write(self.own(Method::DELETE, &path)).await.map_err(about("webhook", webhook))?;
        Ok(())
    }

    /// Asks how the gateway is (`GET /v1/health`), which needs no credentials.
    ///
    /// # Errors
    /// As for any call.
    pub async fn health(&self) -> Result<Health> {
        self.link.data(self.own(Method::GET, "/health")).await
    }

    /// Asks what the gateway is (`GET /v1/info`).
    ///
    /// # Errors
    /// As for any call.
    pub async fn gateway_info(&self) -> Result<GatewayInfo> {
        self.link.data(self.own(Method::GET, "/info")).await
    }
}
