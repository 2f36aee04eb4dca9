//! The conformance suite through client, HTTP and gateway: the same cases as without them, and the same outcomes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_client::{ClientConfig, connect};
use hypervisor_core::Hypervisor;
use hypervisor_core::conformance::{Case, Outcome, Settings, cases};
use hypervisor_core::memory::Memory;
use hypervisor_core::model::ByteSize;
use hypervisor_gateway::{Gateway, GatewayConfig};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

#[path = "conformance/errors.rs"]
mod errors;
#[cfg(feature = "libvirt")]
#[path = "common/live.rs"]
mod live;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let mut trials = vec![Trial::test("gateway::an error of any kind is the backend's", errors::all_kinds)];
    for case in cases() {
        trials.push(trial("gateway-memory", &case, through_memory));
        trials.push(trial("gateway-cluster", &case, through_cluster));
        #[cfg(feature = "libvirt")]
        {
            trials.push(trial("gateway-libvirt-test", &case, through_libvirt));
            if live::is_there() {
                trials.push(trial("gateway-libvirt-live", &case, live::run));
            }
        }
    }
    #[cfg(feature = "libvirt")]
    trials.push(live::presence());
    let conclusion = libtest_mimic::run(&arguments, trials);
    #[cfg(feature = "libvirt")]
    if !live::take_down() {
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trial(backend: &'static str, case: &Case, run: fn(&Case) -> Outcome) -> Trial {
    let case = case.clone();
    Trial::ignorable_test(format!("{backend}::{}", case.name), move || completion(&run(&case)))
}

fn completion(outcome: &Outcome) -> Result<Completion, Failed> {
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        other => Err(Failed::from(other.reason().unwrap_or("it failed").to_owned())),
    }
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// The client of a gateway of this backend.
async fn through(hv: Arc<dyn Hypervisor>) -> (Gateway, Arc<dyn Hypervisor>) {
    let gateway = Gateway::open(hv, GatewayConfig::new().without_rates()).await.expect("a gateway");
    let token = gateway.create_token("conformance", &["*"], None).await.expect("a token").token;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let router = gateway.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = ClientConfig::new(&format!("http+v1://{at}")).expect("a configuration");
    let config = config.token(token).allow_plain_http_credentials();
    (gateway, connect(config).await.expect("a connection"))
}

/// In memory no file has to be there, and every guest has an agent that answers.
fn imagined() -> Settings {
    Settings::new().kernel("/boot/vmlinuz").initrd("/boot/initrd").directory("/srv").bridge("br0")
}

async fn same(case: &Case, local: Arc<dyn Hypervisor>, settings: &Settings) -> Outcome {
    let (_gateway, remote) = through(Arc::clone(&local)).await;
    if remote.capabilities() != local.capabilities() {
        return Outcome::Failed("the client's capabilities are not the backend's".to_owned());
    }
    case.run(&remote, settings).await
}

fn through_memory(case: &Case) -> Outcome {
    block_on(async { same(case, Arc::new(Memory::new()), &imagined()).await })
}

/// A cluster whose work takes time, so that there are jobs.
fn through_cluster(case: &Case) -> Outcome {
    block_on(async {
        let memory = Memory::builder()
            .hosts(3)
            .pool("ssd", ByteSize::gib(64))
            .task_time(Duration::from_millis(20))
            .page_limit(5)
            .build();
        match same(case, Arc::new(memory), &imagined()).await {
            Outcome::Skipped(why) if case.area != "boot" => {
                Outcome::Failed(format!("skipped in memory: {why}"))
            }
            outcome => outcome,
        }
    })
}

#[cfg(feature = "libvirt")]
const NODE: &str = "<node>\
    <cpu><mhz>2000</mhz><model>x86_64</model><active>4</active></cpu><memory>16777216</memory>\
    <network><name>default</name><bridge name='virbr0'/><forward/>\
    <ip address='192.168.122.1' netmask='255.255.255.0'>\
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>\
    <pool type='dir'><name>default</name><target><path>/default-pool</path></target></pool>\
    </node>";

#[cfg(feature = "libvirt")]
fn through_libvirt(case: &Case) -> Outcome {
    // A file of its own makes the driver's state this connection's own.
    let file = tempfile::Builder::new().prefix("hvg-").suffix(".xml").tempfile().expect("a file");
    std::fs::write(file.path(), NODE).expect("the file can be written");
    block_on(async {
        let url = format!("test://{}", file.path().display());
        let config = hypervisor_libvirt::LibvirtConfig::new(&url).expect("a configuration");
        let local: Arc<dyn Hypervisor> =
            Arc::new(hypervisor_libvirt::Libvirt::connect(config).await.expect("a connection"));
        let settings = Settings::new().deadline(Duration::from_secs(10)).directory("/hvt").bridge("virbr0");
        same(case, local, &settings).await
    })
}
