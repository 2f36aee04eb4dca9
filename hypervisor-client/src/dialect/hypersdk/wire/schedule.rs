//! Schedules that submit jobs, and webhooks that tell of them.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::definition::JobDefinition;
use super::soft;

answers! {
    /// A schedule.
    Schedule {
        must {
            /// Its id.
            id: String,
        }
        may {
            /// Its name.
            name: String,
            /// What is said about it.
            description: String,
            /// Five fields of cron.
            schedule: String,
            /// Whether it is on.
            enabled: bool,
            /// How often it has run.
            run_count: u64,
            /// When it was made.
            created_at: Option<SystemTime>,
            /// When it was changed.
            updated_at: Option<SystemTime>,
            /// When it has run last.
            last_run: Option<SystemTime>,
            /// When it runs next.
            next_run: Option<SystemTime>,
            /// The job that it submits.
            job_template: Option<JobDefinition>,
        }
    }

    /// A webhook.
    Webhook {
        may {
            /// Where events are sent.
            url: String,
            /// Which events.
            events: Vec<String>,
            /// Whether it is on.
            enabled: bool,
            /// How long one delivery may take, in nanoseconds.
            timeout: u64,
        }
    }
}

impl soft::Soft for Option<JobDefinition> {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

impl Webhook {
    /// How long one delivery may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_nanos(self.timeout)
    }
}

/// A schedule to make (`POST /schedules`) or to put in the place of another (`PUT /schedules/{id}`).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NewSchedule {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is said about it.
    pub description: String,
    /// Five fields of cron.
    pub schedule: String,
    /// Whether it is on.
    pub enabled: bool,
    /// The job that it submits.
    pub job_template: JobDefinition,
}

impl NewSchedule {
    /// A schedule that is on.
    pub fn new(id: impl Into<String>, cron: impl Into<String>, job: JobDefinition) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            description: String::new(),
            schedule: cron.into(),
            enabled: true,
            job_template: job,
        }
    }

    chain! { name: String; description: String; enabled: bool; }
}
