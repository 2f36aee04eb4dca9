//! Domains, their snapshots, and batches of them.

use hypervisor_core::Result;
use serde::Serialize;

use super::{Api, Call};
use crate::dialect::hypersdk::names::{check, check_text};
use crate::dialect::hypersdk::routes::{self, Route};
use crate::dialect::hypersdk::wire::{
    BatchDelete, BatchDomains, BatchForce, BatchResult, BatchSnapshot, BatchStart, Domain, DomainAction,
    Snapshot, named,
};

impl Api {
    /// Lists the domains (`GET /libvirt/domains`): id, name and state only. Names with spaces, which the daemon cuts, are whole again.
    pub async fn domains(&self) -> Result<Vec<Domain>> {
        let domains: Vec<Domain> = self.send(Call::new(&routes::DOMAINS)).await?.list("domains")?;
        Ok(domains.into_iter().map(Domain::repaired).collect())
    }

    /// Reads one domain by its name, UUID or number (`GET /libvirt/domain`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn domain(&self, name: &str) -> Result<Domain> {
        check("vm", name)?;
        self.send(Call::new(&routes::DOMAIN).query("name", name).about("vm", name)).await?.object()
    }

    /// Does this to a domain (`POST /libvirt/domain/start`, `shutdown`, `destroy`, `reboot`, `pause`, `resume`).
    ///
    /// # Errors
    /// `NotFound`, `InvalidState`.
    pub async fn act(&self, name: &str, action: DomainAction) -> Result<()> {
        check("vm", name)?;
        let route = match action {
            DomainAction::Start => &routes::DOMAIN_START,
            DomainAction::Shutdown => &routes::DOMAIN_SHUTDOWN,
            DomainAction::Destroy => &routes::DOMAIN_DESTROY,
            DomainAction::Reboot => &routes::DOMAIN_REBOOT,
            DomainAction::Pause => &routes::DOMAIN_PAUSE,
            DomainAction::Resume => &routes::DOMAIN_RESUME,
        };
        self.send(Call::new(route).json(&named("name", name))?.about("vm", name).slow()).await?.done()
    }

    /// Presses these keys at once (`POST /libvirt/domain/send-key`), in Linux' names: `KEY_LEFTCTRL`, `KEY_A`.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState`.
    pub async fn send_keys(&self, name: &str, keys: &[&str]) -> Result<()> {
        check("vm", name)?;
        for (index, key) in keys.iter().enumerate() {
            check(&format!("keys[{index}]"), key)?;
        }
        let body = serde_json::json!({"name": name, "keys": keys});
        self.send(Call::new(&routes::SEND_KEY).json(&body)?.about("vm", name)).await?.done()
    }

    /// Lists a domain's snapshots as the daemon does (`GET /libvirt/snapshots`): lines of a drawn tree, of which some are no snapshots.
    pub async fn snapshots(&self, name: &str) -> Result<Vec<Snapshot>> {
        check("vm", name)?;
        self.send(Call::new(&routes::SNAPSHOTS).query("name", name).about("vm", name))
            .await?
            .list("snapshots")
    }

    /// Takes a snapshot, of a running domain with its memory (`POST /libvirt/snapshot/create`).
    ///
    /// # Errors
    /// `NotFound` for the domain, `AlreadyExists`.
    pub async fn create_snapshot(&self, domain: &str, name: &str, description: &str) -> Result<()> {
        check_text("description", description)?;
        let mut body = named("domain_name", domain);
        body.insert("snapshot_name", name);
        if !description.is_empty() {
            body.insert("description", description);
        }
        self.of_snapshot(&routes::SNAPSHOT_CREATE, domain, name, &body).await
    }

    /// Takes a domain back to a snapshot (`POST /libvirt/snapshot/revert`).
    ///
    /// # Errors
    /// `NotFound` for the domain or the snapshot.
    pub async fn revert_snapshot(&self, domain: &str, name: &str) -> Result<()> {
        let mut body = named("domain_name", domain);
        body.insert("snapshot_name", name);
        self.of_snapshot(&routes::SNAPSHOT_REVERT, domain, name, &body).await
    }

    /// Deletes a snapshot (`POST /libvirt/snapshot/delete`).
    ///
    /// # Errors
    /// `NotFound` for the domain or the snapshot.
    pub async fn delete_snapshot(&self, domain: &str, name: &str) -> Result<()> {
        let mut body = named("domain_name", domain);
        body.insert("snapshot_name", name);
        self.of_snapshot(&routes::SNAPSHOT_DELETE, domain, name, &body).await
    }

    async fn of_snapshot<T: Serialize + Sync>(
        &self,
        route: &Route,
        domain: &str,
        name: &str,
        body: &T,
    ) -> Result<()> {
        check("vm", domain)?;
        check("name", name)?;
        let call = Call::new(route).json(body)?.about("snapshot", name).about("vm", domain);
        self.send(call.slow()).await?.done()
    }

    /// Starts many domains (`POST /libvirt/batch/start`). What became of each is in the answer, here as in the other batches.
    pub async fn batch_start(&self, domains: &[&str], paused: bool) -> Result<BatchResult> {
        self.batch(&routes::BATCH_START, domains, &BatchStart { domains, paused }).await
    }

    /// Asks many domains to power off, or cuts their power with `force` (`POST /libvirt/batch/stop`).
    pub async fn batch_stop(&self, domains: &[&str], force: bool) -> Result<BatchResult> {
        self.batch(&routes::BATCH_STOP, domains, &BatchForce { domains, force }).await
    }

    /// Asks many domains to restart, or resets them with `force` (`POST /libvirt/batch/reboot`).
    pub async fn batch_reboot(&self, domains: &[&str], force: bool) -> Result<BatchResult> {
        self.batch(&routes::BATCH_REBOOT, domains, &BatchForce { domains, force }).await
    }

    /// Takes a snapshot of many domains (`POST /libvirt/batch/snapshot`).
    pub async fn batch_snapshot(&self, spec: &BatchSnapshot) -> Result<BatchResult> {
        check("name_prefix", &spec.name_prefix)?;
        check_text("description", &spec.description)?;
        let domains: Vec<&str> = spec.domains.iter().map(String::as_str).collect();
        self.batch(&routes::BATCH_SNAPSHOT, &domains, spec).await
    }

    /// Cuts the power of many domains and deletes them, with all that their pools know of them where `remove_storage` says so, images in their
    /// CD drives included (`POST /libvirt/batch/delete`). With `snapshots_only` it is their snapshots alone that go, and their power is cut all the same.
    pub async fn batch_delete(
        &self,
        domains: &[&str],
        remove_storage: bool,
        snapshots_only: bool,
    ) -> Result<BatchResult> {
        let body = BatchDelete { domains, remove_storage, snapshots_only };
        self.batch(&routes::BATCH_DELETE, domains, &body).await
    }

    /// Freezes the CPUs of many domains (`POST /libvirt/batch/pause`).
    pub async fn batch_pause(&self, domains: &[&str]) -> Result<BatchResult> {
        self.batch(&routes::BATCH_PAUSE, domains, &BatchDomains { domains }).await
    }

    /// Lets many domains go on (`POST /libvirt/batch/resume`).
    pub async fn batch_resume(&self, domains: &[&str]) -> Result<BatchResult> {
        self.batch(&routes::BATCH_RESUME, domains, &BatchDomains { domains }).await
    }

    async fn batch<T: Serialize + Sync>(
        &self,
        route: &Route,
        domains: &[&str],
        body: &T,
    ) -> Result<BatchResult> {
        for (index, domain) in domains.iter().enumerate() {
            check(&format!("domains[{index}]"), domain)?;
        }
        self.send(Call::new(route).json(body)?.slow()).await?.object()
    }
}
