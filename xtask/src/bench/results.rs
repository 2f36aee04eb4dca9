//! `benches/RESULTS.md`.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use super::figures::{Figures, Row};
use super::{Options, machine, rows};

/// A goal beside what was reached.
struct Goal {
    what: &'static str,
    goal: &'static str,
    reached: Option<String>,
    met: bool,
}

/// The whole report.
pub(super) fn write(figures: &Figures, options: &Options, load: &str, took: Duration) -> Result<String> {
    let mut out = String::from("# What it costs\n\n");
    out.push_str(
        "Made by `cargo xtask bench`; every figure was read from what the benches wrote. Times are medians. What is compared took \
         turns in one run on one machine.\n\n",
    );
    if options.unoptimized {
        out.push_str(
            "**This was built without optimisation, to see that it works. Its figures mean nothing.**\n\n",
        );
    }
    if options.quick {
        out.push_str(
            "**This was a quick run: few samples, to see that it works. Its figures are no measurements to rely on.**\n\n",
        );
    }
    for fact in machine::describe(load)? {
        writeln!(out, "- {fact}")?;
    }
    writeln!(out, "- the run took {:.0} s\n", took.as_secs_f64())?;
    goals(&mut out, figures)?;
    dispatch(&mut out, figures)?;
    cluster(&mut out, figures)?;
    libvirt(&mut out, figures)?;
    batch(&mut out, figures)?;
    streams(&mut out, figures)?;
    growth(&mut out, figures)?;
    build(&mut out, figures)?;
    said(&mut out, figures)?;
    if !figures.left_out.is_empty() {
        out.push_str("## Left out\n\n");
        for line in &figures.left_out {
            writeln!(out, "- {line}")?;
        }
        out.push('\n');
    }
    Ok(out.trim_end().to_owned() + "\n")
}

/// `(one / other)`, where both are there.
fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.zip(other).filter(|(_, other)| *other > 0.0).map(|(one, other)| one / other)
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 1.0 => format!("{seconds:.2} s"),
        _ if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        _ if seconds >= 1e-6 => format!("{:.1} µs", seconds * 1e6),
        _ => format!("{:.0} ns", seconds * 1e9),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        _ if bytes >= 1_048_576.0 => format!("{:.1} MiB", bytes / 1_048_576.0),
        _ if bytes >= 1024.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{bytes:.0} B"),
    }
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".to_owned())
}

fn find<'a>(figures: &'a Figures, table: &'a str, what: &'a str) -> Option<&'a Row> {
    rows(figures, table).find(|row| row.what() == what)
}

fn figure(figures: &Figures, table: &str, what: &str, field: &str) -> Option<f64> {
    find(figures, table, what)?.number(field)
}

/// A goal that a ratio or a number must not exceed.
fn at_most(
    what: &'static str,
    goal: &'static str,
    reached: Option<f64>,
    most: f64,
    show: fn(f64) -> String,
) -> Goal {
    Goal { what, goal, met: reached.is_some_and(|reached| reached <= most), reached: reached.map(show) }
}

/// A goal that a ratio must reach.
fn at_least(what: &'static str, goal: &'static str, reached: Option<f64>, least: f64) -> Goal {
    Goal { what, goal, met: reached.is_some_and(|reached| reached >= least), reached: reached.map(times) }
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}

fn all_goals(figures: &Figures) -> Vec<Goal> {
    let cluster = |what: &str, field: &str| figure(figures, "cluster", what, field);
    let full = ratio(figures.median("get_vm", "full stack"), figures.median("get_vm", "dyn"));
    let allocations = figure(figures, "allocations", "get_vm/full stack", "allocations");
    let bare = figure(figures, "allocations", "get_vm/dyn", "allocations");
    let added = allocations.zip(bare).map(|(all, bare)| all - bare);
    let ours = |field: &str| cluster("ours", field);
    let mut goals = vec![
        at_most("a call under the full stack, beside a bare `dyn` call", "< 4x", full, 4.0, times),
        at_most("what the full stack adds to the call's own allocations", "≤ 4", added, 4.0, whole),
        at_most(
            "10,000 guests of a cluster, beside the floor",
            "≤ 1.25x",
            ratio(ours("seconds"), cluster("floor", "seconds")),
            1.25,
            times,
        ),
        at_most(
            "the same: peak memory over idle, beside the floor",
            "≤ 1.5x",
            ratio(ours("peak_over_idle_kib"), cluster("floor", "peak_over_idle_kib")),
            1.5,
            times,
        ),
        at_least(
            "the same: times as fast as proxmoxer",
            "≥ 5x",
            ratio(cluster("proxmoxer", "seconds"), ours("seconds")),
            5.0,
        ),
    ];
    for row in rows(figures, "batch") {
        let what = if row.what().starts_with("bulk") {
            "1,000 starts in bulk calls, beside the bound"
        } else {
            "1,000 starts one by one, beside the bound"
        };
        let reached = ratio(row.number("seconds"), row.number("bound_seconds"));
        goals.push(at_most(what, "≤ 1.15x", reached, 1.15, times));
    }
    let streams: Vec<&Row> = rows(figures, "streams").collect();
    let worst = streams.iter().filter_map(|row| ratio(row.number("peer_seconds"), row.number("seconds")));
    goals.push(at_least(
        "throughput of streams, the worst beside its peer",
        "≥ 0.9x",
        worst.reduce(f64::min),
        0.9,
    ));
    let grown = streams.iter().flat_map(|row| {
        [row.number("peak_over_idle_kib"), row.number("server_peak_over_idle_kib")].into_iter().flatten()
    });
    let grown = grown.reduce(f64::max).map(|kib| kib * 1024.0);
    goals.push(at_most("memory of a stream over idle, the worst", "< 32 MiB", grown, 33_554_432.0, bytes));
    let packages = |what: &str| figure(figures, "build", what, "packages");
    goals.push(at_most("packages of core alone", "< 40", packages("core alone"), 39.0, whole));
    goals.push(at_most(
        "packages of the facade's default",
        "< 150",
        packages("facade, default features"),
        149.0,
        whole,
    ));
    goals
}

