//! Webhooks, what is to be sent to them, and the guests that they have been told of.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};
use uuid::Uuid;

use super::{Result, Store, maybe, number, sql, text};
use crate::clock;

/// How many deliveries of one webhook are under way at a time.
const EACH_AT_A_TIME: i64 = 4;

/// A webhook as it is kept. The secret has to be kept as it is, because every delivery is signed with it.
#[derive(Clone)]
pub(crate) struct WebhookRow {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) events: Vec<String>,
    pub(crate) secret: Option<String>,
    pub(crate) active: bool,
    pub(crate) created: i64,
}

impl WebhookRow {
    /// Whether it wants this event.
    pub(crate) fn wants(&self, event: &str) -> bool {
        self.active && self.events.iter().any(|wanted| wanted == event || wanted == "*")
    }
}

/// An event for one webhook, on its way.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryRow {
    pub(crate) id: String,
    pub(crate) webhook: String,
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) time: i64,
    pub(crate) attempt: i64,
    pub(crate) state: String,
    pub(crate) problem: Option<String>,
}

/// An event that is to be sent to whichever webhooks want it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) event: &'static str,
    pub(crate) data: String,
}

/// A guest as the webhooks were last told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenRow {
    pub(crate) vm: String,
    pub(crate) name: String,
    pub(crate) state: String,
}

fn webhook(row: &AnyRow) -> Result<WebhookRow> {
    Ok(WebhookRow {
        id: text(row, "id")?,
        url: text(row, "url")?,
        events: text(row, "events")?.split_whitespace().map(str::to_owned).collect(),
        secret: maybe(row, "secret")?,
        active: number(row, "active")? != 0,
        created: number(row, "created")?,
    })
}

fn delivery(row: &AnyRow) -> Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: text(row, "id")?,
        webhook: text(row, "webhook")?,
        event: text(row, "event")?,
        data: text(row, "data")?,
        time: number(row, "time")?,
        attempt: number(row, "attempt")?,
        state: text(row, "state")?,
        problem: maybe(row, "problem")?,
    })
}

fn seen(row: &AnyRow) -> Result<SeenRow> {
    Ok(SeenRow { vm: text(row, "vm")?, name: text(row, "name")?, state: text(row, "state")? })
}

/// Puts events into the queue of every webhook that wants them, as a part of a transaction that also holds what they tell of.
pub(super) async fn enqueue(
    transaction: &mut Transaction<'_, Any>,
    now: i64,
    events: &[Outgoing],
) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = sql("SELECT * FROM webhooks WHERE active = 1").fetch_all(&mut **transaction).await?;
    let webhooks: Vec<WebhookRow> = rows.iter().map(webhook).collect::<Result<_>>()?;
    for event in events {
        for webhook in webhooks.iter().filter(|webhook| webhook.wants(event.event)) {
            sql(
                "INSERT INTO deliveries (id, webhook, event, data, time, attempt, due, leased_until, state) \
                 VALUES ($1, $2, $3, $4, $5, 0, $5, 0, 'pending')",
            )
            .bind(format!("dlv_{}", Uuid::now_v7().simple()))
            .bind(webhook.id.clone())
            .bind(event.event)
            .bind(event.data.clone())
            .bind(now)
            .execute(&mut **transaction)
            .await?;
        }
    }
    Ok(())
}

