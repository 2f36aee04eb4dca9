//! Resource groups.

use axum::http::StatusCode;
use hypervisor_core::Operation;
use hypervisor_core::model::{GroupChange, GroupId, GroupSpec};
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::compute::WithSpec;
use crate::devices::WithChange;
use crate::view::GroupItem;
use crate::{jobs, paging};

pub(crate) async fn list(call: Call) -> Reply {
    let hv = call.hv();
    let fetch = |page| async move { hv.list_groups(&page).await };
    paging::list(&call, "groups", |_| {}, fetch).await
}

pub(crate) async fn get(call: Call) -> Reply {
    let group = call.hv().get_group(&call.id("group_id")?).await?;
    Answer::ok(&json!({ "group": GroupItem::of(&group) }))
}

pub(crate) async fn post(call: Call) -> Reply {
    let spec = call.json::<WithSpec<GroupSpec>>()?.spec;
    let begun =
        jobs::run(
            &call,
            Operation::CreateGroup,
            None,
            &[],
            move |hv| async move { hv.create_group(&spec).await },
        )
        .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("group", made)])
}

pub(crate) async fn put(call: Call) -> Reply {
    let group: GroupId = call.id("group_id")?;
    let change = call.json::<WithChange<GroupChange>>()?.change;
    let begun = jobs::run(&call, Operation::UpdateGroup, None, &[], move |hv| async move {
        hv.update_group(&group, &change).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let group: GroupId = call.id("group_id")?;
    let begun = jobs::run(&call, Operation::DeleteGroup, None, &[], move |hv| async move {
        hv.delete_group(&group).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}
