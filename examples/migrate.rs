//! Empties a host: every machine that runs there moves to another one, live, two at a time.
//! `cargo run --example migrate` does it in memory; on a cluster: `… --features proxmox --example migrate -- proxmox://… pve1`.

use futures::{StreamExt as _, TryStreamExt as _};
use hypervisor::model::{HostState, MigrateSpec};
use hypervisor::{Error, HostId, Result, VmQuery, VmSpec, VmState};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next();
    let hv = hypervisor::connect(url.as_deref().unwrap_or("memory://?hosts=3&task_time=50ms")).await?;
    let from: HostId = args.next().unwrap_or_else(|| "host-1".to_owned()).into();
    if url.is_none() {
        for number in 1..=4 {
            let spec = VmSpec::new(format!("web-{number}")).host(from.clone()).start(true);
            hv.vms().create(&spec).await?.wait().await?;
        }
    }

    let hosts = hv.hosts().all().await?.complete()?;
    let others = hosts.into_iter().filter(|host| host.id != from && host.state == HostState::Online);
    let others: Vec<HostId> = others.map(|host| host.id).collect();
    if others.is_empty() {
        return Err(Error::invalid_state(format!("there is no other host than {from}")));
    }

    let query = VmQuery::all().host(from.clone()).state(VmState::Running);
    // Less than everything would leave a host that only looks empty.
    let vms = hv.vms().all(&query).await?.complete()?;
    let moves = vms.iter().zip(others.iter().cycle()).map(|(info, to)| {
        let vm = hv.vms().handle(info);
        async move {
            // `live` is refused where it cannot be, rather than done with an interruption.
            vm.migrate(&MigrateSpec::to(to.clone()).live(true)).await?.wait().await?;
            println!("{} is on {}", info.name, vm.info().await?.host.as_ref().unwrap_or(to));
            Ok::<(), Error>(())
        }
    });
    futures::stream::iter(moves).buffer_unordered(2).try_collect::<()>().await?;
    println!("{} machines have left {from}", vms.len());
    Ok(())
}
