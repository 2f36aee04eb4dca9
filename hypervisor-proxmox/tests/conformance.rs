//! The conformance suite, every case a test of its own: `fake::`, `fake-cluster::`, `fresh::` (a new installation), and `live::` where `HYPERVISOR_TEST_URL` is a
//! `proxmox://` URL. The settings of the live part are the `HYPERVISOR_TEST_…` variables of the suite: host, pool, bridge, image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/own.rs"]
mod own;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hypervisor_core::Hypervisor;
use hypervisor_core::conformance::{Case, Outcome, Settings, cases, sweep};
use hypervisor_core::layer::Stack;
use hypervisor_core::model::{ByteSize, PageRequest, PoolQuery, VolumeId};
use hypervisor_core::traits::{Compute as _, Storage as _};
use hypervisor_proxmox::fake::{FakePve, FakePveBuilder};
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const URL: &str = "HYPERVISOR_TEST_URL";
/// The page that says which role a program needs.
const README: &str = include_str!("../../README.md");
/// The privileges of its role that the suite has no case for: it looks at an upload by downloading it again, which this server cannot, and changes
/// no cloud-init data.
const NOT_ASKED: &[&str] = &["Datastore.AllocateTemplate", "SDN.Allocate", "VM.Config.Cloudinit"];
/// A container template that the fake has.
const TEMPLATE: &str = "local:vztmpl/alpine-3.20-default_20240908_amd64.tar.xz";
/// An image that disks can be copied of.
const IMAGE: &str = "local:import/cloud.qcow2";

/// The areas in which it matters what a server has been set up with.
const SET_UP: &[&str] = &[
    "backups",
    "clones",
    "console",
    "containers",
    "content",
    "delete",
    "disks",
    "networks",
    "nics",
    "snapshots",
    "storage",
    "templates",
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The cases wait for one another's servers more than they work.
    arguments.test_threads.get_or_insert(6);
    let mut trials = Vec::new();
    let live = Arc::new(Live::from_env());
    let used = Arc::new(Mutex::new(BTreeSet::new()));
    for case in cases() {
        let used = Arc::clone(&used);
        trials.push(trial("fake", &case, |case| on_fake(case, FakePve::builder(), None).0));
        trials.push(trial("fake-cluster", &case, move |case| with_the_role_of_the_readme(case, &used)));
        if SET_UP.contains(&case.area) {
            trials.push(trial("fresh", &case, fresh));
        }
        if live.url.is_some() {
            let live = Arc::clone(&live);
            trials.push(trial("live", &case, move |case| live.run(case)));
        }
    }
    for own in own::all() {
        let name = format!("own::{}", own.name);
        trials.push(named(format!("fresh::{name}"), move || {
            on_fresh(
                move |server| async move { own.run(&server.proxmox, &server.config, &server.settings).await },
            )
        }));
        if live.url.is_some() {
            let live = Arc::clone(&live);
            trials.push(named(format!("live::{name}"), move || live.own(own)));
        }
    }
    let all = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    let used = used.lock().unwrap_or_else(PoisonError::into_inner);
    let idle: Vec<_> =
        role().into_iter().filter(|one| !used.contains(one) && !NOT_ASKED.contains(one)).collect();
    if all && !idle.is_empty() {
        println!("test result: FAILED. README's role has privileges that no case needs: {idle:?}");
        return ExitCode::FAILURE;
    }
    if live.url.is_none() && !arguments.list {
        println!("SKIPPED: no live server ({URL} is not set to a proxmox:// URL)");
    }
    for problem in live.sweep() {
        eprintln!("live: {problem}");
    }
    conclusion.exit_code()
}

fn trial(on: &str, case: &Case, run: impl Fn(&Case) -> Outcome + Send + Sync + 'static) -> Trial {
    let case = case.clone();
    named(format!("{on}::{}", case.name), move || run(&case))
}

fn named(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match run() {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(why) => Ok(Completion::ignored_with(why)),
        Outcome::Failed(why) => Err(Failed::from(why)),
        other => Err(Failed::from(format!("{other:?}"))),
    })
}

