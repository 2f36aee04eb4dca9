//! The cases, one file for each area.

/// A case of an area by the name of its async function: `case!("power", pause_freezes, [Operation::PauseVm])`; a second list
/// names the settings without which it cannot run. `case!(sync …)` takes a plain function.
macro_rules! case {
    (sync $area:literal, $run:ident, [$($need:expr),* $(,)?]) => {
        $crate::conformance::case::Case::new(
            $area,
            concat!($area, "::", stringify!($run)),
            vec![$($need.into()),*],
            Vec::new(),
            |cx| Box::pin(async move { $run(cx) }),
        )
    };
    ($area:literal, $run:ident, [$($need:expr),* $(,)?]) => { case!($area, $run, [$($need),*], []) };
    ($area:literal, $run:ident, [$($need:expr),* $(,)?], [$($setting:expr),* $(,)?]) => {
        $crate::conformance::case::Case::new(
            $area,
            concat!($area, "::", stringify!($run)),
            vec![$($need.into()),*],
            vec![$($setting),*],
            |cx| Box::pin($run(cx)),
        )
    };
}

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
