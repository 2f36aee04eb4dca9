//! Prints what each backend can do, as the Markdown between README's `capabilities` marks.
//!
//! `cargo run --example capabilities` shows the backends that are compiled in; a URL as argument shows one connection instead:
//! `cargo run --features libvirt --example capabilities -- qemu:///system`. With `--errors`, the catalogue of errors of `docs/errors.md`.

use std::fmt::Write as _;

use hypervisor::model::{Capabilities, Capability, Feature, Support};
use hypervisor::{Effect, Error, ErrorKind, Operation, Result, Retry};

/// The first operation of each area; an area goes on until the next one begins.
const AREAS: &[(&str, Operation)] = &[
    ("Hosts and cluster", Operation::GetCluster),
    ("Guests: list, read, create, update, delete", Operation::ListVms),
    ("Power: start, shutdown, power off, reboot, reset, pause, resume, hibernate", Operation::StartVm),
    ("Clone, migrate, templates, export", Operation::CloneVm),
    ("Disks and NICs of a guest", Operation::AttachDisk),
    ("Console and screenshot", Operation::GetConsole),
    ("Resource groups", Operation::ListGroups),
    ("Storage pools and volumes, upload and download", Operation::ListPools),
    ("Networks and leases", Operation::ListNetworks),
    ("Snapshots", Operation::ListSnapshots),
    ("Backups", Operation::ListBackups),
    ("Metrics", Operation::GetHostMetrics),
    ("Tasks", Operation::GetTask),
    ("Batch", Operation::SubmitBatch),
    ("Guest agent and addresses", Operation::PingAgent),
    ("Events", Operation::Watch),
];

struct Column {
    title: String,
    capabilities: Capabilities,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let columns = match std::env::args().nth(1).as_deref() {
        Some("--errors") => {
            print!("{}", catalogue());
            return Ok(());
        }
        Some(url) => vec![connected(url).await?],
        None => compiled_in().await?,
    };
    print!("{}", render(&columns));
    Ok(())
}

fn catalogue() -> String {
    let mut out = String::new();
    for kind in ErrorKind::ALL {
        let error = Error::new(*kind, "");
        let effect = match error.effect() {
            Effect::None => "nothing was changed",
            _ => "unknown: it may have been done",
        };
        let retry = match error.retry() {
            Retry::Safe => "a later try may succeed, and repeating is safe",
            Retry::IfIdempotent => "only what may be done twice: a read, a resize, a delete; not a create",
            _ => "the same call gets the same answer",
        };
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            "## `{kind:?}`\n\n{} On wires and in logs: `{}`.\n\n- **Likely cause**: {}\n- **What to do**: {}\n\
             - **Effect**: {effect}. **Again?** {retry}.\n\n",
            kind.meaning(),
            kind.as_str(),
            kind.likely_cause(),
            kind.remedy(),
        );
    }
    out
}

async fn connected(url: &str) -> Result<Column> {
    let hv = hypervisor::connect(url).await?;
    let info = hv.info();
    let version = info.version.as_deref().unwrap_or_default();
    let title = format!("{} {version}", info.backend).trim().to_owned();
    Ok(Column { title, capabilities: hv.capabilities().clone() })
}

async fn compiled_in() -> Result<Vec<Column>> {
    let memory = hypervisor::connect("memory://").await?;
    let column = |title: &str, capabilities: Capabilities| Column { title: title.to_owned(), capabilities };
    Ok(vec![
        column("memory", memory.capabilities().clone()),
        // Without a connection, so that the table is the same on every machine.
        #[cfg(feature = "libvirt")]
        column("libvirt: QEMU", hypervisor::libvirt::Libvirt::qemu_capabilities()),
        #[cfg(feature = "libvirt")]
        column("libvirt: mock driver", hypervisor::libvirt::Libvirt::test_capabilities()),
        #[cfg(feature = "proxmox")]
        column("Proxmox VE", hypervisor::proxmox::Proxmox::best_capabilities()),
        #[cfg(feature = "client")]
        column("v1, as documented", hypervisor::client::Dialect::V1.best_capabilities()),
        #[cfg(feature = "client")]
        column("HyperSDK", hypervisor::client::Dialect::HyperSdk.best_capabilities()),
        #[cfg(feature = "client")]
        column("Virtumancer", hypervisor::client::Dialect::Virtumancer.best_capabilities()),
        #[cfg(feature = "client")]
        column("virtualization-mcp", hypervisor::client::Dialect::VirtualizationMcp.best_capabilities()),
    ])
}

fn render(columns: &[Column]) -> String {
    let areas: Vec<(&str, &[Operation])> = areas().collect();
    let features = Feature::ALL.iter().copied().map(Capability::Feature).collect::<Vec<_>>();
    let mut out = head("Area", columns);
    for (area, operations) in &areas {
        let operations: Vec<Capability> = operations.iter().copied().map(Capability::Operation).collect();
        row(&mut out, area, columns, |column| count(column, &operations));
    }
    row(&mut out, "Features that only some backends have", columns, |column| count(column, &features));

    out += "\n<details><summary>Every operation and feature</summary>\n\n";
    out += "`yes`: the backend does it; `built`: the driver builds it from several calls; `–`: it cannot be done.\n\n";
    out += &head("Operation or feature", columns);
    for capability in
        areas.iter().flat_map(|(_, all)| all.iter().copied().map(Capability::Operation)).chain(features)
    {
        row(&mut out, &format!("`{capability}`"), columns, |column| {
            mark(&column.capabilities.get(capability))
        });
    }
    out += "\n</details>\n";
    out
}

fn areas() -> impl Iterator<Item = (&'static str, &'static [Operation])> {
    let place = |first: Operation| Operation::ALL.iter().position(|each| *each == first).unwrap_or_default();
    AREAS.iter().enumerate().map(move |(index, (area, first))| {
        let end = AREAS.get(index + 1).map_or(Operation::ALL.len(), |(_, next)| place(*next));
        (*area, Operation::ALL.get(place(*first)..end).unwrap_or_default())
    })
}

fn head(first: &str, columns: &[Column]) -> String {
    let mut out = String::new();
    row(&mut out, first, columns, |column| column.title.clone());
    out + &format!("|---|{}\n", ":-:|".repeat(columns.len()))
}

fn row(out: &mut String, first: &str, columns: &[Column], cell: impl Fn(&Column) -> String) {
    let cells: Vec<String> = columns.iter().map(cell).collect();
    // Writing into a String cannot fail.
    let _ = writeln!(out, "| {first} | {} |", cells.join(" | "));
}

fn count(column: &Column, all: &[Capability]) -> String {
    match all.iter().filter(|capability| column.capabilities.has(**capability)).count() {
        0 => "–".to_owned(),
        had if had == all.len() => "all".to_owned(),
        had => format!("{had} of {}", all.len()),
    }
}

fn mark(support: &Support) -> String {
    match support {
        Support::Native => "yes",
        Support::Emulated(_) => "built",
        _ => "–",
    }
    .to_owned()
}
