//! What goes through the agent inside a guest, and where a guest can be reached.

use std::io::Read as _;
use std::sync::Arc;

use hypervisor::handle::Listing;
use hypervisor::model::ExecSpec;
use hypervisor::{Error, GuestAddress, Hypervisor};
use serde_json::json;

use super::Ui;
use super::cli::{Addresses, Exec};
use super::exit::{self, Stop};
use super::guests::find;
use super::progress::Waiter;
use super::table::{Cell, Look, Table};
use super::text::or_dash;

pub(crate) async fn addresses(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Addresses,
) -> Result<u8, Stop> {
    let vm = find(hv, &args.vm).await?;
    if waiter.waits() {
        let bar = waiter.spinner(&format!("address of {}", args.vm));
        let found = vm.wait_for_address(waiter.deadline(), GuestAddress::is_reachable).await;
        bar.finish_and_clear();
        found?;
    }
    let listing = Listing::from(vm.addresses().await?);
    Ok(ui.list(&listing, |addresses| {
        let mut table = Table::new(["ADDRESS", "NIC", "MAC", "KNOWN BY"]);
        for each in addresses {
            let width = each.prefix.map(|width| format!("/{width}")).unwrap_or_default();
            table.row([
                Cell::new(
                    format!("{}{width}", each.address),
                    if each.is_reachable() { Look::Bold } else { Look::Dim },
                ),
                or_dash(each.interface.as_ref()).into(),
                or_dash(each.mac).into(),
                each.source.as_str().into(),
            ]);
        }
        table
    }))
}

/// What the command writes is passed on as it is, and so is its exit code.
pub(crate) async fn exec(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Exec,
) -> Result<u8, Stop> {
    let mut words = args.command.iter();
    let program = words.next().ok_or_else(|| Error::invalid("COMMAND", "say what to run"))?;
    let mut spec = ExecSpec::new(program).args(words.cloned().collect()).deadline(args.timeout);
    if args.stdin {
        let mut input = Vec::new();
        let read = std::io::stdin().read_to_end(&mut input);
        read.map_err(|error| Error::invalid("--stdin", error.to_string()))?;
        spec = spec.stdin(input);
    }
    let vm = find(hv, &args.vm).await?;
    if waiter.waits() {
        let bar = waiter.spinner(&format!("agent of {}", args.vm));
        let answers = vm.wait_for_agent(waiter.deadline()).await;
        bar.finish_and_clear();
        answers?;
    }
    let output = waiter.call(&format!("{program} in {}", args.vm), vm.agent().exec(&spec)).await?;
    if ui.json {
        ui.value_line(&json!({
            "exit_code": output.exit_code, "signal": output.signal, "stdout": output.stdout_text(),
            "stderr": output.stderr_text(), "truncated": output.truncated,
        }));
    } else {
        ui.bytes(&output.stdout);
        ui.error_bytes(&output.stderr);
        if output.truncated {
            ui.note("the agent has cut what the command wrote");
        }
    }
    Ok(match (output.exit_code, output.signal) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::FAILED),
        // As shells have it.
        (None, Some(signal)) => {
            u8::try_from(signal).ok().and_then(|signal| signal.checked_add(128)).unwrap_or(exit::FAILED)
        }
        (None, None) => exit::FAILED,
    })
}
