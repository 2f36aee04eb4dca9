//! The backends that need nothing but this process: each case gets a new one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hypervisor::conformance::{Case, Outcome, Settings};
use hypervisor::layer::Stack;
use hypervisor::memory::Memory;
use hypervisor::{ByteSize, Hypervisor};

/// A host with a pool and a network, for libvirt's test driver.
const NODE: &str = "<node>\
    <cpu><mhz>2000</mhz><model>x86_64</model><active>4</active></cpu><memory>16777216</memory>\
    <network><name>default</name><bridge name='virbr0'/><forward/>\
    <ip address='192.168.122.1' netmask='255.255.255.0'>\
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>\
    <pool type='dir'><name>default</name><target><path>/default-pool</path></target></pool>\
    </node>";

/// In memory no file has to be there, and every guest has an agent that answers. Without a folder for serial logs no guest boots.
fn imagined() -> Settings {
    Settings::new().kernel("/boot/vmlinuz").initrd("/boot/initrd").directory("/srv").bridge("br0")
}

/// Time passes only while everybody waits, and then at once.
fn in_virtual_time<F: Future>(work: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().expect("a runtime").block_on(work)
}

pub(crate) fn memory(case: &Case) -> Outcome {
    in_virtual_time(async {
        let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
        case.run(&hv, &imagined()).await
    })
}

/// The in-memory hypervisor as a slow cluster, with the usual layers around it.
pub(crate) fn layered(case: &Case) -> Outcome {
    in_virtual_time(async {
        let memory = Memory::builder()
            .hosts(3)
            .pool("ssd", ByteSize::gib(64))
            .task_time(Duration::from_secs(2))
            .latency(Duration::from_millis(1)..Duration::from_millis(20))
            .page_limit(5)
            .build();
        let hv = Stack::standard(Arc::new(memory)).build();
        match case.run(&hv, &imagined()).await {
            // It has every operation and feature; all that it cannot do is boot a kernel.
            Outcome::Skipped(why) if case.area != "boot" => {
                Outcome::Failed(format!("skipped in memory: {why}"))
            }
            outcome => outcome,
        }
    })
}

pub(crate) fn libvirt_test(case: &Case) -> Outcome {
    // A file of its own makes the driver's state this connection's own.
    let file = tempfile::Builder::new().prefix("hvt-").suffix(".xml").tempfile().expect("a file");
    std::fs::write(file.path(), NODE).expect("the file can be written");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // It does nothing that takes time.
    let settings = Settings::new().deadline(Duration::from_secs(10)).directory("/hvt").bridge("virbr0");
    runtime.block_on(async {
        match hypervisor::connect(&format!("test://{}", file.path().display())).await {
            Ok(hv) => case.run(&hv, &settings).await,
            Err(error) => Outcome::Failed(format!("libvirt's test driver: {error}")),
        }
    })
}
