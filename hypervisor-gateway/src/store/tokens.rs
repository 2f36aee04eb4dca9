//! Tokens: never themselves, only their SHA-256.

use sqlx::any::AnyRow;

use super::{Result, Store, maybe, number, sql, text};

/// A token as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct TokenRow {
    pub(crate) id: String,
    /// Lower-case hex.
    pub(crate) hash: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) permissions: Vec<String>,
    pub(crate) created: i64,
    pub(crate) expires: Option<i64>,
}

fn read(row: &AnyRow) -> Result<TokenRow> {
    let permissions = text(row, "permissions")?;
    Ok(TokenRow {
        id: text(row, "id")?,
        hash: text(row, "hash")?,
        name: text(row, "name")?,
        description: maybe(row, "description")?,
        permissions: permissions.split_whitespace().map(str::to_owned).collect(),
        created: number(row, "created")?,
        expires: sqlx::Row::try_get(row, "expires")?,
    })
}

impl Store {
    pub(crate) async fn add_token(&self, token: &TokenRow) -> Result<()> {
        sql("INSERT INTO tokens (id, hash, name, description, permissions, created, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(token.id.clone())
        .bind(token.hash.clone())
        .bind(token.name.clone())
        .bind(token.description.clone())
        .bind(token.permissions.join(" "))
        .bind(token.created)
        .bind(token.expires)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Candidates by the beginning of the hash; the whole is compared by the caller in constant time.
    pub(crate) async fn tokens_like(&self, beginning: &str) -> Result<Vec<TokenRow>> {
        let rows = sql("SELECT * FROM tokens WHERE hash >= $1 AND hash < $2")
            .bind(beginning.to_owned())
            // Hex digits all come before `g`.
            .bind(format!("{beginning}g"))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Whether it is still there.
    pub(crate) async fn has_token(&self, id: &str) -> Result<bool> {
        let row =
            sql("SELECT id FROM tokens WHERE id = $1").bind(id.to_owned()).fetch_optional(&self.pool).await?;
        Ok(row.is_some())
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<TokenRow>> {
        let rows = sql("SELECT * FROM tokens ORDER BY created, id").fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn remove_token(&self, id: &str) -> Result<bool> {
        let done = sql("DELETE FROM tokens WHERE id = $1").bind(id.to_owned()).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }
}