fn goals(out: &mut String, figures: &Figures) -> Result<()> {
    out.push_str("## Goals\n\n| what | goal | reached | |\n|---|---|---|---|\n");
    for goal in all_goals(figures) {
        let verdict = match (&goal.reached, goal.met) {
            (None, _) => "not measured",
            (Some(_), true) => "met",
            (Some(_), false) => "**missed**",
        };
        writeln!(out, "| {} | {} | {} | {verdict} |", goal.what, goal.goal, or_none(goal.reached))?;
    }
    out.push('\n');
    Ok(())
}

fn dispatch(out: &mut String, figures: &Figures) -> Result<()> {
    if figures.medians.is_empty() {
        return Ok(());
    }
    out.push_str("## Dispatch\n\n`get_vm` on the in-memory hypervisor, which answers at once.\n\n");
    out.push_str("| call | time | beside `dyn` | allocations | bytes |\n|---|---|---|---|---|\n");
    let bare = figures.median("get_vm", "dyn");
    for name in ["direct", "dyn", "trace", "retry", "budget", "limit", "timeout", "full stack"] {
        let Some(median) = figures.median("get_vm", name) else { continue };
        let what = format!("get_vm/{name}");
        let counted = |field: &str| or_none(figure(figures, "allocations", &what, field).map(whole));
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} |",
            seconds(median * 1e-9),
            or_none(ratio(Some(median), bare).map(times)),
            counted("allocations"),
            counted("bytes"),
        )?;
    }
    out.push_str("\nMore of the in-memory hypervisor, and other benches by criterion:\n\n| bench | time |\n|---|---|\n");
    for ((group, name), median) in figures.medians.iter().filter(|((group, _), _)| group != "get_vm") {
        writeln!(out, "| {group}: {name} | {} |", seconds(median * 1e-9))?;
    }
    out.push('\n');
    Ok(())
}

fn cluster(out: &mut String, figures: &Figures) -> Result<()> {
    let Some(first) = rows(figures, "cluster").next() else { return Ok(()) };
    writeln!(
        out,
        "## Inventory of a cluster\n\n{} guests in one answer of {}, the same bytes over plain HTTP on loopback for all, each client a \
         process of its own on one thread. The floor is reqwest and serde_json into eleven fields; `proxmox-api` runs over a client of \
         ours that does what its own does. Peak memory is the process's, over what it had before it connected; the heap is that of one \
         list.\n",
        whole(first.number("guests").unwrap_or_default()),
        bytes(first.number("body_bytes").unwrap_or_default()),
    )?;
    out.push_str("| client | time | beside the floor | peak memory | beside the floor | heap | allocations |\n|---|---|---|---|---|---|---|\n");
    let floor = |field: &str| figure(figures, "cluster", "floor", field);
    for row in rows(figures, "cluster") {
        let peak = row.number("peak_over_idle_kib");
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.what(),
            or_none(row.number("seconds").map(seconds)),
            or_none(ratio(row.number("seconds"), floor("seconds")).map(times)),
            or_none(peak.map(|kib| bytes(kib * 1024.0))),
            or_none(ratio(peak, floor("peak_over_idle_kib")).map(times)),
            or_none(row.number("heap_bytes").map(bytes)),
            or_none(row.number("allocations").map(whole)),
        )?;
    }
    out.push('\n');
    Ok(())
}

fn libvirt(out: &mut String, figures: &Figures) -> Result<()> {
    if rows(figures, "libvirt").next().is_none() {
        return Ok(());
    }
    out.push_str(
        "## Machines of libvirt\n\nThe list of ours gives everything that `VmInfo` holds, definitions included; the other lists give what their \
         names say. HyperSDK asks virsh: one process for the list and one more for each machine.\n\n",
    );
    out.push_str("| where | machines | who | call | time |\n|---|---|---|---|---|\n");
    for row in rows(figures, "libvirt") {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            row.text("place"),
            or_none(row.number("machines").map(whole)),
            row.what(),
            row.text("call"),
            or_none(row.number("seconds").map(seconds)),
        )?;
    }
    out.push('\n');
    Ok(())
}

