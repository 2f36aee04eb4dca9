//! Follows what happens on a hypervisor until Ctrl-C: `cargo run --features libvirt --example watch -- qemu:///system`.
//! Without a URL, on one in memory on which a machine comes and goes.

use std::sync::Arc;

use futures::StreamExt as _;
use hypervisor::model::{EventKind, EventQuery};
use hypervisor::{DeleteVm, Hypervisor, Result, VmSpec};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1);
    let hv = hypervisor::connect(url.as_deref().unwrap_or("memory://")).await?;
    // From now on: what happens before is in the lists.
    let mut events = hv.events(&EventQuery::all()).await?;
    let life = if url.is_none() { Some(tokio::spawn(life(Arc::clone(&hv)))) } else { None };
    eprintln!("watching {}; Ctrl-C ends it", hv.info().backend);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match event.transpose()?.map(|event| event.kind) {
            None => return Ok(()),
            Some(EventKind::VmStateChanged { vm, state }) => println!("{vm} is {state}"),
            Some(kind) if kind.is_gap() => println!("events were missed ({kind:?}): read again what matters"),
            Some(EventKind::VmDeleted(vm)) => {
                println!("{vm} is gone");
                if life.is_some() {
                    return Ok(());
                }
            }
            Some(kind) => println!("{kind:?}"),
        }
    }
}

/// What others do meanwhile.
async fn life(hv: Arc<dyn Hypervisor>) -> Result<()> {
    let vm = hv.vms().create(&VmSpec::new("mayfly")).await?.wait().await?;
    vm.start().await?.wait().await?;
    vm.power_off().await?.wait().await?;
    vm.delete(&DeleteVm::with_disks()).await?.wait().await
}
