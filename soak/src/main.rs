//! The soak: 64 workers on each backend under faults, for as long as wanted. At the end of each stage the world must be what the workers were
//! told: every acknowledged create exists once, every acknowledged delete is gone, nothing is left over, no task is open, and nothing
//! still runs. `cargo xtask soak` runs it.

mod model;
mod plant;
mod process;
mod served;
mod stage;
mod tally;
mod verdict;
mod weather;
mod worker;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::plant::Plant;
use crate::process::resident;
use crate::stage::Stage;
use crate::tally::Tally;

/// How many workers are at work at the same time.
const WORKERS: usize = 64;
/// The longest that one stage takes: more time means more stages.
const LONGEST: Duration = Duration::from_secs(60);
/// What the process may have grown by between the first round and the last.
const GROWTH: u64 = 24 * 1024 * 1024;

/// Many workers on each backend under faults.
#[derive(Debug, Parser)]
struct Options {
    /// How long in all.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the faults and of what the workers do; another one in each run where it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this backend.
    #[arg(long)]
    only: Option<String>,
    /// Something goes wrong on purpose in the last round; the run must fail for it.
    #[arg(long, hide = true)]
    plant: Option<Plant>,
    /// Be the fake of a stage until standard input ends.
    #[arg(long, hide = true)]
    serve: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.serve {
        runtime.block_on(served::serve());
        return ExitCode::SUCCESS;
    }
    let tally = runtime.block_on(soak(&options, seed));
    println!("\nsoak: seed {seed}: {tally}");
    if tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn soak(options: &Options, seed: u64) -> Tally {
    let worlds: Vec<_> = world::KINDS
        .iter()
        .filter(|kind| options.only.as_ref().is_none_or(|only| only == kind.name))
        .collect();
    let mut total = Tally::default();
    if worlds.is_empty() {
        let known: Vec<_> = world::KINDS.iter().map(|kind| kind.name).collect();
        total.diverge(format!("no backend is called that; there are {}", known.join(", ")));
        return total;
    }
    // At least two rounds: what the first one leaves behind in the process, the second one shows.
    let count = u32::try_from(worlds.len()).unwrap_or(1);
    let whole = Duration::from_secs(options.seconds);
    let mut rounds = 2;
    while whole / (rounds * count) > LONGEST {
        rounds += 1;
    }
    let each = whole / (rounds * count);
    // In the process an operation costs a hundredth of one over HTTP.
    let quick = if worlds.iter().all(|kind| kind.is_quick) { each } else { each / 4 };
    let slow = u32::try_from(worlds.iter().filter(|kind| !kind.is_quick).count()).unwrap_or(1);
    let rest = (each * count).saturating_sub(quick * count.saturating_sub(slow)) / slow.max(1);
    println!(
        "seed {seed}: {rounds} rounds of {} backends, {WORKERS} workers, {:.1} s each in this process, {:.1} s over HTTP",
        worlds.len(),
        quick.as_secs_f64(),
        rest.as_secs_f64()
    );
    let mut after_first = None;
    for round in 0..rounds {
        for (kind, number) in worlds.iter().zip(0_u64..) {
            let stage = Stage {
                kind,
                round,
                seed: seed.wrapping_add(number).wrapping_add(u64::from(round) * 1000),
                time: if kind.is_quick { quick } else { rest },
                plant: options.plant.filter(|_| round + 1 == rounds),
            };
            let tally = Box::pin(stage.run()).await;
            println!("{:<12} {tally}", kind.name);
            total.add(tally);
        }
        let now = resident();
        let first = *after_first.get_or_insert(now);
        println!("round {}: {} MiB resident", round + 1, now / (1024 * 1024));
        if now > first.saturating_add(GROWTH) {
            let (first, now) = (first / 1024, now / 1024);
            total.diverge(format!(
                "the process has grown from {first} KiB after the first round to {now} KiB"
            ));
        }
    }
    total
}
