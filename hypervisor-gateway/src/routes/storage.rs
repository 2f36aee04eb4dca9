//! Pools and volumes.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{OPTIONS, QUERY, handler, made, own, paged, param, route, with};
use super::{Body, Good, Route};
use crate::{storage, view, volumes};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/storage",
            "list_pools",
            "storage:read",
            handler!(storage::list),
            "Lists the storage pools.",
        )
        .gives(Good::Page("pools", own!(view::PoolItem<'_>)))
        .query(paged(vec![QUERY])),
        route(
            Method::POST,
            "/v1/storage",
            "create_pool",
            "storage:write",
            handler!(storage::post),
            "Creates a storage pool.",
        )
        .takes(Body::Json(own!(storage::CreatePool)))
        .gives(Good::Started(201, own!(model::PoolId), &[("pool", made!(model::PoolId))])),
        route(
            Method::GET,
            "/v1/storage/{pool_id}",
            "get_pool",
            "storage:read",
            handler!(storage::get),
            "Reads one storage pool.",
        )
        .gives(Good::Data(&[("pool", own!(view::PoolItem<'_>))])),
        route(
            Method::DELETE,
            "/v1/storage/{pool_id}",
            "delete_pool",
            "storage:write",
            handler!(storage::delete),
            "Deletes a storage pool.",
        )
        .gives(Good::Started(200, own!(()), &[]))
        .query(vec![OPTIONS]),
        route(
            Method::GET,
            "/v1/storage/{pool_id}/volumes",
            "list_volumes",
            "storage:read",
            handler!(volumes::list),
            "Lists the volumes of a pool.",
        )
        .gives(Good::Page("volumes", own!(view::VolumeItem<'_>)))
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/volumes",
            "create_volume",
            "storage:write",
            handler!(volumes::post),
            "Creates a volume.",
        )
        .takes(Body::Json(with!("spec", model::VolumeSpec)))
        .gives(Good::Started(201, own!(model::VolumeId), &[("volume", made!(model::VolumeId))])),
        route(
            Method::PUT,
            "/v1/volumes/upload",
            "upload_volume",
            "storage:write",
            handler!(volumes::upload),
            "Writes a stream of bytes into a volume. Needs a Content-Length.",
        )
        .takes(Body::Bytes)
        .gives(Good::Started(200, own!(model::VolumeId), &[("volume", made!(model::VolumeId))]))
        .query(vec![param("target", "json", "The model's UploadVolume as JSON.")]),
        route(
            Method::GET,
            "/v1/volumes/{volume_id}",
            "get_volume",
            "storage:read",
            handler!(volumes::get),
            "Reads one volume.",
        )
        .gives(Good::Data(&[("volume", own!(view::VolumeItem<'_>))])),
        route(
            Method::DELETE,
            "/v1/volumes/{volume_id}",
            "delete_volume",
            "storage:write",
            handler!(volumes::delete),
            "Deletes a volume.",
        )
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::GET,
            "/v1/volumes/{volume_id}/content",
            "download_volume",
            "storage:read",
            handler!(volumes::download),
            "Reads a volume as a stream of bytes.",
        )
        .gives(Good::Bytes("application/octet-stream"))
        .query(vec![OPTIONS]),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/clone",
            "clone_volume",
            "storage:write",
            handler!(volumes::clone),
            "Copies a volume.",
        )
        .takes(Body::Json(with!("spec", model::CloneVolume)))
        .gives(Good::Started(201, own!(model::VolumeId), &[("volume", made!(model::VolumeId))])),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/resize",
            "resize_volume",
            "storage:write",
            handler!(volumes::resize),
            "Changes a volume's size.",
        )
        .takes(Body::Json(with!("options", model::ResizeVolume)))
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/wipe",
            "wipe_volume",
            "storage:write",
            handler!(volumes::wipe),
            "Overwrites a volume's content.",
        )
        .takes(Body::Maybe(own!(volumes::Wipe)))
        .gives(Good::Started(200, own!(()), &[])),
    ]
}
