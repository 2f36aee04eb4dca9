//! How a program that uses the SDK is tested: the code under test takes any hypervisor, and the tests give it one in memory, one that
//! fails on request, one that loses calls, and (with `--features proxmox,fake`) a Proxmox server that is none. No test waits: time is
//! paused, so that an hour passes at once. `cargo run --example testing_your_app` runs them as a program; in yours they are `#[tokio::test]`s.

use std::sync::Arc;
use std::time::Duration;

use hypervisor::layer::{Chaos, Layered, Stack};
use hypervisor::memory::{FaultPlan, Memory};
use hypervisor::{Error, ErrorKind, Hypervisor, Operation, Result, VmQuery, VmSpec, VmState};

/// The code under test: so many machines with these names run when it is done, however often it is called.
async fn scale_to(hv: &Arc<dyn Hypervisor>, prefix: &str, count: u32) -> Result<usize> {
    for number in 1..=count {
        let name = format!("{prefix}-{number}");
        let vm = match hv.vms().by_name(&name).await {
            Ok(vm) => vm,
            Err(error) if error.is_not_found() => {
                // The mark makes a create whose answer is lost safe to repeat.
                hv.vms().create(&VmSpec::new(&name).client_token(&name)).await?.wait().await?
            }
            Err(error) => return Err(error),
        };
        match vm.start().await {
            Ok(task) => task.wait().await?,
            // It runs already, or a start whose answer was lost has done its work.
            Err(_) if vm.state().await? == VmState::Running => {}
            Err(error) => return Err(error),
        }
    }
    let running = hv.vms().all(&VmQuery::all().state(VmState::Running)).await?.complete()?;
    Ok(running.len())
}

/// It works, and twice is the same as once.
async fn in_memory() -> Result<()> {
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().task_time(Duration::from_secs(3600)).build());
    check(scale_to(&hv, "web", 3).await? == 3, "three run")?;
    check(scale_to(&hv, "web", 5).await? == 5, "five run")
}

/// One call goes wrong, by script: the error comes through, and nothing is left half done.
async fn a_failure_by_script() -> Result<()> {
    let plan = FaultPlan::new().fail(Operation::CreateVm, 2, ErrorKind::Exhausted);
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().faults(plan).build());
    let error = scale_to(&hv, "web", 3).await.err();
    check(error.is_some_and(|error| error.kind() == ErrorKind::Exhausted), "the second create fails")?;
    check(hv.vms().all(&VmQuery::all()).await?.len() == 1, "one machine is there")?;
    check(scale_to(&hv, "web", 3).await? == 3, "and the next call makes up for it")
}

/// One call in ten is lost before or after it was carried out: the usual layers cope, and no machine is made twice.
async fn chaos() -> Result<()> {
    let chaos = Chaos::new(7)
        .drop_before_send(50)
        .drop_after_send(50)
        .latency(Duration::ZERO..Duration::from_secs(2));
    let shaky = Layered::new(Arc::new(Memory::new()), chaos.clone());
    let hv = Stack::standard(Arc::new(shaky)).build();
    check(scale_to(&hv, "web", 20).await? == 20, "twenty run")?;
    check(chaos.injected() > 0, "and some calls were lost")
}

/// The same code against the wire: a server on loopback that answers as Proxmox VE does.
#[cfg(all(feature = "proxmox", feature = "fake"))]
async fn proxmox() -> Result<()> {
    use hypervisor::proxmox::fake::FakePve;
    let pve = FakePve::builder()
        .tls()
        .start()
        .await
        .map_err(|error| Error::new(ErrorKind::Connect, error.to_string()))?;
    let hv = hypervisor::connect(&pve.connection_url()).await?;
    check(scale_to(&hv, "web", 2).await? == 2, "two run")?;
    check(pve.count("POST", "/nodes/*/qemu") == 2, "with two requests to create")
}

fn check(good: bool, what: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::invalid_state(format!("not so: {what}"))) }
}

fn main() -> Result<()> {
    let paused = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = || paused().map_err(|error| Error::new(ErrorKind::Exhausted, error.to_string()));
    runtime()?.block_on(in_memory())?;
    println!("ok in_memory");
    runtime()?.block_on(a_failure_by_script())?;
    println!("ok a_failure_by_script");
    runtime()?.block_on(chaos())?;
    println!("ok chaos");
    #[cfg(all(feature = "proxmox", feature = "fake"))]
    {
        // A server needs time that passes.
        let timed = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        timed.map_err(|error| Error::new(ErrorKind::Exhausted, error.to_string()))?.block_on(proxmox())?;
        println!("ok proxmox");
    }
    Ok(())
}
