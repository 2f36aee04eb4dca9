//! Inventory and load of 1,000 machines at a live libvirtd and of 5,000 at libvirt's test driver, beside the `virt` crate, libvirt-python and
//! virsh the way HyperSDK uses it: one process for the list and one more for each machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{PageRequest, VmQuery};
use hypervisor_core::traits::{Compute as _, Metrics as _};
use hypervisor_libvirt::Libvirt;
use hypervisor_libvirt::virt::connect::Connect;
use hypervisor_libvirt::virt::domain::Domain;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::measure::{in_turn, middle, timed};
use crate::record::{Row, skip};
use crate::role::{NO_PYTHON, output, python, threads};

const TABLE: &str = "libvirt";
const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";
const PREFIX: &str = "compare-";
const LIVE: usize = 1_000;
const MOCK: usize = 5_000;
/// virsh is started for so many of the machines; a thousand processes would tell no more.
const PROCESSES: usize = 100;

fn definition(index: usize) -> String {
    format!(
        "<domain type='qemu'><name>{PREFIX}{index:05}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os></domain>"
    )
}

fn connect(runtime: &Runtime, uri: &str) -> Arc<Libvirt> {
    let config = uri.parse().expect("a URI");
    Arc::new(runtime.block_on(Box::pin(Libvirt::connect(config))).expect("a connection"))
}

/// What the calls that everybody knows give: for each machine its name, its id and its state.
fn bare(conn: &Connect, with_definition: bool) -> usize {
    let domains = conn.list_all_domains(0).expect("a list");
    for domain in &domains {
        let name = domain.get_name().expect("a name");
        black_box((name, domain.get_uuid_string().expect("a uuid"), domain.get_info().expect("info")));
        if with_definition {
            black_box(domain.get_xml_desc(0).expect("a definition"));
        }
    }
    domains.len()
}

/// One place with machines.
struct Place<'a> {
    name: &'a str,
    uri: &'a str,
    machines: usize,
    rounds: usize,
}

impl Place<'_> {
    fn tell(&self, what: &str, call: &str, time: Duration) {
        Row::new(TABLE, what)
            .with("place", self.name)
            .with("machines", self.machines)
            .with("call", call)
            .time("seconds", time)
            .tell();
    }

    /// Ourselves and the bare calls, in turn.
    fn rust(&self, runtime: &Runtime, libvirt: &Libvirt) {
        let (first, found) = timed(|| runtime.block_on(list(libvirt)));
        assert!(found >= self.machines, "{found} of {}", self.machines);
        self.tell("ours", "first list, which reads every definition", first);
        let mut conn = Connect::open(Some(self.uri)).expect("a bare connection");
        let [ours, info, definitions, load] = in_turn(
            self.rounds,
            [
                &mut || assert!(runtime.block_on(list(libvirt)) >= self.machines),
                &mut || assert!(bare(&conn, false) >= self.machines),
                &mut || assert!(bare(&conn, true) >= self.machines),
                // Of those that run: on libvirtd none does here.
                &mut || {
                    black_box(runtime.block_on(load(libvirt)));
                },
            ],
        );
        conn.close().expect("closed");
        self.tell("ours", "list", ours);
        self.tell("virt", "list + info", info);
        self.tell("virt", "list + info + definition", definitions);
        self.tell("ours", "load of all that run", load);
    }

    /// libvirt-python in a process of its own.
    fn python(&self) {
        let words = [self.uri.to_owned(), self.rounds.to_string(), self.machines.to_string()];
        let Some(mut command) = python("libvirt_list.py", &words) else {
            return skip(TABLE, "libvirt-python", NO_PYTHON);
        };
        let told: BTreeMap<String, Vec<f64>> =
            serde_json::from_str(&output(&mut command)).expect("what it printed");
        for (call, seconds) in told {
            let time = middle(seconds.into_iter().map(Duration::from_secs_f64).collect());
            self.tell("libvirt-python", &call, time);
        }
    }
}

async fn list(libvirt: &Libvirt) -> usize {
    let page = libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await.expect("a page");
    black_box(page).items.len()
}

async fn load(libvirt: &Libvirt) -> usize {
    black_box(libvirt.list_vm_metrics(&PageRequest::first()).await.expect("a page")).items.len()
}

/// virsh with these words.
fn virsh(uri: &str, words: &[&str]) -> String {
    output(Command::new("virsh").args(["-q", "-c", uri]).args(words).env("LC_ALL", "C"))
}

/// The list, and `dominfo` for each of some machines: a process each.
fn processes(place: &Place<'_>, rounds: usize) {
    let mut times = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (took, all) = timed(|| virsh(place.uri, &["list", "--all", "--name"]));
        times.0.push(took);
        let some: Vec<&str> = all.lines().filter(|name| name.starts_with(PREFIX)).take(PROCESSES).collect();
        let (took, ()) = timed(|| some.iter().for_each(|name| drop(virsh(place.uri, &["dominfo", name]))));
        times.1.push(took);
        let groups = ["--state", "--cpu-total", "--balloon", "--interface", "--block"];
        let (took, _) = timed(|| virsh(place.uri, &[&["domstats"], &groups[..]].concat()));
        times.2.push(took);
    }
    place.tell("virsh", "list --all", middle(times.0));
    place.tell("virsh", &format!("dominfo, {PROCESSES} processes"), middle(times.1));
    place.tell("virsh", "domstats, one process", middle(times.2));
}

pub(crate) fn run(scale: Scale) {
    let runtime = threads();
    match std::env::var(URI) {
        Ok(uri) => live(&runtime, &uri, scale),
        Err(_) => skip(TABLE, "a live libvirtd", "HYPERVISOR_TEST_LIBVIRT_URI is not set"),
    }
    mock(&runtime, scale);
}

/// Removes our machines, also those of a run that was ended.
fn remove(conn: &Connect) {
    for domain in conn.list_all_domains(0).expect("a list") {
        if domain.get_name().expect("a name").starts_with(PREFIX) {
            domain.undefine().expect("no machine left");
        }
    }
}

fn live(runtime: &Runtime, uri: &str, scale: Scale) {
    let mut conn = Connect::open(Some(uri)).expect("a bare connection");
    remove(&conn);
    for index in 0..LIVE {
        drop(Domain::define_xml(&conn, &definition(index)).expect("a machine"));
    }
    let rounds = if scale.quick { 10 } else { 60 };
    let place = Place { name: "libvirtd", uri, machines: LIVE, rounds };
    let libvirt = connect(runtime, uri);
    place.rust(runtime, &libvirt);
    drop(libvirt);
    place.python();
    processes(&place, if scale.quick { 1 } else { 3 });
    remove(&conn);
    conn.close().expect("closed");
}

/// Where a call costs next to nothing, so that what is added shows most.
fn mock(runtime: &Runtime, scale: Scale) {
    let mut node = String::from("<node>");
    for index in 0..MOCK {
        let guest = definition(index).replace("'qemu'", "'test'").replace(" arch='x86_64'", "");
        write!(node, "{guest}").expect("text");
    }
    node.push_str("</node>");
    let file = tempfile::Builder::new().suffix(".xml").tempfile().expect("a file");
    std::fs::write(file.path(), node).expect("a file");
    let uri = format!("test://{}", file.path().display());
    let place =
        Place { name: "test driver", uri: &uri, machines: MOCK, rounds: if scale.quick { 3 } else { 15 } };
    place.rust(runtime, &connect(runtime, &uri));
    place.python();
}
