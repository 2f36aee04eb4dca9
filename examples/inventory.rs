//! What there is on several hypervisors, as one list: `cargo run --features libvirt --example inventory -- qemu:///system test:///default`.
//! Without a URL, on two in memory.

use std::process::ExitCode;
use std::sync::Arc;

use futures::future::join_all;
use hypervisor::handle::Listing;
use hypervisor::memory::Memory;
use hypervisor::{ByteSize, Hypervisor, Result, VmInfo, VmQuery, VmSpec};

/// A hypervisor, and what it is called here.
struct Source {
    name: String,
    hv: Result<Arc<dyn Hypervisor>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    let sources = if urls.is_empty() {
        vec![imagined("berlin", &["web-1", "web-2"]).await, imagined("lyon", &["db-1"]).await]
    } else {
        join_all(urls.into_iter().map(connected)).await
    };

    // All at once. One that cannot be reached is no reason to say nothing about the others.
    let lists = join_all(sources.iter().map(list)).await;
    let mut complete = true;
    let mut all: Vec<(&str, VmInfo)> = Vec::new();
    for (source, list) in sources.iter().zip(lists) {
        match list {
            Ok(list) => {
                for away in &list.unreachable {
                    eprintln!("{}: host {} cannot be reached: {}", source.name, away.host, away.reason);
                    complete = false;
                }
                all.extend(list.into_iter().map(|vm| (source.name.as_str(), vm)));
            }
            Err(error) => {
                eprintln!("{}: {error}", source.name);
                complete = false;
            }
        }
    }

    all.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    println!("{:<20} {:<20} {:<10} {:>4} {:>9}  SOURCE", "NAME", "HOST", "STATE", "CPUS", "MEMORY");
    for (source, vm) in &all {
        let host = vm.host.as_ref().map(ToString::to_string).unwrap_or_default();
        let memory = vm.memory.map(|memory| memory.to_string()).unwrap_or_default();
        let state = vm.state.to_string();
        println!("{:<20} {host:<20} {state:<10} {:>4} {memory:>9}  {source}", vm.name, vm.cpus.unwrap_or(0));
    }
    let memory = all.iter().filter_map(|(_, vm)| vm.memory).fold(ByteSize::ZERO, ByteSize::saturating_add);
    println!("{} machines with {memory} on {} hypervisors", all.len(), sources.len());
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn connected(url: String) -> Source {
    let hv = hypervisor::connect(&url).await;
    // The endpoint holds no credentials; the URL may.
    let name = hv.as_ref().map_or("not connected", |hv| hv.info().endpoint.as_str()).to_owned();
    Source { name, hv }
}

async fn list(source: &Source) -> Result<Listing<VmInfo>> {
    source.hv.clone()?.vms().all(&VmQuery::all()).await
}

async fn imagined(name: &str, vms: &[&str]) -> Source {
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    for vm in vms {
        let spec = VmSpec::new(*vm).memory(ByteSize::gib(2)).start(true);
        if let Err(error) = hv.create_vm(&spec).await {
            return Source { name: name.to_owned(), hv: Err(error) };
        }
    }
    Source { name: name.to_owned(), hv: Ok(hv) }
}
