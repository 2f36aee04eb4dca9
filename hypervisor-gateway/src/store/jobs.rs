//! Jobs: written before the backend is called, so that a killed gateway leaves a record of what it was doing.

use std::time::Duration;

use sqlx::any::AnyRow;

use super::webhooks::{Outgoing, enqueue};
use super::{Result, Store, maybe, number, sql, text};
use crate::clock;

/// A job as it is kept. `info`, `output`, `error` and `logs` are JSON.
#[derive(Debug, Clone)]
pub(crate) struct JobRow {
    pub(crate) id: String,
    /// The backend's own id of the task, once it is known.
    pub(crate) task: Option<String>,
    pub(crate) operation: String,
    pub(crate) vm: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) state: String,
    pub(crate) info: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) logs: Option<String>,
    pub(crate) owner: String,
    pub(crate) started: i64,
    pub(crate) ended: Option<i64>,
}

/// How a job ended.
#[derive(Debug, Default)]
pub(crate) struct JobEnd {
    pub(crate) state: &'static str,
    pub(crate) info: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) logs: Option<String>,
}

fn read(row: &AnyRow) -> Result<JobRow> {
    Ok(JobRow {
        id: text(row, "id")?,
        task: maybe(row, "task")?,
        operation: text(row, "operation")?,
        vm: maybe(row, "vm")?,
        token: maybe(row, "token")?,
        state: text(row, "state")?,
        info: maybe(row, "info")?,
        output: maybe(row, "output")?,
        error: maybe(row, "error")?,
        logs: maybe(row, "logs")?,
        owner: text(row, "owner")?,
        started: number(row, "started")?,
        ended: sqlx::Row::try_get(row, "ended")?,
    })
}

impl Store {
    /// Notes that the backend is about to be called.
    pub(crate) async fn add_job(
        &self,
        id: &str,
        operation: &str,
        vm: Option<&str>,
        token: &str,
    ) -> Result<()> {
        sql("INSERT INTO jobs (id, operation, vm, token, state, owner, started) \
             VALUES ($1, $2, $3, $4, 'running', $5, $6)")
        .bind(id.to_owned())
        .bind(operation.to_owned())
        .bind(vm.map(str::to_owned))
        .bind(token.to_owned())
        .bind(self.instance.clone())
        .bind(self.now())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes the task that the backend has begun, under which the job is known from now on. A gateway that was silent for longer than its
    /// lease may have lost the job to another one, which could only say that its outcome is unknown: it is known after all.
    pub(crate) async fn name_job(&self, id: &str, new: &str, task: &str, output: &str) -> Result<()> {
        sql("UPDATE jobs SET id = $1, task = $2, output = $3, owner = $5, state = 'running', ended = NULL, error = NULL \
             WHERE id = $4")
            .bind(new.to_owned())
            .bind(task.to_owned())
            .bind(output.to_owned())
            .bind(id.to_owned())
            .bind(self.instance.clone())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets a job that never was: the backend refused it without effect.
    pub(crate) async fn remove_job(&self, id: &str) -> Result<()> {
        sql("DELETE FROM jobs WHERE id = $1").bind(id.to_owned()).execute(&self.pool).await?;
        Ok(())
    }

    /// Notes how far a job is.
    pub(crate) async fn progress_job(&self, id: &str, state: &str, info: &str) -> Result<()> {
        sql("UPDATE jobs SET state = $1, info = $2 WHERE id = $3 AND ended IS NULL")
            .bind(state.to_owned())
            .bind(info.to_owned())
            .bind(id.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Ends a job, together with the webhooks' events that tell of it; `false` if it had ended before. An outcome is better than none: it
    /// takes the place of an end that was only "unknown".
    pub(crate) async fn end_job(&self, id: &str, end: JobEnd, events: &[Outgoing]) -> Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let done = sql("UPDATE jobs SET state = $1, ended = $2, info = COALESCE($3, info), \
             output = COALESCE($4, output), error = $5, logs = COALESCE($6, logs) \
             WHERE id = $7 AND (ended IS NULL OR (state = 'forgotten' AND $1 <> 'forgotten'))")
        .bind(end.state)
        .bind(self.now())
        .bind(end.info)
        .bind(end.output)
        .bind(end.error)
        .bind(end.logs)
        .bind(id.to_owned())
        .execute(&mut *transaction)
        .await?;
        let first = done.rows_affected() == 1;
        if first {
            enqueue(&mut transaction, self.now(), events).await?;
        }
        transaction.commit().await?;
        Ok(first)
    }

    pub(crate) async fn job(&self, id: &str) -> Result<Option<JobRow>> {
        let row =
            sql("SELECT * FROM jobs WHERE id = $1").bind(id.to_owned()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// A part of the list, the latest first, and how many there are.
    pub(crate) async fn jobs(
        &self,
        vm: Option<&str>,
        state: Option<&str>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<JobRow>, i64)> {
        let (vm, state) = (vm.unwrap_or_default().to_owned(), state.unwrap_or_default().to_owned());
        let rows = sql("SELECT * FROM jobs WHERE ($1 = '' OR vm = $1) AND ($2 = '' OR state = $2) \
             ORDER BY started DESC, id LIMIT $3 OFFSET $4")
        .bind(vm.clone())
        .bind(state.clone())
        .bind(limit)
        .bind(offset)
        .fetch_all(&self.pool)
        .await?;
        let count =
            sql("SELECT COUNT(*) AS n FROM jobs WHERE ($1 = '' OR vm = $1) AND ($2 = '' OR state = $2)")
                .bind(vm)
                .bind(state)
                .fetch_one(&self.pool)
                .await?;
        Ok((rows.iter().map(read).collect::<Result<_>>()?, number(&count, "n")?))
    }

    /// Whether the gateway that has the job still lives.
    pub(crate) async fn is_alive(&self, owner: &str) -> Result<bool> {
        if owner == self.instance {
            return Ok(true);
        }
        let row = sql("SELECT alive_until FROM instances WHERE id = $1")
            .bind(owner.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        row.map_or(Ok(false), |row| Ok(number(&row, "alive_until")? >= self.now()))
    }

    /// The open jobs of gateways that have died.
    pub(crate) async fn orphans(&self) -> Result<Vec<JobRow>> {
        let rows = sql("SELECT * FROM jobs WHERE ended IS NULL AND owner <> $1 \
             AND owner NOT IN (SELECT id FROM instances WHERE alive_until >= $2) LIMIT 100")
        .bind(self.instance.clone())
        .bind(self.now())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Takes a job over; `false` if another gateway was faster.
    pub(crate) async fn adopt(&self, job: &JobRow) -> Result<bool> {
        let done = sql("UPDATE jobs SET owner = $1 WHERE id = $2 AND owner = $3 AND ended IS NULL")
            .bind(self.instance.clone())
            .bind(job.id.clone())
            .bind(job.owner.clone())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// How many jobs have not ended.
    pub(crate) async fn open_jobs(&self) -> Result<i64> {
        number(&sql("SELECT COUNT(*) AS n FROM jobs WHERE ended IS NULL").fetch_one(&self.pool).await?, "n")
    }

    /// Drops what ended long ago.
    pub(crate) async fn forget(&self, keep: Duration) -> Result<()> {
        let before = self.now() - clock::span(keep);
        for text in [
            "DELETE FROM jobs WHERE ended < $1",
            "DELETE FROM deliveries WHERE state <> 'pending' AND time < $1",
            "DELETE FROM keys WHERE time < $1",
            "DELETE FROM rates WHERE ends < $1",
        ] {
            sql(text).bind(before).execute(&self.pool).await?;
        }
        Ok(())
    }
}
