//! Storage pools.

use axum::http::StatusCode;
use hypervisor_core::Operation;
use hypervisor_core::model::{DeletePool, PoolId, PoolInfo, PoolKind, PoolQuery, PoolSpec};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::problem::Problem;
use crate::view::PoolItem;
use crate::{jobs, paging};

pub(crate) async fn list(call: Call) -> Reply {
    let query: &PoolQuery = &call.json_query("query")?.unwrap_or_default();
    let hv = call.hv();
    let fetch = |page| async move { hv.list_pools(query, &page).await };
    let sort = |all: &mut Vec<PoolInfo>| all.sort_by(|a, b| a.id.cmp(&b.id));
    paging::list(&call, "pools", sort, fetch).await
}

pub(crate) async fn get(call: Call) -> Reply {
    let pool = call.hv().get_pool(&call.id("pool_id")?).await?;
    Answer::ok(&json!({ "pool": PoolItem::of(&pool) }))
}

/// The body of `POST /v1/storage`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreatePool {
    #[serde(default)]
    name: Option<String>,
    /// `dir` without one.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Where it lies on the host.
    #[serde(default)]
    path: Option<String>,
    /// The model's `PoolSpec`, instead of the fields above.
    #[serde(default)]
    spec: Option<PoolSpec>,
}

pub(crate) async fn post(call: Call) -> Reply {
    let body: CreatePool = call.json()?;
    let spec = match (body.spec, body.name) {
        (Some(spec), _) => spec,
        (None, Some(name)) => {
            let mut spec = PoolSpec::new(name, PoolKind::parse(body.kind.as_deref().unwrap_or("dir")));
            spec.target = body.path;
            spec
        }
        (None, None) => return Err(Problem::invalid("name", "is missing")),
    };
    let begun =
        jobs::run(
            &call,
            Operation::CreatePool,
            None,
            &[],
            move |hv| async move { hv.create_pool(&spec).await },
        )
        .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("pool", made)])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let pool: PoolId = call.id("pool_id")?;
    let options: DeletePool = call.json_query("options")?.unwrap_or_default();
    let begun = jobs::run(&call, Operation::DeletePool, None, &[], move |hv| async move {
        hv.delete_pool(&pool, &options).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}
