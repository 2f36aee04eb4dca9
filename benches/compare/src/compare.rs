//! What the SDK does beside its peers and beside the least that would do: `cargo xtask bench` runs it and writes the tables.
//!
//! `cargo bench -p hypervisor-compare --all-features -- [--quick] [--only NAME]…`. Each figure is a line `BENCH {json}`. What needs a libvirtd
//! runs where `HYPERVISOR_TEST_LIBVIRT_URI` names one (`cargo xtask live up` prints it), and peers in Python where
//! `HYPERVISOR_BENCH_PYTHON` names a Python that has them; what is left out says so.
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::large_futures,
    clippy::future_not_send,
    reason = "a bench ends by a panic, and its figures are printed, not used"
)]

mod cluster;
mod growth;
#[cfg(feature = "libvirt")]
mod machines;
mod measure;
mod peer;
mod power;
mod record;
mod role;
mod streams;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Few rounds: to see that it works.
    quick: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word == "--role") {
        let role = words.get(at + 1).expect("the name of a role").clone();
        return play(&role, &words[at + 2..]);
    }
    let scale = Scale { quick: words.iter().any(|word| word == "--quick") };
    let only: Vec<&String> = words
        .iter()
        .zip(words.iter().skip(1))
        .filter(|(flag, _)| *flag == "--only")
        .map(|(_, name)| name)
        .collect();
    type Bench = (&'static str, fn(Scale));
    let all: [Bench; 5] = [
        ("cluster", cluster::run),
        ("libvirt", libvirt),
        ("batch", power::run),
        ("streams", streams::run),
        ("growth", growth::run),
    ];
    for (name, run) in all {
        if only.is_empty() || only.iter().any(|wanted| *wanted == name) {
            println!("\n== {name}");
            run(scale);
        }
    }
}

/// What a further process of this program does.
fn play(role: &str, words: &[String]) {
    match role {
        "cluster:serve" => role::threads().block_on(cluster::serve()),
        "cluster:ours" => cluster::ours(words),
        "cluster:floor" => cluster::floor(words),
        "cluster:proxmox-api" => cluster::proxmox_api(words),
        "streams:pve" => role::threads().block_on(streams::serve_pve()),
        "streams:gateway" => role::threads().block_on(streams::serve_gateway(words)),
        other => panic!("no role `{other}`"),
    }
}

#[cfg(feature = "libvirt")]
fn libvirt(scale: Scale) {
    machines::run(scale);
}

#[cfg(not(feature = "libvirt"))]
fn libvirt(_: Scale) {
    record::skip("libvirt", "all", "built without the feature `libvirt`");
}
