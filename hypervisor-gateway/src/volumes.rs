//! Volumes, and their content as streams.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use futures::StreamExt as _;
use hypervisor_core::Operation;
use hypervisor_core::model::{
    ByteStream, CloneVolume, DownloadVolume, PoolId, ResizeVolume, UploadVolume, VolumeId, VolumeInfo,
    VolumeSpec, WipeAlgorithm,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::{Call, broken};
use crate::compute::WithSpec;
use crate::problem::Problem;
use crate::view::VolumeItem;
use crate::{jobs, paging};

pub(crate) async fn list(call: Call) -> Reply {
    let (pool, hv): (&PoolId, _) = (&call.id("pool_id")?, call.hv());
    let fetch = |page| async move { hv.list_volumes(pool, &page).await };
    let sort = |all: &mut Vec<VolumeInfo>| all.sort_by(|a, b| a.id.cmp(&b.id));
    paging::list(&call, "volumes", sort, fetch).await
}

pub(crate) async fn get(call: Call) -> Reply {
    let volume = call.hv().get_volume(&call.id("volume_id")?).await?;
    Answer::ok(&json!({ "volume": VolumeItem::of(&volume) }))
}

pub(crate) async fn post(call: Call) -> Reply {
    let spec = call.json::<WithSpec<VolumeSpec>>()?.spec;
    let needs = spec.needs();
    let begun = jobs::run(&call, Operation::CreateVolume, None, &needs, move |hv| async move {
        hv.create_volume(&spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("volume", made)])
}

pub(crate) async fn clone(call: Call) -> Reply {
    let volume: VolumeId = call.id("volume_id")?;
    let spec = call.json::<WithSpec<CloneVolume>>()?.spec;
    let begun = jobs::run(&call, Operation::CloneVolume, None, &[], move |hv| async move {
        hv.clone_volume(&volume, &spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("volume", made)])
}

/// `{"options": …}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WithOptions<T> {
    /// The model's options.
    pub(crate) options: T,
}

pub(crate) async fn resize(call: Call) -> Reply {
    let volume: VolumeId = call.id("volume_id")?;
    let options = call.json::<WithOptions<ResizeVolume>>()?.options;
    let needs = options.needs();
    let begun = jobs::run(&call, Operation::ResizeVolume, None, &needs, move |hv| async move {
        hv.resize_volume(&volume, &options).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

/// The body of `POST /v1/volumes/{volume_id}/wipe`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Wipe {
    /// `zero` without one.
    algorithm: WipeAlgorithm,
}

impl Default for Wipe {
    fn default() -> Self {
        Self { algorithm: WipeAlgorithm::Zero }
    }
}

pub(crate) async fn wipe(call: Call) -> Reply {
    let (volume, body): (VolumeId, Wipe) = (call.id("volume_id")?, call.json_or_default()?);
    let needs = body.algorithm.needs();
    let begun = jobs::run(&call, Operation::WipeVolume, None, &needs, move |hv| async move {
        hv.wipe_volume(&volume, body.algorithm).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let volume: VolumeId = call.id("volume_id")?;
    let begun = jobs::run(&call, Operation::DeleteVolume, None, &[], move |hv| async move {
        hv.delete_volume(&volume).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn upload(mut call: Call) -> Reply {
    let target: UploadVolume =
        call.json_query("target")?.ok_or_else(|| Problem::invalid("target", "is missing"))?;
    let (length, chunks) = call.take_stream()?;
    let content = ByteStream::new(length, chunks.map(|chunk| chunk.map_err(|error| broken(&error))));
    let needs = target.needs();
    let begun = jobs::run(&call, Operation::UploadVolume, None, &needs, move |hv| async move {
        hv.upload_volume(&target, content).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::OK, [("volume", made)])
}

pub(crate) async fn download(call: Call) -> Reply {
    let options: DownloadVolume = call.json_query("options")?.unwrap_or_default();
    call.hv().capabilities().require_all(Operation::DownloadVolume, &options.needs())?;
    let content = call.hv().download_volume(&call.id("volume_id")?, &options).await?;
    let length = content.length();
    // A stream that breaks breaks the connection, so that the announced length is missed and nobody takes the part for the whole.
    let mut response = Response::new(Body::from_stream(content.into_chunks()));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(Answer::Raw(response))
}
