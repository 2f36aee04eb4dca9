//! Schedules and webhooks.

use hypervisor_core::{Error, Result};
use serde::Deserialize;

use super::{Api, Call};
use crate::dialect::hypersdk::routes::{self, Route};
use crate::dialect::hypersdk::wire::{NewSchedule, Schedule, Webhook};

fn of(route: &Route, id: &str) -> Result<Call> {
    Ok(Call::new(route).id("id", id)?.about("schedule", id))
}

/// The daemon looks for the id, and for what is to be done, in the parts of the path as they are decoded.
fn addressable(id: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid("id", why));
    match id {
        "" => refuse("must not be empty"),
        "stats" => refuse("`stats` is another path of the daemon's"),
        "." | ".." => refuse("cannot be a part of a path"),
        _ if id.contains('/') => refuse("must not have a `/`: the daemon could not be asked for it"),
        _ => Ok(()),
    }
}

impl Api {
    /// Lists the schedules (`GET /schedules`).
    pub async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.send(Call::new(&routes::SCHEDULES)).await?.list("schedules")
    }

    /// How the schedules are doing, as it comes (`GET /schedules/stats`).
    pub async fn schedule_stats(&self) -> Result<serde_json::Value> {
        self.send(Call::new(&routes::SCHEDULE_STATS)).await?.object()
    }

    /// Reads one schedule (`GET /schedules/{id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn schedule(&self, id: &str) -> Result<Schedule> {
        self.send(of(&routes::SCHEDULE, id)?).await?.object()
    }

    /// Makes a schedule (`POST /schedules`). The daemon puts it in the place of another one of this id, which may still run beside it.
    ///
    /// # Errors
    /// `InvalidInput` for a bad expression, a job without its `vm_path`, or an id by which the daemon could not be asked for it.
    pub async fn create_schedule(&self, schedule: &NewSchedule) -> Result<Schedule> {
        addressable(&schedule.id)?;
        #[derive(Deserialize)]
        struct Made {
            schedule: Schedule,
        }
        let call = Call::new(&routes::SCHEDULE_CREATE).json(schedule)?.about("schedule", &schedule.id);
        Ok(self.send(call).await?.object::<Made>()?.schedule)
    }

    /// Changes the schedule of this id (`PUT /schedules/{id}`). Whether it is on becomes as said here; a name, description, expression or job
    /// that is empty stays as it was, and so does the id.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a bad expression, which the daemon has kept by then: the schedule does not run until it is given
    /// a good one.
    pub async fn update_schedule(&self, id: &str, schedule: &NewSchedule) -> Result<()> {
        self.send(of(&routes::SCHEDULE_UPDATE, id)?.json(schedule)?).await?.done()
    }

    /// Deletes a schedule (`DELETE /schedules/{id}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_schedule(&self, id: &str) -> Result<()> {
        self.send(of(&routes::SCHEDULE_DELETE, id)?).await?.done()
    }

    /// Turns a schedule on (`POST /schedules/{id}/enable`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn enable_schedule(&self, id: &str) -> Result<()> {
        self.send(of(&routes::SCHEDULE_ENABLE, id)?).await?.done()
    }

    /// Turns a schedule off (`POST /schedules/{id}/disable`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn disable_schedule(&self, id: &str) -> Result<()> {
        self.send(of(&routes::SCHEDULE_DISABLE, id)?).await?.done()
    }

    /// Runs a schedule now (`POST /schedules/{id}/trigger`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn trigger_schedule(&self, id: &str) -> Result<()> {
        self.send(of(&routes::SCHEDULE_TRIGGER, id)?).await?.done()
    }

    /// Lists the webhooks (`GET /webhooks`).
    ///
    /// # Errors
    /// `Unsupported` where the daemon has none set up, as it is shipped.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>> {
        self.send(Call::new(&routes::WEBHOOKS)).await?.list("webhooks")
    }

    /// Adds a webhook for these events, or for all where none is named (`POST /webhooks`). The daemon has `job.created`, `job.started`,
    /// `job.completed`, `job.failed`, `job.cancelled`, `job.progress` and `vm.discovered`. Its deliveries are not signed, and tried four
    /// times at most within 10 s.
    ///
    /// # Errors
    /// As [`webhooks`](Self::webhooks); `InvalidInput` for an address that the daemon does not send to.
    pub async fn create_webhook(&self, url: &url::Url, events: &[&str]) -> Result<()> {
        // The daemon takes a webhook that does not say so for one that is off.
        let body = serde_json::json!({"url": url.as_str(), "events": events, "enabled": true});
        self.send(Call::new(&routes::WEBHOOK_CREATE).json(&body)?).await?.done()
    }

    /// Removes the webhook of this place in the list (`DELETE /webhooks/{index}`).
    ///
    /// # Errors
    /// As [`webhooks`](Self::webhooks).
    pub async fn delete_webhook(&self, index: u32) -> Result<()> {
        self.send(Call::new(&routes::WEBHOOK_DELETE).id("index", &index.to_string())?).await?.done()
    }
}
