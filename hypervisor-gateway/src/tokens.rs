//! Bearer tokens: who makes a request, and what they may do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::clock::{self, rfc3339};
use crate::gateway::{App, CreatedToken};
use crate::permission;
use crate::problem::{Problem, Result};
use crate::store::{Store, TokenRow};

/// Who makes a request.
#[derive(Debug)]
pub(crate) struct Principal {
    /// The token's id, or `basic:<user>`.
    pub(crate) id: String,
    /// What the token was made for.
    pub(crate) name: Option<String>,
    permissions: Vec<String>,
    expires: Option<i64>,
}

impl Principal {
    pub(crate) fn may(&self, permission: &str) -> bool {
        permission::covers(&self.permissions, permission)
    }

    /// Itself, as long as its token has not expired.
    fn in_time(self: Arc<Self>) -> Result<Arc<Self>> {
        if self.expires.is_none_or(|expires| expires > clock::now()) {
            Ok(self)
        } else {
            Err(Problem::token())
        }
    }

    /// How long its token is still good, where that has an end.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.expires?.saturating_sub(clock::now());
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    pub(crate) fn nobody() -> Self {
        Self { id: "anonymous".to_owned(), name: None, permissions: Vec::new(), expires: None }
    }
}

pub(crate) struct NewToken {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) permissions: Vec<String>,
    pub(crate) expires: Option<SystemTime>,
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Creates a token.
pub(crate) async fn create(store: &Store, new: NewToken) -> Result<CreatedToken> {
    if new.name.is_empty() || new.name.chars().count() > 200 {
        return Err(Problem::invalid("name", "must have from 1 to 200 characters"));
    }
    if new.permissions.is_empty() {
        return Err(Problem::invalid("permissions", "must not be empty"));
    }
    new.permissions.iter().try_for_each(|each| permission::check(each))?;
    // A v4 UUID has 122 random bits from the system's generator.
    let token = format!("pxa_{}", Uuid::new_v4().simple());
    let id: String = Uuid::new_v4().simple().to_string().chars().take(16).collect();
    let row = TokenRow {
        id: format!("tok_{id}"),
        hash: hash(&token),
        name: new.name,
        description: new.description,
        permissions: new.permissions,
        created: clock::now(),
        expires: new.expires.map(clock::millis),
    };
    store.add_token(&row).await.map_err(|error| Problem::internal("a token cannot be stored", &error))?;
    Ok(CreatedToken { id: row.id, token, expires: new.expires })
}

/// Who makes this request.
pub(crate) async fn authenticate(app: &App, parts: &Parts, basic: bool) -> Result<Arc<Principal>> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, rest) = header.and_then(|header| header.split_once(' ')).ok_or_else(Problem::token)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return by_token(app, rest.trim()).await;
    }
    if scheme.eq_ignore_ascii_case("basic") && basic {
        return by_password(app, rest.trim());
    }
    Err(Problem::token())
}

async fn by_token(app: &App, token: &str) -> Result<Arc<Principal>> {
    let (wanted, within) = (hash(token), app.config.recheck_tokens);
    let asked = match app.believed.get(&wanted, within) {
        Ok(who) => return who.in_time(),
        Err(asked) => asked,
    };
    let beginning: String = wanted.chars().take(8).collect();
    let rows = app.store.tokens_like(&beginning).await;
    let rows = rows.map_err(|error| Problem::database("tokens cannot be read", &error))?;
    let found = rows.into_iter().find(|row| bool::from(row.hash.as_bytes().ct_eq(wanted.as_bytes())));
    let TokenRow { id, name, permissions, expires, .. } = found.ok_or_else(Problem::token)?;
    let who = Arc::new(Principal { id, name: Some(name), permissions, expires }).in_time()?;
    app.believed.put(asked, wanted, &who, within);
    Ok(who)
}

