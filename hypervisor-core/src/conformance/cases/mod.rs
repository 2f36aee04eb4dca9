//! The cases, one file for each area.

mod backups;
mod batch;
mod boot;
mod claims;
mod clones;
mod console;
mod containers;
mod content;
mod delete;
mod disks;
mod events;
mod groups;
mod guest;
mod info;
mod input;
mod lifecycle;
mod metrics;
mod migrate;
mod networks;
mod nics;
mod power;
mod snapshots;
mod storage;
mod table;
mod tasks;
mod templates;
mod update;

use super::case::Case;

/// Every case, in the order in which a person would read them.
#[must_use]
pub fn cases() -> Vec<Case> {
    let areas = [
        claims::cases(),
        info::cases(),
        lifecycle::cases(),
        power::cases(),
        input::cases(),
        update::cases(),
        delete::cases(),
        networks::cases(),
        snapshots::cases(),
        boot::cases(),
        storage::cases(),
        content::cases(),
        disks::cases(),
        nics::cases(),
        clones::cases(),
        templates::cases(),
        containers::cases(),
        migrate::cases(),
        batch::cases(),
        tasks::cases(),
        metrics::cases(),
        backups::cases(),
        groups::cases(),
        guest::cases(),
        console::cases(),
        events::cases(),
    ];
    areas.into_iter().flatten().collect()
}
