//! The dashboard and how load is measured, as they come: beyond the shared traits, on current servers only.

use hypervisor_core::Result;
use hypervisor_core::http::{Method, Request};
use serde_json::Value;

use super::api::About;
use super::backend::Virtumancer;
use super::routes::Generation;
use super::wire::ActivityPage;

impl Virtumancer {
    /// Reads the dashboard's figures (`GET /dashboard/stats`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn dashboard_stats(&self) -> Result<Value> {
        self.read_json("/dashboard/stats", "the dashboard").await
    }

    /// Reads figures and activities in one (`GET /dashboard/overview`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn dashboard_overview(&self) -> Result<Value> {
        self.read_json("/dashboard/overview", "the dashboard").await
    }

    /// Reads the latest activities (`GET /dashboard/activity`), at most `limit`.
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn dashboard_activity(&self, limit: Option<u32>) -> Result<Vec<Value>> {
        self.at_least(Generation::Current, "the dashboard")?;
        let mut request = Request::get(self.path("/dashboard/activity", &[])?);
        if let Some(limit) = limit {
            request = request.query("limit", limit.to_string());
        }
        let page: ActivityPage = self.inner.api.json(request, &About::Nothing).await?;
        Ok(page.activities)
    }

    /// Reads the stored settings of how load is smoothed and shown (`GET /settings/metrics`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn stored_metrics_settings(&self) -> Result<Value> {
        self.read_json("/settings/metrics", "settings").await
    }

    /// Reads how load is smoothed and shown now (`GET /settings/metrics/runtime`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn metrics_settings(&self) -> Result<Value> {
        self.read_json("/settings/metrics/runtime", "settings").await
    }

    /// Sets how load is smoothed and shown (`PUT /settings/metrics`).
    ///
    /// # Errors
    /// `InvalidInput` for a value that the server refuses; `Unsupported`.
    pub async fn set_metrics_settings(&self, settings: &Value) -> Result<()> {
        self.at_least(Generation::Current, "settings")?;
        let request = Request::new(Method::PUT, self.path("/settings/metrics", &[])?).json(settings);
        self.inner.api.done(request, &About::Nothing).await
    }

    async fn read_json(&self, path: &str, what: &str) -> Result<Value> {
        self.at_least(Generation::Current, what)?;
        self.inner.api.json(Request::get(self.path(path, &[])?), &About::Nothing).await
    }
}
