//! Snapshots and backups.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{OPTIONS, QUERY, VIEW, handler, many, own, paged, param, route};
use super::{Body, Good, Route, shapes};
use crate::{backups, snapshots, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/vms/{vm_id}/snapshots",
            "list_snapshots",
            "snapshot:read",
            handler!(snapshots::list),
            "Lists a guest's snapshots.",
        )
        .gives(Good::Data(&[
            ("snapshots", many!(view::SnapshotItem<'_>)),
            ("tree", many!(model::SnapshotInfo)),
        ]))
        .query(vec![VIEW]),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/snapshots",
            "create_snapshot",
            "snapshot:write",
            handler!(snapshots::post),
            "Takes a snapshot.",
        )
        .takes(Body::Json(own!(snapshots::CreateSnapshot)))
        .gives(Good::Started(
            201,
            own!(model::SnapshotId),
            &[("snapshot", own!(shapes::Named<model::SnapshotId>))],
        )),
        route(
            Method::GET,
            "/v1/vms/{vm_id}/snapshots/{snapshot_id}",
            "get_snapshot",
            "snapshot:read",
            handler!(snapshots::get),
            "Reads one snapshot.",
        )
        .gives(Good::Data(&[("snapshot", own!(view::SnapshotItem<'_>))])),
        route(
            Method::DELETE,
            "/v1/vms/{vm_id}/snapshots/{snapshot_id}",
            "delete_snapshot",
            "snapshot:write",
            handler!(snapshots::delete),
            "Deletes a snapshot.",
        )
        .gives(Good::Started(200, own!(()), &[]))
        .query(vec![OPTIONS]),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/snapshots/{snapshot_id}/restore",
            "revert_snapshot",
            "snapshot:write",
            handler!(snapshots::restore),
            "Takes a guest back to a snapshot.",
        )
        .takes(Body::Maybe(own!(snapshots::Restore)))
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::GET,
            "/v1/backups",
            "list_backups",
            "backup:read",
            handler!(backups::list),
            "Lists the backups.",
        )
        .gives(Good::Page("backups", own!(view::BackupItem<'_>)))
        .query(paged(vec![param("vm_id", "string", "Only of this guest."), QUERY])),
        route(
            Method::POST,
            "/v1/backups",
            "create_backup",
            "backup:write",
            handler!(backups::post),
            "Backs a guest up.",
        )
        .takes(Body::Json(own!(backups::CreateBackup)))
        .gives(Good::Started(
            201,
            own!(Option<model::BackupId>),
            &[("backup", own!(shapes::MadeBackup)), ("unapplied", many!(String))],
        )),
        route(
            Method::GET,
            "/v1/backups/{backup_id}",
            "get_backup",
            "backup:read",
            handler!(backups::get),
            "Reads one backup.",
        )
        .gives(Good::Data(&[("backup", own!(view::BackupItem<'_>))])),
        route(
            Method::DELETE,
            "/v1/backups/{backup_id}",
            "delete_backup",
            "backup:write",
            handler!(backups::delete),
            "Deletes a backup.",
        )
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::POST,
            "/v1/backups/{backup_id}/restore",
            "restore_backup",
            "backup:write",
            handler!(backups::restore),
            "Makes a guest from a backup, or overwrites the one that it was made of.",
        )
        .takes(Body::Maybe(own!(backups::Restore)))
        .gives(Good::Started(201, own!(model::VmId), &[("vm", own!(shapes::RestoredVm))])),
    ]
}
