//! The inventory of a cluster: 10,000 guests from one answer of Proxmox VE, by us, by the least that decodes it, and by peers.
//!
//! One process serves the same bytes to all; each client is a process of its own, for its memory. They take turns.

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Uri, header};
use axum::response::Response;
use bytes::Bytes;
use hypervisor_core::model::{PageRequest, VmQuery};
use hypervisor_core::traits::Compute as _;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
use serde::Deserialize;

use crate::measure::{Memory, middle, timed};
use crate::record::{Row, skip};
use crate::role::{Child, current, output, python};
use crate::{Scale, peer};

const TABLE: &str = "cluster";
const GUESTS: usize = 10_000;
const HOSTS: usize = 20;

/// As a server of release 9.1 writes it: all the fields of a guest, in no order.
fn body() -> String {
    let mut rows = Vec::with_capacity(GUESTS + HOSTS);
    for host in 0..HOSTS {
        rows.push(format!(
            r#"{{"maxdisk":270553174016,"uptime":2886,"disk":23162032128,"mem":2128793600,"type":"node","id":"node/pve{host}","status":"online","node":"pve{host}","cpu":0.534062655395326,"cgroup-mode":2,"maxcpu":64,"maxmem":252765020160,"level":""}}"#
        ));
    }
    for guest in 0..GUESTS {
        let (vmid, host) = (100 + guest, guest % HOSTS);
        let mut row = format!(
            r#"{{"name":"guest-{guest:05}.example","node":"pve{host}","type":"qemu","netout":{},"netin":{},"mem":{},"diskwrite":{},"diskread":{},"vmid":{vmid},"memhost":{},"id":"qemu/{vmid}","maxcpu":4,"disk":0,"uptime":{},"#,
            guest * 7919,
            guest * 104_729,
            1_073_741_824 + guest * 4096,
            guest * 65_536,
            guest * 131_072,
            1_173_741_824 + guest * 4096,
            86_400 + guest,
        );
        let rest = r#""status":"running","maxdisk":34359738368,"template":0,"tags":"bench;web"#;
        write!(row, r#"{rest}","cpu":0.0{guest:05}17,"maxmem":4294967296,"pool":"prod"}}"#).expect("text");
        rows.push(row);
    }
    format!(r#"{{"data":[{}]}}"#, rows.join(","))
}

/// The same bytes for whoever asks.
pub(crate) async fn serve() {
    let body = Bytes::from(body());
    let json = |body: Bytes| {
        let mut response = Response::new(Body::from(body));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    };
    let answer = move |uri: Uri| {
        let answer = match uri.path() {
            "/api2/json/cluster/resources" => json(body.clone()),
            "/api2/json/version" => {
                json(Bytes::from_static(br#"{"data":{"version":"9.1.1","release":"9.1","repoid":"x"}}"#))
            }
            _ => json(Bytes::from_static(br#"{"data":{"/":{"VM.Audit":1}}}"#)),
        };
        std::future::ready(answer)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, Router::new().fallback(answer)).await.expect("a server");
}

/// What every client answers.
#[derive(Deserialize)]
struct Told {
    seconds: Vec<f64>,
    idle_kib: u64,
    peak_kib: u64,
    #[serde(default)]
    heap_bytes: Option<u64>,
    #[serde(default)]
    allocations: Option<u64>,
}

/// Lists so many times, and prints how long each took and what it needed.
fn client(words: &[String], idle: u64, list: impl Fn() -> usize) {
    let rounds: usize = words.get(1).and_then(|word| word.parse().ok()).expect("a number of rounds");
    let mut seconds = Vec::new();
    for round in 0..=rounds {
        let (took, found) = timed(|| black_box(list()));
        assert_eq!(found, GUESTS);
        if round > 0 {
            seconds.push(took.as_secs_f64());
        }
    }
    let peak = Memory::own().peak();
    let heap = allocation_counter::measure(|| assert_eq!(black_box(list()), GUESTS));
    let told = serde_json::json!({
        "seconds": seconds, "idle_kib": idle, "peak_kib": peak,
        "heap_bytes": heap.bytes_max, "allocations": heap.count_total,
    });
    println!("{told}");
}

fn url(words: &[String]) -> &str {
    words.first().expect("the server's address")
}

/// Through the driver, as a program does: every guest as `VmInfo`.
pub(crate) fn ours(words: &[String]) {
    let idle = Memory::own().restart();
    let runtime = current();
    let config = ProxmoxConfig::new(url(words)).expect("a URL").token("root@pam!bench", "secret");
    let proxmox = runtime.block_on(Box::pin(Proxmox::connect(config))).expect("a connection");
    client(words, idle, || {
        runtime.block_on(async {
            let page = proxmox.list_vms(&VmQuery::all(), &PageRequest::first()).await.expect("guests");
            page.items.len()
        })
    });
}

/// The least: the bytes into the eleven fields that a list shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code, reason = "decoded, and looked at by nobody")]
struct Eleven {
    vmid: u32,
    name: String,
    node: String,
    status: String,
    #[serde(rename = "type")]
    kind: String,
    maxcpu: u32,
    maxmem: u64,
    mem: u64,
    cpu: f64,
    uptime: u64,
    tags: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Data<T> {
    data: T,
}

/// reqwest and serde_json, and nothing else.
pub(crate) fn floor(words: &[String]) {
    let idle = Memory::own().restart();
    let runtime = current();
    let http = http();
    let resources = format!("{}/api2/json/cluster/resources", url(words));
    client(words, idle, || {
        runtime.block_on(async {
            let bytes = http.get(&resources).send().await.expect("an answer").bytes().await.expect("a body");
            let all: Data<Vec<Eleven>> = serde_json::from_slice(&bytes).expect("JSON");
            all.data.iter().filter(|guest| guest.vmid > 0).count()
        })
    });
}

/// The crate `proxmox-api`.
pub(crate) fn proxmox_api(words: &[String]) {
    let idle = Memory::own().restart();
    let runtime = current();
    let resources = peer::resources(http(), url(words));
    client(words, idle, || runtime.block_on(peer::guests(&resources)));
}

fn http() -> reqwest::Client {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().expect("the first provider of the process");
    reqwest::Client::builder().build().expect("a client")
}

/// Runs all of them in turn.
pub(crate) fn run(scale: Scale) {
    let (turns, rounds) = if scale.quick { (2, 5) } else { (5, 12) };
    let server = Child::start("cluster:serve", &[]);
    let url = server.line();
    let bytes = body().len();
    let mut all: Vec<(&str, Vec<Told>)> = Vec::new();
    for turn in 0..turns {
        let words = [url.clone(), rounds.to_string()];
        let mut clients: Vec<(&str, Option<Command>)> = vec![
            ("ours", Some(crate::role::command("cluster:ours", &words))),
            ("floor", Some(crate::role::command("cluster:floor", &words))),
            ("proxmox-api", Some(crate::role::command("cluster:proxmox-api", &words))),
            ("proxmoxer", python("proxmoxer_list.py", &words)),
        ];
        // Who begins changes.
        clients.rotate_left(turn % 4);
        for (name, command) in clients {
            let Some(mut command) = command else { continue };
            let told = serde_json::from_str(&output(&mut command)).expect("what the client printed");
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, tolds)) => tolds.push(told),
                None => all.push((name, vec![told])),
            }
        }
    }
    drop(server);
    if !all.iter().any(|(name, _)| *name == "proxmoxer") {
        skip(TABLE, "proxmoxer", crate::role::NO_PYTHON);
    }
    for (name, tolds) in all {
        let seconds = tolds.iter().flat_map(|told| &told.seconds);
        let time = middle(seconds.map(|seconds| Duration::from_secs_f64(*seconds)).collect());
        let mut grown: Vec<_> =
            tolds.iter().map(|told| told.peak_kib.saturating_sub(told.idle_kib)).collect();
        grown.sort_unstable();
        let row = Row::new(TABLE, name)
            .with("guests", GUESTS)
            .with("body_bytes", bytes)
            .with("lists", turns * rounds)
            .time("seconds", time)
            .with("peak_over_idle_kib", grown[grown.len() / 2]);
        let heap = tolds.iter().find_map(|told| Some((told.heap_bytes?, told.allocations?)));
        match heap {
            Some((bytes, count)) => row.with("heap_bytes", bytes).with("allocations", count).tell(),
            None => row.tell(),
        }
    }
}