fn settings() -> Settings {
    // No bridge: to the server bridges and networks are one, so that a NIC does not show which of the two was asked for.
    let settings = Settings::new().pool("local").directory("/srv").deadline(Duration::from_secs(20));
    settings.image(IMAGE).template(TEMPLATE)
}

/// The privileges of README's role, and those that it names for more than that.
fn role() -> Vec<&'static str> {
    let (_, rest) = README.split_once("pveum role add Sdk --privs \"").expect("README has the role");
    let (privileges, rest) = rest.split_once('"').expect("it ends");
    let (_, rest) = rest.split_once("For more than that:").expect("README names what takes more");
    let (more, _) = rest.split_once("\n\n").expect("the paragraph ends");
    let more = more.split('`').skip(1).step_by(2).filter(|word| word.contains('.') && *word != "VM.Monitor");
    privileges.split_whitespace().chain(more).collect()
}

/// A token with the rights that README gives it, in a cluster: what the role lacks, a case would be refused, and what it has in vain no case
/// needs.
fn with_the_role_of_the_readme(case: &Case, used: &Mutex<BTreeSet<&'static str>>) -> Outcome {
    let builder =
        FakePve::builder().hosts(3).role("Sdk", &role()).api_token("sdk@pve", "app", "secret", false);
    let (outcome, needed) =
        on_fake(case, builder.grant("sdk@pve", "/", "Sdk"), Some(("sdk@pve!app", "secret")));
    used.lock().unwrap_or_else(PoisonError::into_inner).extend(needed);
    outcome
}

fn on_fake(
    case: &Case,
    builder: FakePveBuilder,
    token: Option<(&str, &str)>,
) -> (Outcome, BTreeSet<&'static str>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let pve = builder
            .task_time(Duration::from_millis(5))
            .storage("local", "dir", &["images", "iso", "vztmpl", "backup", "import", "rootdir", "snippets"])
            .file(TEMPLATE, vec![0; 4096])
            .file(IMAGE, vec![0; 4096])
            .start()
            .await
            .unwrap();
        let (id, secret) = token.unwrap_or((pve.token_id(), pve.token_secret()));
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token(id, secret.to_owned());
        let outcome = match Proxmox::connect(config).await {
            Ok(proxmox) => {
                let hv: Arc<dyn Hypervisor> = Arc::new(proxmox);
                case.run(&hv, &settings()).await
            }
            Err(error) => Outcome::Failed(format!("connecting to the fake: {error}")),
        };
        (outcome, pve.privileges_used())
    })
}

/// A server and how it is to be used.
struct Server {
    proxmox: Proxmox,
    config: ProxmoxConfig,
    settings: Settings,
}

/// A new installation, run as a live server is: nothing is set, and nothing is there but what the installer makes.
fn fresh(case: &Case) -> Outcome {
    let case = case.clone();
    on_fresh(move |server| async move {
        let hv = Stack::standard(Arc::new(server.proxmox)).build();
        case.run(&hv, &server.settings).await
    })
}

fn on_fresh<F, Fut>(run: F) -> Outcome
where
    F: FnOnce(Server) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let pve = FakePve::builder()
            .fresh()
            .task_time(Duration::from_millis(5))
            .staleness(Duration::from_secs(10))
            .unknown_looks(1)
            .start()
            .await
            .unwrap();
        let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), pve.token_secret());
        match connected(config).await {
            Ok((_, without)) if without.is_empty() => {
                Outcome::Failed("a host without KVM was not seen".to_owned())
            }
            Ok((server, _)) => {
                let settings = Settings::new().volume_unit(EXTENT).deadline(Duration::from_secs(20));
                run(Server { settings, ..server }).await
            }
            Err(error) => Outcome::Failed(format!("connecting to the fake: {error}")),
        }
    })
}

/// What LVM hands out, which a new installation has its disks on.
const EXTENT: ByteSize = ByteSize::mib(4);