impl Store {
    /// Adds a webhook, or changes it.
    pub(crate) async fn put_webhook(&self, webhook: &WebhookRow) -> Result<()> {
        sql(
            "INSERT INTO webhooks (id, url, events, secret, active, created) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET url = excluded.url, events = excluded.events, \
             secret = excluded.secret, active = excluded.active",
        )
        .bind(webhook.id.clone())
        .bind(webhook.url.clone())
        .bind(webhook.events.join(" "))
        .bind(webhook.secret.clone())
        .bind(i64::from(webhook.active))
        .bind(webhook.created)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn webhooks(&self) -> Result<Vec<WebhookRow>> {
        let rows = sql("SELECT * FROM webhooks ORDER BY created, id").fetch_all(&self.pool).await?;
        rows.iter().map(webhook).collect()
    }

    pub(crate) async fn webhook(&self, id: &str) -> Result<Option<WebhookRow>> {
        let row = sql("SELECT * FROM webhooks WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(webhook).transpose()
    }

    pub(crate) async fn remove_webhook(&self, id: &str) -> Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let done =
            sql("DELETE FROM webhooks WHERE id = $1").bind(id.to_owned()).execute(&mut *transaction).await?;
        sql("DELETE FROM deliveries WHERE webhook = $1")
            .bind(id.to_owned())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// The latest deliveries of a webhook.
    pub(crate) async fn deliveries(&self, webhook: &str) -> Result<Vec<DeliveryRow>> {
        let rows = sql("SELECT * FROM deliveries WHERE webhook = $1 ORDER BY time DESC, id DESC LIMIT 200")
            .bind(webhook.to_owned())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(delivery).collect()
    }

    /// Takes a delivery that is due and that no other gateway is at work on. A webhook has a few under way at a time, so that a receiver that
    /// hangs keeps nobody else waiting.
    pub(crate) async fn claim_delivery(&self, lease: Duration) -> Result<Option<DeliveryRow>> {
        loop {
            let now = self.now();
            let row =
                sql("SELECT * FROM deliveries WHERE state = 'pending' AND due <= $1 AND leased_until < $1 \
                 AND webhook NOT IN (SELECT webhook FROM deliveries WHERE state = 'pending' AND leased_until >= $1 \
                 GROUP BY webhook HAVING COUNT(*) >= $2) ORDER BY due, id LIMIT 1")
                .bind(now)
                .bind(EACH_AT_A_TIME)
                .fetch_optional(&self.pool)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let mut found = delivery(&row)?;
            let done = sql("UPDATE deliveries SET leased_until = $1, attempt = attempt + 1 \
                 WHERE id = $2 AND state = 'pending' AND leased_until < $3")
            .bind(now + clock::span(lease))
            .bind(found.id.clone())
            .bind(now)
            .execute(&self.pool)
            .await?;
            if done.rows_affected() == 1 {
                found.attempt += 1;
                return Ok(Some(found));
            }
        }
    }

    /// Notes how an attempt of a delivery went: `delivered`, `failed` (given up), or `pending` again at `due`. An attempt that took longer
    /// than its lease has been followed by another; then only that it was delivered is still of interest.
    pub(crate) async fn settle_delivery(
        &self,
        id: &str,
        attempt: i64,
        state: &'static str,
        due: i64,
        problem: Option<String>,
    ) -> Result<()> {
        sql("UPDATE deliveries SET state = $1, due = $2, leased_until = 0, problem = $3 \
             WHERE id = $4 AND state = 'pending' AND (attempt = $5 OR $1 = 'delivered')")
        .bind(state)
        .bind(due)
        .bind(problem)
        .bind(id.to_owned())
        .bind(attempt)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// How many deliveries wait.
    pub(crate) async fn waiting(&self) -> Result<i64> {
        let row =
            sql("SELECT COUNT(*) AS n FROM deliveries WHERE state = 'pending'").fetch_one(&self.pool).await?;
        number(&row, "n")
    }

    /// Sends an event that tells of nothing in the database.
    pub(crate) async fn send(&self, events: &[Outgoing]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        // A transaction of SQLite that reads before it writes cannot wait for another writer.
        sql("UPDATE meta SET value = value WHERE name = 'version'").execute(&mut *transaction).await?;
        enqueue(&mut transaction, self.now(), events).await?;
        transaction.commit().await
    }

    /// The guests that the webhooks have been told of; `None` before the first look.
    pub(crate) async fn seen(&self) -> Result<Option<Vec<SeenRow>>> {
        let known =
            sql("SELECT value FROM meta WHERE name = 'seen'").fetch_optional(&self.pool).await?.is_some();
        if !known {
            return Ok(None);
        }
        let rows = sql("SELECT * FROM seen").fetch_all(&self.pool).await?;
        rows.iter().map(seen).collect::<Result<_>>().map(Some)
    }

    /// One of them.
    pub(crate) async fn seen_of(&self, vm: &str) -> Result<Option<SeenRow>> {
        let row =
            sql("SELECT * FROM seen WHERE vm = $1").bind(vm.to_owned()).fetch_optional(&self.pool).await?;
        row.as_ref().map(seen).transpose()
    }

    /// Notes what has been seen, and queues the events that tell of it, both or neither.
    pub(crate) async fn note_seen(
        &self,
        put: &[SeenRow],
        gone: &[String],
        events: &[Outgoing],
    ) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        sql("INSERT INTO meta (name, value) VALUES ('seen', 1) ON CONFLICT (name) DO NOTHING")
            .execute(&mut *transaction)
            .await?;
        for row in put {
            sql("INSERT INTO seen (vm, name, state) VALUES ($1, $2, $3) \
                 ON CONFLICT (vm) DO UPDATE SET name = excluded.name, state = excluded.state")
            .bind(row.vm.clone())
            .bind(row.name.clone())
            .bind(row.state.clone())
            .execute(&mut *transaction)
            .await?;
        }
        for vm in gone {
            sql("DELETE FROM seen WHERE vm = $1").bind(vm.clone()).execute(&mut *transaction).await?;
        }
        enqueue(&mut transaction, self.now(), events).await?;
        transaction.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn one() -> (Store, DeliveryRow) {
        let store = Store::open("sqlite::memory:", "one".to_owned()).await.unwrap();
        let webhook = WebhookRow {
            id: "w".to_owned(),
            url: "http://127.0.0.1:1/".to_owned(),
            events: vec!["*".to_owned()],
            secret: None,
            active: true,
            created: 0,
        };
        store.put_webhook(&webhook).await.unwrap();
        store.send(&[Outgoing { event: "job.completed", data: "{}".to_owned() }]).await.unwrap();
        let claimed = store.claim_delivery(Duration::ZERO).await.unwrap().unwrap();
        (store, claimed)
    }

    async fn state(store: &Store) -> String {
        store.deliveries("w").await.unwrap().remove(0).state
    }

    #[tokio::test]
    async fn who_comes_back_after_the_lease_undoes_nothing() {
        let (store, late) = one().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = store.claim_delivery(Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!((late.attempt, second.attempt), (1, 2));
        // The lease of the second attempt stands.
        store.settle_delivery(&late.id, late.attempt, "pending", 0, None).await.unwrap();
        assert!(store.claim_delivery(Duration::ZERO).await.unwrap().is_none());
        store.settle_delivery(&second.id, second.attempt, "delivered", 0, None).await.unwrap();
        store.settle_delivery(&late.id, late.attempt, "failed", 0, None).await.unwrap();
        assert_eq!(state(&store).await, "delivered");
    }

    #[tokio::test]
    async fn a_late_success_counts() {
        let (store, late) = one().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let _ = store.claim_delivery(Duration::from_secs(60)).await.unwrap().unwrap();
        store.settle_delivery(&late.id, late.attempt, "delivered", 0, None).await.unwrap();
        assert_eq!(state(&store).await, "delivered");
        assert_eq!(store.waiting().await.unwrap(), 0);
    }
}
