//! Idempotency keys: what a repeated create is answered.

use super::{Result, Store, maybe, sql, text};

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is new, and now ours.
    New,
    /// It was used for another request.
    Other,
    /// The request is still being worked on, or its gateway died before the answer.
    Open {
        /// The gateway that has it.
        owner: String,
    },
    /// This was the answer.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
}

impl Store {
    /// Takes a key for a request.
    pub(crate) async fn take_key(&self, name: &str, request: &str) -> Result<Kept> {
        // Whoever had it may give it back between the two statements; then it is to be had again.
        for _ in 0..10 {
            if let Some(kept) = self.try_key(name, request).await? {
                return Ok(kept);
            }
        }
        Ok(Kept::Open { owner: self.instance.clone() })
    }

    async fn try_key(&self, name: &str, request: &str) -> Result<Option<Kept>> {
        let done = sql("INSERT INTO keys (name, request, owner, time) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO NOTHING")
        .bind(name.to_owned())
        .bind(request.to_owned())
        .bind(self.instance.clone())
        .bind(self.now())
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Some(Kept::New));
        }
        let row = sql("SELECT * FROM keys WHERE name = $1")
            .bind(name.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        if text(&row, "request")? != request {
            return Ok(Some(Kept::Other));
        }
        let status: Option<i64> = sqlx::Row::try_get(&row, "status")?;
        Ok(Some(match status.and_then(|status| u16::try_from(status).ok()) {
            Some(status) => Kept::Answered { status, body: maybe(&row, "body")?.unwrap_or_default() },
            None => Kept::Open { owner: text(&row, "owner")? },
        }))
    }

    /// Notes the answer of a request that had an effect.
    pub(crate) async fn answer_key(&self, name: &str, status: u16, body: String) -> Result<()> {
        sql("UPDATE keys SET status = $1, body = $2 WHERE name = $3")
            .bind(i64::from(status))
            .bind(body)
            .bind(name.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Gives a key back whose request had no effect.
    pub(crate) async fn release_key(&self, name: &str) -> Result<()> {
        sql("DELETE FROM keys WHERE name = $1").bind(name.to_owned()).execute(&self.pool).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_taken_once_and_free_again_once_it_is_given_back() {
        let store = Store::open("sqlite::memory:", "one".to_owned()).await.unwrap();
        assert!(matches!(store.take_key("k", "a").await.unwrap(), Kept::New));
        assert!(matches!(store.take_key("k", "a").await.unwrap(), Kept::Open { .. }));
        assert!(matches!(store.take_key("k", "b").await.unwrap(), Kept::Other));
        store.release_key("k").await.unwrap();
        assert!(matches!(store.take_key("k", "b").await.unwrap(), Kept::New));
        store.answer_key("k", 201, "{}".to_owned()).await.unwrap();
        assert!(matches!(store.take_key("k", "b").await.unwrap(), Kept::Answered { status: 201, .. }));
    }

    #[tokio::test]
    async fn of_many_that_take_a_key_that_comes_and_goes_one_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/keys.db", folder.path().display());
        let store = Store::open(&url, "one".to_owned()).await.unwrap();
        let holders = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
        let taking = (0..4).map(|_| {
            let (store, holders) = (store.clone(), std::sync::Arc::clone(&holders));
            tokio::spawn(async move {
                let mut had = 0;
                for _ in 0..30 {
                    if let Kept::New = store.take_key("k", "a").await.unwrap() {
                        had += 1;
                        assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        store.release_key("k").await.unwrap();
                    }
                }
                had
            })
        });
        let had: u32 = futures::future::join_all(taking).await.into_iter().map(Result::unwrap).sum();
        assert!(had > 0);
    }
}
