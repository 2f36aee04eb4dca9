//! What must outlive a restart. The same SQL for SQLite and PostgreSQL, over sqlx's `Any`.

mod jobs;
mod keys;
mod rates;
mod tokens;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hypervisor_core::{Error, ErrorKind};
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyPool, Row as _};

pub(crate) use jobs::{JobEnd, JobRow};
pub(crate) use keys::Kept;
pub(crate) use tokens::TokenRow;
pub(crate) use webhooks::{DeliveryRow, Outgoing, SeenRow, WebhookRow};

use crate::clock;

/// Raised when a table changes its meaning; a newer database is refused rather than damaged.
const VERSION: i64 = 1;

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS tokens (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, \
     description TEXT, permissions TEXT NOT NULL, created BIGINT NOT NULL, expires BIGINT)",
    "CREATE TABLE IF NOT EXISTS instances (id TEXT PRIMARY KEY, alive_until BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, task TEXT, operation TEXT NOT NULL, vm TEXT, \
     token TEXT, state TEXT NOT NULL, info TEXT, output TEXT, error TEXT, logs TEXT, owner TEXT NOT NULL, \
     started BIGINT NOT NULL, ended BIGINT)",
    "CREATE INDEX IF NOT EXISTS jobs_open ON jobs (ended, owner)",
    "CREATE INDEX IF NOT EXISTS jobs_started ON jobs (started)",
    "CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, url TEXT NOT NULL, events TEXT NOT NULL, \
     secret TEXT, active BIGINT NOT NULL, created BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS deliveries (id TEXT PRIMARY KEY, webhook TEXT NOT NULL, event TEXT NOT NULL, \
     data TEXT NOT NULL, time BIGINT NOT NULL, attempt BIGINT NOT NULL, due BIGINT NOT NULL, \
     leased_until BIGINT NOT NULL, state TEXT NOT NULL, problem TEXT)",
    "CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due)",
    "CREATE TABLE IF NOT EXISTS seen (vm TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS rates (name TEXT PRIMARY KEY, used BIGINT NOT NULL, ends BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, request TEXT NOT NULL, status BIGINT, body TEXT, \
     owner TEXT NOT NULL, time BIGINT NOT NULL)",
];

/// The database, and which gateway of those that share it this is.
#[derive(Clone)]
pub(crate) struct Store {
    pool: AnyPool,
    pub(crate) instance: String,
    /// Whether other gateways may be at the same database.
    shared: bool,
    /// How far the database's clock is ahead of ours, in milliseconds. Leases of several machines go by one clock.
    ahead: Arc<AtomicI64>,
}

pub(crate) type Result<T, E = sqlx::Error> = std::result::Result<T, E>;

/// A statement with its arguments.
fn sql(text: &'static str) -> Query<'static, Any, AnyArguments<'static>> {
    sqlx::query(text)
}

fn text(row: &AnyRow, column: &str) -> Result<String> {
    row.try_get(column)
}

fn maybe(row: &AnyRow, column: &str) -> Result<Option<String>> {
    row.try_get(column)
}

fn number(row: &AnyRow, column: &str) -> Result<i64> {
    row.try_get(column)
}

