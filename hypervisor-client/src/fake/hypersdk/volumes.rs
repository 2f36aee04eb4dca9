//! Pools and volumes: GiB in, bytes out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::Answer;
use super::route::{Call, Handled};
use super::state::{State, Volume, path};

const GIB: u64 = 1 << 30;

fn no_pool(pool: &str) -> String {
    format!(
        "error: failed to get pool '{pool}'\nerror: Storage pool not found: no storage pool with matching name '{pool}'\n\n"
    )
}

fn no_volume(volume: &str) -> String {
    format!(
        "error: failed to get vol '{volume}'\nerror: Storage volume not found: no storage vol with matching path '{volume}'\n\n"
    )
}

type Volumes = BTreeMap<String, Volume>;

/// A pool, or what `virsh` writes where there is none.
fn in_pool<'a>(state: &'a mut State, what: &str, pool: &str) -> Result<&'a mut Volumes, Answer> {
    state.pools.get_mut(pool).ok_or_else(|| Answer::tool(what, &no_pool(pool)))
}

pub(super) fn pools(state: &mut State, _: &Call) -> Handled {
    let row = |name: &String| json!({"name": name, "uuid": "", "state": "active", "capacity": 0, "available": 0, "path": ""});
    let pools: Vec<Value> = state.pools.keys().map(row).collect();
    Ok(Answer::ok(&json!({"total": pools.len(), "pools": pools})))
}

pub(super) fn list(state: &mut State, call: &Call) -> Handled {
    let pool = match call.parameter("pool") {
        "" => "default",
        pool => pool,
    };
    let Some(volumes) = state.pools.get(pool) else {
        return Ok(Answer::error(500, "failed to list volumes: exit status 1"));
    };
    let row = |name: &String| json!({"name": name, "path": path(pool, name), "type": "", "capacity": 0, "format": ""});
    let volumes: Vec<Value> = volumes.keys().map(row).collect();
    Ok(Answer::ok(&json!({"pool": pool, "total": volumes.len(), "volumes": volumes})))
}

pub(super) fn info(state: &mut State, call: &Call) -> Handled {
    let (pool, name) = (call.parameter("pool"), call.parameter("volume"));
    if pool.is_empty() || name.is_empty() {
        return Ok(Answer::text(400, "missing pool or volume parameter"));
    }
    let Some(volume) = state.pools.get(pool).and_then(|volumes| volumes.get(name)) else {
        return Ok(Answer::error(404, "volume not found: exit status 1"));
    };
    Ok(Answer::ok(&json!({
        "name": name, "pool": pool, "path": path(pool, name), "type": "file", "capacity": volume.capacity,
        "allocation": volume.allocation, "format": volume.format,
    })))
}

/// A number of GiB in bytes; what libvirt cannot count is an answer.
fn bytes(what: &str, gib: i64) -> Result<u64, Answer> {
    let counted = u64::try_from(gib)
        .ok()
        .and_then(|gib| gib.checked_mul(GIB))
        .filter(|bytes| i64::try_from(*bytes).is_ok());
    counted
        .ok_or_else(|| Answer::tool(what, &format!("error: numerical overflow: value too large: {gib}G\n\n")))
}

pub(super) fn create(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (pool, name, mut format) = (body.text("pool")?, body.text("name")?, body.text("format")?);
    let gib = body.number("capacity")?;
    body.flag("prealloc")?;
    if format.is_empty() {
        "qcow2".clone_into(&mut format);
    }
    let capacity = bytes("create volume", gib)?;
    let volumes = in_pool(state, "create volume", &pool)?;
    if volumes.contains_key(&name) {
        let wrote =
            format!("error: Failed to create vol {name}\nerror: storage volume '{name}' exists already\n\n");
        return Ok(Answer::tool("create volume", &wrote));
    }
    volumes.insert(name.clone(), Volume { capacity, allocation: 200_704, format: format.clone() });
    Ok(Answer::json(
        201,
        &json!({
            "status": "success", "message": format!("Volume {name} created"), "pool": pool, "path": path(&pool, &name),
            "name": name, "format": format, "capacity": gib,
        }),
    ))
}

