//! `/pools`.

use serde_json::{Value, json};

use super::call::Call;
use super::cluster::{Cluster, Pool};
use super::cluster_routes::pool_members;
use super::reply::{Outcome, Refusal, data, done};

fn missing(name: &str) -> String {
    format!("pool '{name}' does not exist")
}

fn members(cluster: &Cluster, pool: &Pool) -> Vec<Value> {
    let guests: Vec<u32> = pool.guests.iter().copied().collect();
    let storages: Vec<String> = pool.storages.iter().cloned().collect();
    pool_members(cluster, &guests, &storages)
}

fn row(cluster: &Cluster, name: &str, pool: &Pool, full: bool) -> Value {
    let mut row = json!({ "poolid": name });
    if let Some(row) = row.as_object_mut() {
        if let Some(comment) = &pool.comment {
            row.insert("comment".into(), comment.as_str().into());
        }
        if full {
            row.insert("members".into(), members(cluster, pool).into());
        }
    }
    row
}

/// `GET /pools`.
pub(super) fn list(cluster: &Cluster, call: &Call) -> Outcome {
    if let Some(name) = call.get("poolid") {
        cluster.need(&call.who, &format!("/pool/{name}"), &["Pool.Audit"])?;
        let pool = cluster.pools.get(name).ok_or_else(|| Refusal::die(missing(name)))?;
        return data(vec![row(cluster, name, pool, true)]);
    }
    let visible = |name: &str| cluster.may(&call.who, &format!("/pool/{name}"), &["Pool.Audit"]);
    let pools = cluster.pools.iter().filter(|(name, _)| visible(name));
    data(pools.map(|(name, pool)| row(cluster, name, pool, false)).collect::<Vec<_>>())
}

/// `GET /pools/{poolid}`.
pub(super) fn get(cluster: &Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/pool/{name}"), &["Pool.Audit"])?;
    let pool = cluster.pools.get(name).ok_or_else(|| Refusal::die(missing(name)))?;
    data(row(cluster, name, pool, true))
}

/// `POST /pools`.
pub(super) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    let name = call.params.needed("poolid")?.to_owned();
    cluster.need(&call.who, &format!("/pool/{name}"), &["Pool.Allocate"])?;
    cluster.need_quorum(|| "create pool failed: cfs-lock 'file-user_cfg' error: no quorum!".to_owned())?;
    if cluster.pools.contains_key(&name) {
        return Err(Refusal::die(format!("create pool failed: pool '{name}' already exists")));
    }
    let comment = call.params.text("comment");
    cluster.pools.insert(name, Pool { comment, ..Pool::default() });
    done()
}

/// `PUT /pools/{poolid}` and `PUT /pools?poolid=`.
pub(super) fn update(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/pool/{name}"), &["Pool.Allocate"])?;
    let failed = |why: String| Refusal::die(format!("update pools failed: {why}"));
    if !cluster.pools.contains_key(name) {
        return Err(failed(missing(name)));
    }
    let guests: Vec<u32> = call.params.list("vms").into_iter().filter_map(|id| id.parse().ok()).collect();
    let storages: Vec<String> = call.params.list("storage").into_iter().map(str::to_owned).collect();
    let delete = call.flag("delete");
    for vmid in &guests {
        cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Allocate"])?;
        let current = cluster.pool_of(*vmid).map(str::to_owned);
        match (&current, delete) {
            (Some(other), true) if other == name => {}
            (_, true) => return Err(failed(format!("VM {vmid} is not a pool member"))),
            (Some(other), false) if other == name => {
                return Err(failed(format!("VM {vmid} is already a pool member")));
            }
            (Some(other), false) if !call.flag("allow-move") => {
                return Err(failed(format!(
                    "VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set"
                )));
            }
            _ if !cluster.guests.contains_key(vmid) => {
                return Err(failed(format!("VM {vmid} does not exist")));
            }
            _ => {}
        }
    }
    for vmid in guests {
        for pool in cluster.pools.values_mut() {
            pool.guests.remove(&vmid);
        }
        if let (Some(pool), false) = (cluster.pools.get_mut(name), delete) {
            pool.guests.insert(vmid);
        }
    }
    if let Some(pool) = cluster.pools.get_mut(name) {
        for storage in storages {
            if delete {
                pool.storages.remove(&storage);
            } else {
                pool.storages.insert(storage);
            }
        }
        if let Some(comment) = call.get("comment") {
            pool.comment = (!comment.is_empty()).then(|| comment.to_owned());
        }
    }
    done()
}

/// `DELETE /pools/{poolid}` and `DELETE /pools?poolid=`.
pub(super) fn delete(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/pool/{name}"), &["Pool.Allocate"])?;
    let failed = |why: String| Refusal::die(format!("delete pool failed: {why}"));
    let pool = cluster.pools.get(name).ok_or_else(|| failed(missing(name)))?;
    if let Some(vmid) = pool.guests.first() {
        return Err(failed(format!("pool '{name}' is not empty (contains VM {vmid})")));
    }
    if let Some(storage) = pool.storages.first() {
        return Err(failed(format!("pool '{name}' is not empty (contains storage '{storage}')")));
    }
    cluster.pools.remove(name);
    done()
}
