//! Many operations from a file, one outcome a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypervisor::model::{BatchItem, BatchOutcome, BatchOutput, BatchRequest, OnError};
use hypervisor::{Error, Hypervisor, Result, VmQuery};
use serde_json::{Value, json};

use super::Ui;
use super::cli::Batch;
use super::exit::{self, Stop};
use super::progress::Waiter;
use super::table::Look;
use super::text::plain;

pub(crate) async fn run(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Batch,
) -> Result<u8, Stop> {
    let mut json = read(args)?;
    name_by_id(hv, &mut json).await?;
    let request = request(args, json, waiter)?;
    let bar = waiter.spinner(&format!("batch of {}", request.items.len()));
    // The builder refuses what the backend cannot do before anything is begun.
    let mut batch = hv.batch().concurrency(request.concurrency).per_key(request.per_key);
    batch = batch.on_error(request.on_error).item_deadline(request.item_deadline);
    batch = request.items.iter().cloned().fold(batch, |batch, item| batch.push(item));
    let report = batch.run().await;
    bar.finish_and_clear();
    let mut code = exit::OK;
    for (index, (item, outcome)) in request.items.iter().zip(report?.outcomes).enumerate() {
        if ui.json {
            ui.value_line(&json!({ "item": index, "operation": item.op.operation(), "vm": item.op.vm(), "outcome": outcome }));
        } else {
            let about = item.op.vm().map(|vm| format!(" {vm}")).unwrap_or_default();
            let (word, look, rest) = words(&outcome);
            let word = ui.paint(look, &format!("{word:<8}"));
            ui.line(format!("{index:>4}  {word}  {}{about}{}", item.op.operation(), plain(&rest)));
        }
        let this = match &outcome {
            BatchOutcome::Done(_) => exit::OK,
            BatchOutcome::Failed(error) => exit::code(error),
            BatchOutcome::Unknown { .. } => exit::UNKNOWN,
            _ => exit::FAILED,
        };
        code = if code == exit::OK { this } else { code };
    }
    Ok(code)
}

fn words(outcome: &BatchOutcome) -> (&'static str, Look, String) {
    match outcome {
        BatchOutcome::Done(BatchOutput::Vm(id)) => ("done", Look::Good, format!(" -> vm {id}")),
        BatchOutcome::Done(BatchOutput::Volume(id)) => ("done", Look::Good, format!(" -> volume {id}")),
        BatchOutcome::Done(BatchOutput::Snapshot(id)) => ("done", Look::Good, format!(" -> snapshot {id}")),
        BatchOutcome::Done(_) => ("done", Look::Good, String::new()),
        BatchOutcome::Failed(error) => ("failed", Look::Bad, format!(": {error}")),
        BatchOutcome::Skipped(why) => ("skipped", Look::Dim, format!(": {why}")),
        BatchOutcome::Unknown { error, task } => {
            let task = task.as_ref().map(|task| format!(" (task {task})")).unwrap_or_default();
            ("unknown", Look::Warn, format!("{task}: {error}"))
        }
        BatchOutcome::Compensated => ("undone", Look::Warn, String::new()),
        other => ("?", Look::Warn, format!(": {other:?}")),
    }
}

fn bad(why: impl Into<String>) -> Error {
    Error::invalid("FILE", why)
}

fn read(args: &Batch) -> Result<Value> {
    let text = if args.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(|error| bad(format!("{}: {error}", args.file.display())))?;
    serde_json::from_str(&text).map_err(|error| bad(format!("{}: {error}", args.file.display())))
}

/// A whole request, or a list of items, each with `op` or being one.
fn request(args: &Batch, json: Value, waiter: &Waiter) -> Result<BatchRequest> {
    let mut request: BatchRequest = if json.is_array() {
        let items: Vec<Value> = serde_json::from_value(json).map_err(|error| bad(error.to_string()))?;
        let items = items.into_iter().enumerate().map(|(index, item)| {
            let item = if item.get("op").is_some() { item } else { json!({ "op": item }) };
            serde_json::from_value::<BatchItem>(item).map_err(|error| bad(format!("item {index}: {error}")))
        });
        BatchRequest::new(items.collect::<Result<Vec<_>>>()?).item_deadline(waiter.deadline())
    } else {
        let says = json.get("item_deadline").is_some();
        let request: BatchRequest = serde_json::from_value(json).map_err(|error| bad(error.to_string()))?;
        if says { request } else { request.item_deadline(waiter.deadline()) }
    };
    request.concurrency = args.concurrency.unwrap_or(request.concurrency);
    if args.stop_on_error {
        request.on_error = OnError::Stop;
    }
    Ok(request)
}

/// Puts ids in the place of names. What is an id stays, and what is neither is left for the backend to refuse.
async fn name_by_id(hv: &Arc<dyn Hypervisor>, json: &mut Value) -> Result<()> {
    let listing = hv.vms().all(&VmQuery::all()).await?;
    let ids: Vec<&str> = listing.items.iter().map(|vm| vm.id.as_str()).collect();
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for vm in &listing.items {
        names.entry(vm.name.as_str()).or_default().push(vm.id.as_str());
    }
    let items = if json.is_array() { Some(json) } else { json.get_mut("items") };
    for item in items.and_then(Value::as_array_mut).into_iter().flatten() {
        let has_op = item.get("op").is_some();
        let parts = if has_op { vec!["op", "compensate"] } else { vec![""] };
        for part in parts {
            let op = if part.is_empty() { Some(&mut *item) } else { item.get_mut(part) };
            let bodies = op.and_then(Value::as_object_mut).into_iter().flat_map(|op| op.values_mut());
            for vm in bodies.filter_map(|body| body.get_mut("vm")) {
                let Some(text) = vm.as_str().filter(|text| !ids.contains(text)) else { continue };
                match names.get(text).map(Vec::as_slice) {
                    Some([id]) => *vm = Value::from(*id),
                    Some(_) => return Err(bad(format!("several guests are called `{text}`: use the id"))),
                    None => {}
                }
            }
        }
    }
    Ok(())
}
