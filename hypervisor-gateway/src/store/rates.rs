//! The windows of the rate limits, where several gateways serve one address.

use std::time::Duration;

use super::{Result, Store, number, sql};
use crate::clock;

impl Store {
    /// Whether the windows are to be counted here. A lone gateway counts in its memory: a write for each read would be a bad bargain.
    pub(crate) const fn shares_rates(&self) -> bool {
        self.shared
    }

    /// Counts so many requests in the window of this name, a new one where it has ended; gives what has been used, these included, and how many
    /// milliseconds are left.
    pub(crate) async fn count_rate(&self, name: &str, window: Duration, cost: u32) -> Result<(i64, i64)> {
        let now = self.now();
        let row =
            sql("INSERT INTO rates (name, used, ends) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET \
             used = CASE WHEN rates.ends <= $4 THEN excluded.used ELSE rates.used + excluded.used END, \
             ends = CASE WHEN rates.ends <= $4 THEN excluded.ends ELSE rates.ends END RETURNING used, ends")
            .bind(name.to_owned())
            .bind(i64::from(cost))
            .bind(now.saturating_add(clock::span(window)))
            .bind(now)
            .fetch_one(&self.pool)
            .await?;
        Ok((number(&row, "used")?, number(&row, "ends")?.saturating_sub(now)))
    }
}
