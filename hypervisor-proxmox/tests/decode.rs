//! What reading the list of a large cluster costs: counted, not timed.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::alloc::System;
use std::fmt::Write as _;

use hypervisor_proxmox::wire::resources::inventory;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a program reads that knows just these fields.
#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "only reading it matters")]
struct Minimal {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    node: String,
    vmid: u64,
    name: String,
    status: String,
    cpu: f64,
    maxcpu: u64,
    mem: u64,
    maxmem: u64,
    uptime: u64,
}

#[derive(serde::Deserialize)]
struct Envelope {
    data: Vec<Minimal>,
}

/// The rows as the server sends them, on ten nodes.
fn list(guests: u32) -> String {
    let mut body = String::from("{\"data\":[");
    for number in 0..guests {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            body,
            "{comma}{{\"diskwrite\":0,\"vmid\":{vmid},\"diskread\":0,\"disk\":0,\"id\":\"qemu/{vmid}\",\"memhost\":0,\
             \"maxcpu\":2,\"uptime\":956,\"status\":\"running\",\"maxdisk\":2147483648,\"template\":0,\"cpu\":0.078771112,\
             \"maxmem\":536870912,\"type\":\"qemu\",\"node\":\"pve{node}\",\"name\":\"web-{number}\",\"netout\":81400,\
             \"netin\":2939,\"mem\":104857600}}",
            vmid = 100 + number,
            node = number % 10
        );
    }
    body.push_str("]}");
    body
}

#[test]
fn ten_thousand_guests_cost_two_allocations_each() {
    let body = list(10_000);
    let region = Region::new(ALLOCATOR);
    let whole = inventory(body.as_bytes()).unwrap();
    let ours = region.change();
    assert_eq!(whole.guests.len(), 10_000);
    let region = Region::new(ALLOCATOR);
    let minimal: Envelope = serde_json::from_str(&body).unwrap();
    let theirs = region.change();
    assert_eq!(minimal.data.len(), 10_000);
    println!(
        "{} bytes of JSON: {} allocations for the model, {} for eleven fields",
        body.len(),
        ours.allocations,
        theirs.allocations
    );
    // The id and the name; the names of nodes are shared.
    assert!(ours.allocations < 20_500, "{ours:?}");
    assert!(ours.allocations < theirs.allocations, "{ours:?} against {theirs:?}");
}
