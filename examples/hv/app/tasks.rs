//! Long work: what goes on, how far it is, what it says.

use std::sync::Arc;

use futures::StreamExt as _;
use hypervisor::Hypervisor;
use hypervisor::handle::WaitOptions;
use hypervisor::model::{TaskQuery, TaskState};

use super::Ui;
use super::cli::{Tasks, TasksCommand as Command};
use super::exit::{self, Stop};
use super::guests::{find, report};
use super::progress::{Done, Waiter};
use super::table::{Cell, Look, Table};
use super::text::{NOTHING, or_dash, percent, plain, utc};

pub(crate) async fn run(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Tasks,
) -> Result<u8, Stop> {
    match &args.command {
        None => list(hv, ui, args).await,
        Some(Command::Follow { task }) => {
            let followed = hv.task(task.as_str()).with_deadline(waiter.deadline());
            let ((), warnings) = waiter.follow(task, &followed).await?;
            Ok(report(ui, Done::Finished((), warnings), "done", task, |()| None))
        }
        Some(Command::Log { task }) => {
            let options = WaitOptions::new().deadline(waiter.deadline());
            let mut log = hv.task(task.as_str()).with_options(options).log();
            while let Some(line) = log.next().await {
                let line = line?;
                if ui.json {
                    ui.value_line(&line)
                } else {
                    ui.line(plain(&line.text))
                }
                if ui.broken {
                    break;
                }
            }
            Ok(exit::OK)
        }
        Some(Command::Cancel { task }) => {
            hv.task(task.as_str()).cancel().await?;
            Ok(report(ui, Done::Finished((), Vec::new()), "asked to end", task, |()| None))
        }
    }
}

async fn list(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Tasks) -> Result<u8, Stop> {
    let mut query = TaskQuery::all();
    if let Some(vm) = &args.vm {
        query.vm = Some(find(hv, vm).await?.id().clone());
    }
    let mut listing = hv.tasks().all(&query).await?;
    listing.items.retain(|task| !(args.running && task.state.is_final()));
    Ok(ui.list(&listing, |tasks| {
        let mut table = Table::new(["TASK", "WHAT", "VM", "STATE", ">DONE", "STARTED (UTC)", "SAYS"]);
        for task in tasks {
            let look = match task.state {
                TaskState::Succeeded => Look::Good,
                TaskState::Failed => Look::Bad,
                _ => Look::Warn,
            };
            let says = task.error.as_deref().or(task.stage.as_deref()).unwrap_or_default();
            table.row([
                task.id.as_str().into(),
                or_dash(task.operation).into(),
                or_dash(task.vm.as_ref()).into(),
                Cell::new(task.state.as_str(), look),
                task.progress.map_or_else(|| NOTHING.to_owned(), percent).into(),
                or_dash(task.started.map(utc)).into(),
                says.into(),
            ]);
        }
        table
    }))
}
