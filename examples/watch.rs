//! Follows what happens on a hypervisor until Ctrl-C: `cargo run --features libvirt --example watch -- qemu:///system`.

use futures::StreamExt as _;
use hypervisor::model::{EventKind, EventQuery};

#[tokio::main]
async fn main() -> hypervisor::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://".to_owned());
    let hv = hypervisor::connect(&url).await?;
    let mut events = hv.events(&EventQuery::all()).await?;
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
            Some(kind) => println!("{kind:?}"),
        }
    }
}
