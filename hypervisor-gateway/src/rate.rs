//! How many requests a token may make: a fixed window for each token and category, told in the headers of every answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::GatewayConfig;
use crate::gateway::App;

/// What kind of request it is, for the rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Category {
    /// Tokens are made or revoked, and every attempt with a wrong one.
    Authentication,
    /// Something is changed.
    Operations,
    /// Something is read.
    Read,
    /// Many operations in one request.
    Bulk,
    /// Something is generated.
    Ai,
}

impl Category {
    /// Every category.
    pub const ALL: [Category; 5] = [Self::Authentication, Self::Operations, Self::Read, Self::Bulk, Self::Ai];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Authentication => 0,
            Self::Operations => 1,
            Self::Read => 2,
            Self::Bulk => 3,
            Self::Ai => 4,
        }
    }

    /// The name, as in `/v1/info`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Operations => "vm_operations",
            Self::Read => "read_operations",
            Self::Bulk => "bulk_operations",
            Self::Ai => "ai_generation",
        }
    }

    /// The limit that the API's document names.
    #[must_use]
    pub const fn documented(self) -> Rate {
        const HOUR: Duration = Duration::from_secs(3600);
        match self {
            Self::Authentication => Rate::new(10, Duration::from_secs(60)),
            Self::Operations => Rate::new(100, HOUR),
            Self::Read => Rate::new(1000, HOUR),
            Self::Bulk => Rate::new(50, HOUR),
            Self::Ai => Rate::new(10, HOUR),
        }
    }
}

/// So many requests in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// How many.
    pub limit: u32,
    /// In which time. It begins with the first request.
    pub window: Duration,
}

impl Rate {
    /// So many requests in such a time.
    #[must_use]
    pub const fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window }
    }
}

/// Where a caller stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    rate: Rate,
    remaining: u32,
    reset: SystemTime,
    pub(crate) refused: bool,
}

impl Standing {
    /// The documented headers.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let mut set = |name: &'static str, value: u64| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        };
        set("x-ratelimit-limit", self.rate.limit.into());
        set("x-ratelimit-remaining", self.remaining.into());
        set("x-ratelimit-reset", self.reset.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()));
        set("x-ratelimit-window", self.rate.window.as_secs());
        if self.refused {
            set("retry-after", self.wait().as_secs());
        }
    }

    /// How long until the window ends, in whole seconds, at least one.
    pub(crate) fn wait(&self) -> Duration {
        let left = self.reset.duration_since(SystemTime::now()).unwrap_or_default();
        Duration::from_secs(left.as_secs().saturating_add(1))
    }
}

struct Window {
    used: u32,
    ends: SystemTime,
}

/// The windows of all callers.
#[derive(Default)]
pub(crate) struct Limiter(Mutex<HashMap<(String, Category), Window>>);

/// So many windows are kept before those that have ended are dropped.
const SWEEP_AT: usize = 4096;

impl Limiter {
    /// Counts `cost` requests (none only looks); `None` where the category has no limit.
    pub(crate) fn count(
        &self,
        config: &GatewayConfig,
        who: &str,
        category: Category,
        cost: u32,
    ) -> Option<Standing> {
        let rate = config.rate_of(category)?;
        let now = SystemTime::now();
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= SWEEP_AT {
            windows.retain(|_, window| window.ends > now);
        }
        let fresh = || Window { used: 0, ends: now + rate.window };
        let window = windows.entry((who.to_owned(), category)).or_insert_with(fresh);
        if window.ends <= now {
            *window = fresh();
        }
        let refused = window.used.saturating_add(cost) > rate.limit;
        if !refused {
            window.used += cost;
        }
        Some(Standing {
            rate,
            remaining: rate.limit - window.used.min(rate.limit),
            reset: window.ends,
            refused,
        })
    }
}

/// Counts `cost` requests for all gateways that share the database, or for this one where it has the database to itself.
pub(crate) async fn count(app: &App, who: &str, category: Category, cost: u32) -> Option<Standing> {
    let rate = app.config.rate_of(category)?;
    if !app.store.shares_rates() {
        return app.limiter.count(&app.config, who, category, cost);
    }
    match app.store.count_rate(&format!("{who} {}", category.as_str()), rate.window, cost).await {
        Ok((used, left)) => {
            let used = u32::try_from(used).unwrap_or(u32::MAX);
            Some(Standing {
                rate,
                remaining: rate.limit.saturating_sub(used),
                reset: SystemTime::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0)),
                refused: used > rate.limit && cost > 0,
            })
        }
        Err(error) => {
            tracing::warn!(%error, "the rate is counted by this gateway alone");
            app.limiter.count(&app.config, who, category, cost)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_used_up_and_callers_do_not_share_it() {
        let config = GatewayConfig::new().rate(Category::Ai, Rate::new(2, Duration::from_secs(60)));
        let limiter = Limiter::default();
        let refused = |who: &str| limiter.count(&config, who, Category::Ai, 1).unwrap().refused;
        assert_eq!([refused("a"), refused("a"), refused("a"), refused("b")], [false, false, true, false]);
        let standing = limiter.count(&config, "a", Category::Ai, 1).unwrap();
        let mut headers = HeaderMap::new();
        standing.write(&mut headers);
        assert_eq!(headers["x-ratelimit-limit"], "2");
        assert_eq!(headers["x-ratelimit-remaining"], "0");
        assert_eq!(headers["x-ratelimit-window"], "60");
        assert!(headers.contains_key("retry-after") && headers.contains_key("x-ratelimit-reset"));
        assert!(limiter.count(&config.without_rates(), "a", Category::Ai, 1).is_none());
    }

    #[test]
    fn a_window_that_has_ended_begins_anew() {
        let config = GatewayConfig::new().rate(Category::Ai, Rate::new(1, Duration::ZERO));
        let limiter = Limiter::default();
        for _ in 0..3 {
            assert!(!limiter.count(&config, "a", Category::Ai, 1).unwrap().refused);
        }
    }
}