/// The document's way to the first token; good for nothing else.
fn by_password(app: &App, encoded: &str) -> Result<Arc<Principal>> {
    let Some((user, password)) = &app.config.basic else { return Err(Problem::credentials()) };
    let given = BASE64_STANDARD.decode(encoded).map_err(|_| Problem::credentials())?;
    // Hashes have one length, so that the comparison tells nothing about the password's.
    let given = Sha256::digest(&given);
    let wanted = Sha256::digest(format!("{user}:{password}").as_bytes());
    if bool::from(given.ct_eq(&wanted)) {
        let id = format!("basic:{user}");
        Ok(Arc::new(Principal { id, name: None, permissions: vec!["*".to_owned()], expires: None }))
    } else {
        Err(Problem::credentials())
    }
}

/// The body of `POST /v1/auth/tokens`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateToken {
    /// What it is for.
    name: String,
    #[serde(default)]
    description: Option<String>,
    /// Seconds; without it the token does not end.
    #[serde(default)]
    #[schemars(range(min = 1))]
    expires_in: Option<u64>,
    /// `*`, `<noun>:*`, `<noun>:read`, `<noun>:write`; the creator must have them.
    permissions: Vec<String>,
}

/// A token that was just made: it has no `Debug`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenView {
    token_id: String,
    access_token: String,
    token_type: &'static str,
    expires_at: Option<String>,
    permissions: Vec<String>,
}

/// A token in a list; itself it is never shown again.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenItem {
    token_id: String,
    name: String,
    description: Option<String>,
    permissions: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
}

pub(crate) async fn post(call: Call) -> Reply {
    let body: CreateToken = call.json()?;
    for wanted in &body.permissions {
        permission::check(wanted)?;
        // A token must not be a way to more than its holder has.
        if !call.who.may(wanted) {
            return Err(Problem::permission(wanted));
        }
    }
    let expires = match body.expires_in {
        Some(0) => return Err(Problem::invalid("expires_in", "must be at least one second")),
        Some(seconds) => SystemTime::now().checked_add(Duration::from_secs(seconds.min(u64::from(u32::MAX)))),
        None => None,
    };
    // Nor to a longer life.
    let expires = match (expires, call.who.expires.map(clock::from_millis)) {
        (Some(wanted), Some(own)) => Some(wanted.min(own)),
        (wanted, own) => wanted.or(own),
    };
    let permissions = body.permissions.clone();
    let new =
        NewToken { name: body.name, description: body.description, permissions: body.permissions, expires };
    let made = create(&call.app.store, new).await?;
    tracing::info!(token = made.id, by = call.who.id, "a token was made");
    let view = TokenView {
        token_id: made.id,
        access_token: made.token,
        token_type: "bearer",
        expires_at: made.expires.map(rfc3339),
        permissions,
    };
    Answer::with(StatusCode::CREATED, &view)
}

pub(crate) async fn list(call: Call) -> Reply {
    let rows = call.app.store.tokens().await;
    let rows = rows.map_err(|error| Problem::internal("tokens cannot be read", &error))?;
    let items: Vec<TokenItem> = rows
        .into_iter()
        .map(|row| TokenItem {
            token_id: row.id,
            name: row.name,
            description: row.description,
            permissions: row.permissions,
            created_at: rfc3339(clock::from_millis(row.created)),
            expires_at: row.expires.map(|expires| rfc3339(clock::from_millis(expires))),
        })
        .collect();
    Answer::ok(&json!({ "tokens": items }))
}

pub(crate) async fn delete(call: Call) -> Reply {
    let id: String = call.id("token_id")?;
    let gone = call.app.store.remove_token(&id).await;
    call.app.believed.forget();
    if gone.map_err(|error| Problem::internal("the token cannot be revoked", &error))? {
        tracing::info!(token = id, by = call.who.id, "a token was revoked");
        Ok(Answer::Message("Token revoked successfully"))
    } else {
        Err(hypervisor_core::Error::not_found("token", id).into())
    }
}