/// Connects. Where processors cannot virtualise new machines are emulated, and the hosts that have such are told.
async fn connected(mut config: ProxmoxConfig) -> hypervisor_core::Result<(Server, Vec<String>)> {
    let mut proxmox = Proxmox::connect(config.clone()).await?;
    let mut without = Vec::new();
    for host in proxmox.list_hosts(&PageRequest::first()).await?.items {
        // Who may not look takes the server's own default.
        let Ok(status) = proxmox.api().get(&format!("/nodes/{}/status", host.id)).await else { continue };
        // The server writes 1, or an empty text.
        let without_kvm = |hvm: &serde_json::Value| hvm == 0 || hvm == "" || hvm == "0";
        if status.pointer("/cpuinfo/hvm").is_some_and(without_kvm) {
            without.push(host.id.to_string());
        }
    }
    if !without.is_empty() {
        config = config.machine_default("kvm", "0");
        proxmox = Proxmox::connect(config.clone()).await?;
    }
    Ok((Server { proxmox, config, settings: Settings::from_env() }, without))
}

/// A template that the server has, where the settings name none.
async fn template(proxmox: &Proxmox) -> Option<VolumeId> {
    let page = &PageRequest::first();
    let pools = proxmox.list_pools(&PoolQuery::all(), page).await.ok()?.items;
    for pool in pools.iter().filter(|pool| pool.active && pool.content.contains("vztmpl")) {
        let Ok(volumes) = proxmox.list_volumes(&pool.id, page).await else { continue };
        let found = volumes.items.into_iter().find(|volume| volume.content.as_deref() == Some("vztmpl"));
        if let Some(found) = found {
            return Some(found.id);
        }
    }
    None
}

/// A server that was there before, with one connection for all cases.
struct Live {
    url: Option<String>,
    bench: Mutex<Option<Arc<Bench>>>,
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    hv: Arc<dyn Hypervisor>,
    server: Server,
}

impl Live {
    fn from_env() -> Self {
        let url = std::env::var(URL).ok().filter(|url| url.starts_with("proxmox"));
        Self { url, bench: Mutex::new(None) }
    }

    fn run(&self, case: &Case) -> Outcome {
        match self.bench() {
            Ok(bench) => bench.runtime.block_on(case.run(&bench.hv, &bench.server.settings)),
            Err(why) => Outcome::Failed(why),
        }
    }

    fn own(&self, own: own::Own) -> Outcome {
        match self.bench() {
            Ok(bench) => {
                let Bench { runtime, server, .. } = &*bench;
                runtime.block_on(own.run(&server.proxmox, &server.config, &server.settings))
            }
            Err(why) => Outcome::Failed(why),
        }
    }

    fn bench(&self) -> Result<Arc<Bench>, String> {
        let mut slot = self.bench.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bench) = &*slot {
            return Ok(Arc::clone(bench));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let connect = async {
            let config = ProxmoxConfig::new(self.url.as_deref().unwrap_or_default())?.with_env()?;
            connected(config).await
        };
        let (mut server, without) =
            runtime.block_on(connect).map_err(|error| format!("the live server: {error}"))?;
        if !without.is_empty() {
            println!("live: no KVM on {}: new machines are emulated (`default.kvm=0`)", without.join(", "));
        }
        let hv = Stack::standard(Arc::new(server.proxmox.clone())).build();
        // Emulated machines and three workers for all calls take their time.
        let settings = server.settings.volume_unit(EXTENT);
        server.settings = settings.deadline(Duration::from_secs(120)).case_deadline(Duration::from_secs(600));
        if server.settings.template.is_none() && server.settings.image.is_none() {
            server.settings.template = runtime.block_on(template(&server.proxmox));
            if let Some(template) = &server.settings.template {
                println!("live: containers are made of `{template}`, which the server has");
            }
        }
        let bench = Arc::new(Bench { runtime, hv, server });
        *slot = Some(Arc::clone(&bench));
        Ok(bench)
    }

    /// Removes what a case that was cut off has left.
    fn sweep(&self) -> Vec<String> {
        let bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner).take();
        bench.map_or_else(Vec::new, |bench| bench.runtime.block_on(sweep(&*bench.hv, &bench.server.settings)))
    }
}