fn batch(out: &mut String, figures: &Figures) -> Result<()> {
    if rows(figures, "batch").next().is_none() {
        return Ok(());
    }
    out.push_str(
        "## Batch\n\n1,000 starts, 32 at a time, on the fake Proxmox VE, which answers after 20 ms and works 200 ms on each. The bound is \
         32 rounds of both. The least requests are one for each start, or for each round where one call takes many, with one look at its \
         task; and in each round one look at each of the four hosts.\n\n",
    );
    out.push_str("| how | time | bound | beside it | requests | least |\n|---|---|---|---|---|---|\n");
    for row in rows(figures, "batch") {
        let (time, bound) = (row.number("seconds"), row.number("bound_seconds"));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.what(),
            or_none(time.map(seconds)),
            or_none(bound.map(seconds)),
            or_none(ratio(time, bound).map(times)),
            or_none(row.number("requests").map(whole)),
            or_none(row.number("least_requests").map(whole)),
        )?;
    }
    out.push('\n');
    Ok(())
}

fn streams(out: &mut String, figures: &Figures) -> Result<()> {
    if rows(figures, "streams").next().is_none() {
        return Ok(());
    }
    out.push_str(
        "## Streams\n\nMemory is the most that our process, and our gateway's, had over what it had before. Proxmox VE's API hands out no \
         volumes, so that nothing is read there.\n\n",
    );
    out.push_str("| through | way | bytes | ours | peer | throughput beside it | memory | gateway's memory |\n|---|---|---|---|---|---|---|---|\n");
    for row in rows(figures, "streams") {
        let (ours, peer, length) = (row.number("seconds"), row.number("peer_seconds"), row.number("bytes"));
        let rate = |time: Option<f64>| or_none(ratio(length, time).map(|rate| format!("{}/s", bytes(rate))));
        let memory = |field: &str| or_none(row.number(field).map(|kib| bytes(kib * 1024.0)));
        writeln!(
            out,
            "| {} | {} | {} | {} | {}: {} | {} | {} | {} |",
            row.what(),
            row.text("way"),
            or_none(length.map(bytes)),
            rate(ours),
            row.text("peer"),
            rate(peer),
            or_none(ratio(peer, ours).map(times)),
            memory("peak_over_idle_kib"),
            memory("server_peak_over_idle_kib"),
        )?;
    }
    out.push('\n');
    Ok(())
}

fn growth(out: &mut String, figures: &Figures) -> Result<()> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows(figures, "growth") {
        if !names.contains(&row.what()) {
            names.push(row.what());
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    out.push_str(
        "## Growth\n\nCalls are those of the backend, or requests to the server. The last column is how many times as long one machine takes as \
         at the size before; above 1.5x it is marked as growing faster than the number of machines.\n\n",
    );
    out.push_str("| what | machines | time | for each machine | calls | heap for each machine | beside the size before |\n|---|---|---|---|---|---|---|\n");
    for name in names {
        let mut before: Option<f64> = None;
        for row in rows(figures, "growth").filter(|row| row.what() == name) {
            let machines = row.number("machines");
            let each = ratio(row.number("seconds"), machines);
            let beside = ratio(each, before)
                .map(|ratio| if ratio > 1.5 { format!("**{}**", times(ratio)) } else { times(ratio) });
            writeln!(
                out,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                or_none(machines.map(whole)),
                or_none(row.number("seconds").map(seconds)),
                or_none(each.map(seconds)),
                or_none(row.number("calls").map(whole)),
                or_none(ratio(row.number("heap_bytes"), machines).map(bytes)),
                or_none(beside),
            )?;
            before = each;
        }
    }
    out.push('\n');
    Ok(())
}

fn build(out: &mut String, figures: &Figures) -> Result<()> {
    if rows(figures, "build").next().is_none() {
        return Ok(());
    }
    out.push_str("## Builds\n\n`cargo build` into an empty folder, and the unique packages of `cargo tree -e normal`, itself included.\n\n");
    out.push_str("| what | packages | clean build |\n|---|---|---|\n");
    for row in rows(figures, "build") {
        let packages = or_none(row.number("packages").map(whole));
        let time = or_none(row.number("seconds").map(|seconds| format!("{seconds:.1} s")));
        writeln!(out, "| {} | {packages} | {time} |", row.what())?;
    }
    out.push('\n');
    Ok(())
}

fn said(out: &mut String, figures: &Figures) -> Result<()> {
    for (title, lines) in &figures.said {
        writeln!(out, "## In the words of the bench `{title}`\n\n```text")?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.push_str("```\n\n");
    }
    Ok(())
}
