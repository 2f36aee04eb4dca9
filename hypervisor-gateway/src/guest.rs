//! What goes through the agent inside a guest.

use futures::StreamExt as _;
use hypervisor_core::Operation;
use hypervisor_core::model::{AddressSource, ByteSize, ByteStream, ExecSpec, VmId, WriteFile};
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::{Call, broken};
use crate::compute::WithSpec;
use crate::problem::{Problem, Result};

/// Files inside guests are held in memory on their way; more is for volumes.
const MOST_BYTES: u64 = 64 << 20;

pub(crate) async fn ping(call: Call) -> Reply {
    call.hv().ping_agent(&call.id("vm_id")?).await?;
    Answer::ok(&json!({ "agent": "available" }))
}

pub(crate) async fn addresses(call: Call) -> Reply {
    // JSON by the agreement, so that the name comes in quotes.
    let source = call.text("source").map(|source| source.trim_matches('"').parse::<AddressSource>());
    let source = source.transpose()?;
    let needs = source.map(AddressSource::needs).unwrap_or_default();
    call.hv().capabilities().require_all(Operation::ListAddresses, &needs)?;
    Answer::ok(&json!({ "addresses": call.hv().list_addresses(&call.id("vm_id")?, source).await? }))
}

pub(crate) async fn exec(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<ExecSpec>) = (call.id("vm_id")?, call.json()?);
    tracing::info!(vm = vm.as_str(), by = call.who.id, "a command is run in a guest");
    Answer::ok(&json!({ "output": call.hv().exec_in_guest(&vm, &body.spec).await? }))
}

fn path(call: &Call) -> Result<&str> {
    call.text("path").ok_or_else(|| Problem::invalid("path", "is missing"))
}

pub(crate) async fn read_file(call: Call) -> Reply {
    let limit: u64 = call.parsed("limit")?.unwrap_or(MOST_BYTES);
    let limit = ByteSize::bytes(limit.min(MOST_BYTES));
    let content = call.hv().read_guest_file(&call.id("vm_id")?, path(&call)?, limit).await?;
    Answer::bytes("application/octet-stream", content)
}

pub(crate) async fn write_file(mut call: Call) -> Reply {
    let vm: VmId = call.id("vm_id")?;
    let path = path(&call)?.to_owned();
    let options: WriteFile = call.json_query("options")?.unwrap_or_default();
    let (length, chunks) = call.take_stream()?;
    let content = ByteStream::new(length, chunks.map(|chunk| chunk.map_err(|error| broken(&error))));
    let content = content.collect(MOST_BYTES).await?;
    call.hv().write_guest_file(&vm, &path, content, &options).await?;
    Answer::ok(&json!({ "path": path, "bytes": length }))
}

pub(crate) async fn freeze(call: Call) -> Reply {
    Answer::ok(&json!({ "count": call.hv().freeze_filesystems(&call.id("vm_id")?).await? }))
}

pub(crate) async fn thaw(call: Call) -> Reply {
    Answer::ok(&json!({ "count": call.hv().thaw_filesystems(&call.id("vm_id")?).await? }))
}