pub(super) fn clone(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (pool, source, target) =
        (body.text("pool")?, body.text("source_volume")?, body.text("target_volume")?);
    let mut target_pool = body.text("target_pool")?;
    if target_pool.is_empty() {
        target_pool.clone_from(&pool);
    }
    let volumes = in_pool(state, "clone volume", &pool)?;
    let Some(volume) = volumes.get(&source).cloned() else {
        return Ok(Answer::tool("clone volume", &no_volume(&source)));
    };
    if volumes.contains_key(&target) {
        let wrote = format!(
            "error: Failed to clone vol from {source}\nerror: storage volume '{target}' exists already\n\n"
        );
        return Ok(Answer::tool("clone volume", &wrote));
    }
    volumes.insert(target.clone(), volume);
    Ok(Answer::json(
        201,
        &json!({
            "status": "success", "message": format!("Volume {source} cloned to {target}"), "source_volume": source,
            "path": path(&target_pool, &target), "target_volume": target, "target_pool": target_pool,
        }),
    ))
}

pub(super) fn resize(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (pool, name, gib) = (body.text("pool")?, body.text("volume")?, body.number("capacity")?);
    let shrink = body.flag("shrink")?;
    let capacity = bytes("resize volume", gib)?;
    let Some(volume) = in_pool(state, "resize volume", &pool)?.get_mut(&name) else {
        return Ok(Answer::tool("resize volume", &no_volume(&name)));
    };
    if capacity < volume.capacity && !shrink {
        let wrote = "error: invalid argument: Can't shrink capacity below current capacity unless shrink flag explicitly specified\n\n";
        return Ok(Answer::tool("resize volume", wrote));
    }
    volume.capacity = capacity;
    Ok(Answer::ok(&json!({
        "status": "success", "message": format!("Volume {name} resized to {gib}GB"), "pool": pool, "volume": name,
        "new_capacity": gib,
    })))
}

pub(super) fn delete(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (pool, name) = (body.text("pool")?, body.text("volume")?);
    if in_pool(state, "delete volume", &pool)?.remove(&name).is_none() {
        return Ok(Answer::tool("delete volume", &no_volume(&name)));
    }
    let message = format!("Volume {name} deleted");
    Ok(Answer::ok(&json!({"status": "success", "message": message, "pool": pool, "volume": name})))
}

pub(super) fn upload(state: &mut State, call: &Call) -> Handled {
    let body = call.json()?;
    let (pool, name, source) = (body.text("pool")?, body.text("volume")?, body.text("source_path")?);
    let mut format = body.text("format")?;
    if format.is_empty() {
        "qcow2".clone_into(&mut format);
    }
    if source.contains("missing") || source.is_empty() {
        return Ok(Answer::error(400, "failed to read source image: exit status 1"));
    }
    let volumes = in_pool(state, "create volume", &pool)?;
    if volumes.contains_key(&name) {
        let wrote =
            format!("error: Failed to create vol {name}\nerror: storage volume '{name}' exists already\n\n");
        return Ok(Answer::tool("create volume", &wrote));
    }
    volumes.insert(name.clone(), Volume { capacity: GIB, allocation: 200_704, format: format.clone() });
    Ok(Answer::json(
        201,
        &json!({
            "status": "success", "message": format!("Image uploaded to volume {name}"), "pool": pool,
            "path": path(&pool, &name), "volume": name, "format": format, "capacity_gb": 1, "source": source,
        }),
    ))
}

pub(super) fn wipe(state: &mut State, call: &Call) -> Handled {
    const KNOWN: [&str; 9] =
        ["zero", "nnsa", "dod", "bsi", "gutmann", "schneier", "pfitzner7", "pfitzner33", "random"];
    let body = call.json()?;
    let (pool, name, mut algorithm) = (body.text("pool")?, body.text("volume")?, body.text("algorithm")?);
    if algorithm.is_empty() {
        "zero".clone_into(&mut algorithm);
    }
    if !KNOWN.contains(&algorithm.as_str()) {
        return Ok(Answer::tool("wipe volume", &format!("error: Unsupported algorithm '{algorithm}'\n\n")));
    }
    if !in_pool(state, "wipe volume", &pool)?.contains_key(&name) {
        return Ok(Answer::tool("wipe volume", &no_volume(&name)));
    }
    Ok(Answer::ok(&json!({
        "status": "success", "message": format!("Volume {name} wiped using {algorithm} algorithm"), "pool": pool,
        "volume": name, "algorithm": algorithm,
    })))
}
