//! The same few lines of user code (`life.rs`) on every hypervisor at hand: in memory, libvirt's mock driver, and a QEMU machine that
//! really boots. `cargo xtask demo` brings up what the last one needs; `cargo run --example demo` takes what is there.

mod life;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use hypervisor::model::DirectBoot;
use hypervisor::{Effect, Error, ErrorKind, Result};

use life::{Guest, Plan};
use report::{Report, seconds};

/// One life of one machine, on each hypervisor. Without options: on all that are at hand, the live libvirt of
/// HYPERVISOR_TEST_LIBVIRT_URI included.
#[derive(Debug, Parser)]
struct Options {
    /// On the in-memory hypervisor.
    #[arg(long)]
    memory: bool,
    /// On libvirt's mock driver, with a private file for its state.
    #[arg(long)]
    test_driver: bool,
    /// On the live libvirt of this URL, with a guest that boots (HYPERVISOR_TEST_KERNEL, _INITRD and _SERIAL_DIR say which).
    #[arg(long, value_name = "URL")]
    live: Option<String>,
}

/// One hypervisor, and what is to be done on it.
struct Stage {
    title: &'static str,
    url: String,
    plan: Plan,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options::parse();
    if !options.memory && !options.test_driver && options.live.is_none() {
        options.memory = true;
        options.test_driver = cfg!(feature = "libvirt");
        options.live = std::env::var("HYPERVISOR_TEST_LIBVIRT_URI").ok();
    }
    match run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
async fn run(options: &Options) -> Result<bool> {
    let began = Instant::now();
    let scratch = tempfile::Builder::new().prefix("hypervisor-demo-").tempdir();
    let scratch = scratch.map_err(|error| config("a temporary folder", &error))?;
    let stages = stages(options, scratch.path())?;
    let mut summary = Vec::new();
    for stage in &stages {
        let started = Instant::now();
        println!("{}", stage.title);
        let outcome = perform(stage).await;
        if let Err(error) = &outcome {
            println!("  {error}");
        }
        println!();
        summary.push((stage.title, outcome.is_ok(), started.elapsed()));
        if outcome.is_err_and(|error| error.kind() == ErrorKind::Cancelled) {
            break;
        }
    }
    for (title, good, time) in &summary {
        println!("{} {title:<42}{:>10}", if *good { "ok    " } else { "FAILED" }, seconds(*time));
    }
    if options.live.is_none() {
        println!("left out: a QEMU machine that really boots; `cargo xtask demo` brings one up");
    }
    let good = summary.iter().filter(|(_, good, _)| *good).count();
    println!("{good} of {} in {}", stages.len(), seconds(began.elapsed()));
    Ok(good == stages.len())
}

/// The life, and afterwards, also after a failure or Ctrl-C, the cleaning up.
async fn perform(stage: &Stage) -> Result<()> {
    let report = Report::new();
    let hv = report.step("connect", hypervisor::connect(&stage.url)).await?;
    let info = hv.info();
    println!("  to {} {}", info.backend, info.version.as_deref().unwrap_or_default());
    let lived = tokio::select! {
        lived = life::life_of_a_machine(&hv, &stage.plan, &report) => lived,
        _ = tokio::signal::ctrl_c() => Err(Error::new(ErrorKind::Cancelled, "by Ctrl-C").with_effect(Effect::None)),
    };
    if lived.is_err()
        && let Err(error) = report.step("delete what is left", life::clean_up(&hv, &stage.plan)).await
    {
        println!("  {error}");
    }
    if let Some(guest) = &stage.plan.guest {
        // It may never have been written.
        let _ = std::fs::remove_file(&guest.serial_log);
    }
    lived
}

fn stages(options: &Options, scratch: &Path) -> Result<Vec<Stage>> {
    let name = format!("demo-{}", std::process::id());
    let pool_path = scratch.join("pool").display().to_string();
    let plan = || Plan { name: name.clone(), pool_path: pool_path.clone(), guest: None };
    let mut stages = Vec::new();
    if options.memory {
        stages.push(Stage {
            title: "in memory",
            url: "memory://?task_time=500ms&guest_time=300ms".to_owned(),
            plan: plan(),
        });
    }
    if options.test_driver {
        let file = scratch.join("host.xml");
        std::fs::write(&file, "<node/>\n").map_err(|error| config("the mock driver's file", &error))?;
        let url = format!("test://{}", file.display());
        stages.push(Stage { title: "libvirt's mock driver", url, plan: plan() });
    }
    if let Some(url) = &options.live {
        stages.push(live(url, &name)?);
    }
    Ok(stages)
}

fn live(url: &str, name: &str) -> Result<Stage> {
    let variable = |name: &str| std::env::var(name).map_err(|error| config(name, &error));
    let folder = variable("HYPERVISOR_TEST_SERIAL_DIR")?;
    let kernel = DirectBoot::new(variable("HYPERVISOR_TEST_KERNEL")?)
        .initrd(variable("HYPERVISOR_TEST_INITRD")?)
        .cmdline("console=ttyS0 quiet panic=-1");
    let guest = Guest { kernel, serial_log: format!("{folder}/{name}.log"), ready: "GUEST-READY" };
    let plan = Plan { name: name.to_owned(), pool_path: format!("{folder}/{name}"), guest: Some(guest) };
    Ok(Stage { title: "QEMU, really booting", url: url.to_owned(), plan })
}

fn config(what: &str, error: &dyn std::error::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{what}: {error}"))
}
