//! The conformance suite on the HyperSDK dialect, every case a test of its own: `hypersdk::` on the fake, a new one for each case, and
//! `hypersdk-live::` on the daemon that `HYPERVISOR_TEST_URL` names. What cannot be run is ignored with the reason.
//!
//! The daemon makes no machine from nothing, so that by itself it can run few of the cases. Each part therefore runs twice: as it is, and
//! with machines made behind the daemon's back (`furnished-hypersdk::`), which leaves everything else to the driver and the daemon. Live,
//! they are made with `virsh` at `HYPERVISOR_TEST_LIBVIRT_URI`, which has to be the libvirt that the daemon works on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::future_not_send,
    reason = "tests fail by panicking"
)]

mod subject;

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::hypersdk::FakeDomain;
use hypervisor_core::conformance::{Case, Outcome, Settings, cases};
use hypervisor_core::model::{DiskSource, Feature, Started, VmId, VmSpec};
use hypervisor_core::{Error, Hypervisor, Operation, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use subject::Subject;

const URL: &str = "HYPERVISOR_TEST_URL";
const LIBVIRT: &str = "HYPERVISOR_TEST_LIBVIRT_URI";

/// What cannot be made behind the daemon's back.
const NOT_BEHIND: &str = "not behind the daemon's back";

/// Cases that ask for more than the daemon tells, or takes, with the reason.
const BEYOND: &[(&str, &str)] = &[
    ("snapshots::snapshot_is_what_was_asked_for", TREE),
    ("snapshots::snapshots_stand_on_one_another", TREE),
    ("snapshots::revert_makes_it_current", TREE),
    ("snapshots::running_guest_with_memory", TREE),
    ("snapshots::children_of_a_deleted_one_get_its_parent", TREE),
    ("templates::a_copy_becomes_a_template", "the daemon knows templates by a `template` in their name"),
    ("backups::a_running_guest_is_backed_up", "the daemon leaves out the disks that a running guest holds"),
];
const TREE: &str = "of a snapshot the daemon tells the name alone";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a case is waiting.
    arguments.test_threads.get_or_insert(4);
    let live = std::env::var(URL).ok().filter(|url| url.contains("+hypersdk://"));
    let libvirt = std::env::var(LIBVIRT).ok().filter(|_| live.is_some());
    if live.is_none() {
        eprintln!("\nSKIPPED: {URL} names no http+hypersdk:// server: nothing is run against a real one\n");
    } else if libvirt.is_none() {
        eprintln!(
            "\nSKIPPED: {LIBVIRT} does not name the daemon's libvirt: nothing is run with machines made there\n"
        );
    }
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(trial("hypersdk", &case, on_the_fake));
        trials.push(trial("furnished-hypersdk", &case, on_the_furnished_fake));
        if let Some(url) = live.clone() {
            trials.push(trial("hypersdk-live", &case, move |case| on_the_daemon(case, &url)));
        }
        if let (Some(url), Some(libvirt)) = (live.clone(), libvirt.clone()) {
            trials.push(trial("furnished-hypersdk-live", &case, move |case| {
                on_the_furnished_daemon(case, &url, &libvirt)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn settings() -> Settings {
    Settings::new().deadline(Duration::from_secs(10))
}

async fn run(case: &Case, connected: Result<Arc<dyn Hypervisor>>, settings: &Settings) -> Outcome {
    match connected {
        Ok(hv) => case.run(&hv, settings).await,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn on_the_fake(case: &Case) -> Outcome {
    in_a_runtime(async {
        let fake = Fake::hypersdk().start().await;
        run(case, hypervisor_client::connect(fake.config()).await, &settings()).await
    })
}

fn on_the_daemon(case: &Case, url: &str) -> Outcome {
    in_a_runtime(async {
        let connected = async { hypervisor_client::connect(ClientConfig::new(url)?).await };
        run(case, connected.await, &Settings::from_env()).await
    })
}

fn on_the_furnished_fake(case: &Case) -> Outcome {
    in_a_runtime(async {
        let fake = Arc::new(Fake::hypersdk().start().await);
        let connected = hypervisor_client::connect(fake.config()).await;
        let furnished = connected.map(|inner| {
            furnished(inner, move |spec, disks| {
                let domain = FakeDomain::new(&spec.name).size(spec.cpus, spec.memory).disks(disks);
                fake.add_domain(&domain);
                Ok(())
            })
        });
        furnished_only(case, run(case, furnished, &settings()).await)
    })
}

fn on_the_furnished_daemon(case: &Case, url: &str, libvirt: &str) -> Outcome {
    let libvirt = libvirt.to_owned();
    in_a_runtime(async {
        let connected = async { hypervisor_client::connect(ClientConfig::new(url)?).await };
        let furnished =
            connected.await.map(|inner| furnished(inner, move |spec, disks| define(&libvirt, spec, disks)));
        furnished_only(case, run(case, furnished, &Settings::from_env()).await)
    })
}

fn furnished_only(case: &Case, outcome: Outcome) -> Outcome {
    let beyond = BEYOND.iter().find(|(name, _)| *name == case.name);
    match (outcome, beyond) {
        (Outcome::Failed(why), _) if why.contains(NOT_BEHIND) => Outcome::Skipped(why),
        (Outcome::Failed(_), Some((_, why))) => Outcome::Skipped((*why).to_owned()),
        (Outcome::Passed, Some((_, why))) => {
            Outcome::Failed(format!("it passes, though it is listed as beyond the daemon: {why}"))
        }
        (outcome, _) => outcome,
    }
}

/// The driver, with machines made by `make` with so many disks.
fn furnished(
    inner: Arc<dyn Hypervisor>,
    make: impl Fn(&VmSpec, usize) -> Result<()> + Send + Sync + 'static,
) -> Arc<dyn Hypervisor> {
    let make = Arc::new(make);
    let driver = Arc::clone(&inner);
    let subject =
        Subject::new(inner).claims(|claims| claims.native([Operation::CreateVm]).native([Feature::Graphics]));
    let claims = subject.capabilities().clone();
    Arc::new(subject.create(move |spec| {
        let (make, driver, claims) = (Arc::clone(&make), Arc::clone(&driver), claims.clone());
        async move {
            spec.validate()?;
            claims.require_all(Operation::CreateVm, &spec.needs())?;
            let new = spec.disks.iter().all(|disk| matches!(disk.source, DiskSource::New { .. }));
            let odd = spec.description.is_some() || spec.group.is_some() || spec.machine.is_some();
            let id = VmId::from(spec.name.as_str());
            for disk in &spec.disks {
                if let DiskSource::New { pool: Some(pool), .. } = &disk.source {
                    driver.get_pool(pool).await?;
                }
            }
            if !spec.nics.is_empty() || !new || odd || spec.start || spec.host.is_some() {
                return Err(Error::unsupported(Operation::CreateVm, NOT_BEHIND));
            }
            if driver.get_vm(&id).await.is_ok() {
                return Err(Error::already_exists(VmId::NOUN, &id));
            }
            make(&spec, spec.disks.len())?;
            Ok(Started::done(id))
        }
    }))
}

/// `virsh define` on the daemon's host, with disks in the first active pool.
fn define(libvirt: &str, spec: &VmSpec, disks: usize) -> Result<()> {
    let virsh = |arguments: &[&str]| {
        let output =
            Command::new("virsh").args(["-q", "-c", libvirt]).args(arguments).output().expect("virsh");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let wrote = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(Error::new(hypervisor_core::ErrorKind::Backend, wrote))
        }
    };
    let pools = virsh(&["pool-list", "--name"])?;
    let pool = pools.lines().next().unwrap_or_default().trim();
    let mut devices = String::new();
    for (index, target) in (1..=disks).zip(["vda", "vdb", "vdc"]) {
        let volume = format!("{}-{index}.qcow2", spec.name);
        virsh(&["vol-create-as", pool, &volume, "1G", "--format", "qcow2"])?;
        let path = virsh(&["vol-path", "--pool", pool, &volume])?;
        devices += &format!(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>\
             <target dev='{target}' bus='virtio'/></disk>"
        );
    }
    let xml = format!(
        "<domain type='qemu'><name>{}</name><memory unit='b'>{}</memory><vcpu>{}</vcpu>\
         <os><type arch='x86_64'>hvm</type></os><features><acpi/></features>\
         <devices>{devices}<graphics type='vnc' port='-1' autoport='yes'/><serial type='pty'/></devices></domain>",
        spec.name,
        spec.memory.as_bytes(),
        spec.cpus
    );
    let file = std::env::temp_dir().join(format!("{}.xml", spec.name));
    std::fs::write(&file, xml).expect("a file");
    let defined = virsh(&["define", &file.display().to_string()]);
    std::fs::remove_file(&file).expect("the file that was written");
    defined.map(drop)
}

fn in_a_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn trial(backend: &str, case: &Case, run: impl FnOnce(&Case) -> Outcome + Send + 'static) -> Trial {
    let case = case.clone();
    Trial::ignorable_test(format!("{backend}::{}", case.name), move || match run(&case) {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        other => Err(Failed::from(other.reason().unwrap_or("it failed").to_owned())),
    })
}