impl Store {
    /// Opens the database and makes its tables.
    pub(crate) async fn open(url: &str, instance: String) -> hypervisor_core::Result<Self> {
        sqlx::any::install_default_drivers();
        let config = |error: sqlx::Error| {
            // The URL may hold a password; sqlx does not repeat it.
            Error::new(ErrorKind::Config, format!("the gateway's database cannot be opened: {error}"))
        };
        let sqlite = url.starts_with("sqlite:");
        let mut options = AnyPoolOptions::new().acquire_timeout(Duration::from_secs(10));
        let mut url = url.to_owned();
        if url.contains(":memory:") {
            // The database lives as long as its one connection. A test of it that is cut off, by a caller who hangs up, would close it.
            options = options.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None);
            options = options.test_before_acquire(false);
        } else if sqlite {
            options = options.max_connections(4);
            if !url.contains("mode=") {
                url.push_str(if url.contains('?') { "&mode=rwc" } else { "?mode=rwc" });
            }
        } else {
            options = options.max_connections(16);
        }
        if sqlite {
            options = options.after_connect(|connection, _| {
                Box::pin(async move {
                    // First, so that the next one waits for others, too.
                    sqlx::query("PRAGMA busy_timeout=10000").execute(&mut *connection).await?;
                    sqlx::query("PRAGMA journal_mode=WAL").execute(&mut *connection).await?;
                    Ok(())
                })
            });
        }
        let pool = options.connect(&url).await.map_err(config)?;
        let store = Self { pool, instance, shared: !sqlite, ahead: Arc::default() };
        store.make_tables().await.map_err(config)?;
        store.check_version().await?;
        Ok(store)
    }

    async fn make_tables(&self) -> Result<()> {
        for table in TABLES {
            let mut tries = 0;
            // Two gateways that start at once on PostgreSQL: `IF NOT EXISTS` is no lock there.
            while let Err(error) = sql(table).execute(&self.pool).await {
                tries += 1;
                if tries == 5 {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn check_version(&self) -> hypervisor_core::Result<()> {
        let version = async {
            sql("INSERT INTO meta (name, value) VALUES ('version', $1) ON CONFLICT (name) DO NOTHING")
                .bind(VERSION)
                .execute(&self.pool)
                .await?;
            number(
                &sql("SELECT value FROM meta WHERE name = 'version'").fetch_one(&self.pool).await?,
                "value",
            )
        };
        match version.await {
            Ok(VERSION) => Ok(()),
            Ok(other) => Err(Error::new(
                ErrorKind::Config,
                format!("the gateway's database has version {other}; this gateway knows version {VERSION}"),
            )),
            Err(error) => Err(Error::new(ErrorKind::Config, format!("the gateway's database: {error}"))),
        }
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> bool {
        sql("SELECT 1").execute(&self.pool).await.is_ok()
    }

    /// Milliseconds since 1970, by the database's clock where several gateways share it.
    pub(crate) fn now(&self) -> i64 {
        clock::now().saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// Compares the clocks.
    async fn set_clock(&self) -> Result<()> {
        if !self.shared {
            return Ok(());
        }
        let before = clock::now();
        let row = sql("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS n");
        let theirs = number(&row.fetch_one(&self.pool).await?, "n")?;
        let after = clock::now();
        let ahead = theirs - (before + (after - before) / 2);
        if (ahead - self.ahead.swap(ahead, Ordering::Relaxed)).abs() > 1000 {
            tracing::warn!(
                ahead_ms = ahead,
                "the database's clock is not this machine's; leases go by the database's"
            );
        }
        Ok(())
    }

    /// Tells the other gateways that this one lives.
    pub(crate) async fn heartbeat(&self, lease: Duration) -> Result<()> {
        self.set_clock().await?;
        let now = self.now();
        sql("INSERT INTO instances (id, alive_until) VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until")
        .bind(self.instance.clone())
        .bind(now + clock::span(lease))
        .execute(&self.pool)
        .await?;
        // Long gone ones own nothing any more.
        sql("DELETE FROM instances WHERE alive_until < $1 \
             AND id NOT IN (SELECT owner FROM jobs WHERE ended IS NULL)")
        .bind(now - 86_400_000)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Says that this gateway is gone, so that the others need not wait for its lease to end.
    pub(crate) async fn leave(&self) -> Result<()> {
        sql("DELETE FROM instances WHERE id = $1").bind(self.instance.clone()).execute(&self.pool).await?;
        sql("DELETE FROM leases WHERE owner = $1").bind(self.instance.clone()).execute(&self.pool).await?;
        Ok(())
    }

    /// Takes or keeps what only one gateway may do at a time.
    pub(crate) async fn hold(&self, name: &'static str, lease: Duration) -> Result<bool> {
        let now = self.now();
        let done = sql("INSERT INTO leases (name, owner, until) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until \
             WHERE leases.owner = excluded.owner OR leases.until < $4")
        .bind(name)
        .bind(self.instance.clone())
        .bind(now + clock::span(lease))
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
