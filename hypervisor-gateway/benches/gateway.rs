//! What client and gateway cost beside bare HTTP: `cargo bench -p hypervisor-gateway`.
//!
//! 10,000 machines are listed, all pages, through client, loopback, gateway and the in-memory hypervisor; beside it a bare axum handler
//! serves the same bytes to bare reqwest and serde_json, into the same models. The two take turns, so that a busy machine slows both.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "criterion's macros have no docs; a bench ends by a panic"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::future::join_all;
use hypervisor_client::ClientConfig;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{PageRequest, VmInfo, VmQuery, VmSpec};
use hypervisor_core::{Compute as _, Hypervisor};
use hypervisor_gateway::{Gateway, GatewayConfig};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

const GUESTS: usize = 10_000;
const ROUNDS: usize = 31;
const CLIENTS: usize = 64;

#[derive(Deserialize)]
struct Envelope {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    vms: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    info: VmInfo,
}

struct Bench {
    runtime: Runtime,
    _gateway: Gateway,
    ours: Arc<dyn Hypervisor>,
    bare: (reqwest::Client, SocketAddr, usize),
}

/// How long processors have been at work for this process; nothing where the system does not tell.
fn processor_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

async fn through(ours: &dyn Hypervisor) -> usize {
    let (mut request, mut seen) = (PageRequest::first(), 0);
    loop {
        let page = ours.list_vms(&VmQuery::all(), &request).await.expect("a page");
        seen += black_box(page.items).len();
        match page.next {
            Some(next) => request = PageRequest::first().cursor(next),
            None => return seen,
        }
    }
}

async fn bare((client, at, pages): &(reqwest::Client, SocketAddr, usize)) -> usize {
    let mut seen = 0;
    for page in 0..*pages {
        let response = client.get(format!("http://{at}/{page}")).send().await.expect("an answer");
        let bytes = response.bytes().await.expect("a body");
        let page: Envelope = serde_json::from_slice(&bytes).expect("a page");
        let items: Vec<_> = page.data.vms.into_iter().map(|row| row.info).collect();
        seen += black_box(items).len();
    }
    seen
}

/// The very bytes that the gateway answers, page by page.
async fn recorded(client: &reqwest::Client, at: SocketAddr, token: &str) -> Vec<Bytes> {
    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut url = url::Url::parse(&format!("http://{at}/v1/vms?view=native&limit=1000")).expect("a URL");
        if let Some(cursor) = &cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let answer = client.get(url).bearer_auth(token).send().await.expect("an answer");
        let bytes = answer.bytes().await.expect("a body");
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        pages.push(bytes);
        match value["data"]["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return pages,
        }
    }
}

impl Bench {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (gateway, ours, bare) = runtime.block_on(async {
            let memory = Memory::new();
            for number in 0..GUESTS {
                let spec = VmSpec::new(format!("guest-{number:05}")).tag("bench");
                drop(memory.create_vm(&spec).await.expect("a guest"));
            }
            let gateway = Gateway::open(Arc::new(memory), GatewayConfig::new().without_rates()).await;
            let gateway = gateway.expect("a gateway");
            let token = gateway.create_token("bench", &["*"], None).await.expect("a token").token;
            let at = serve(gateway.router()).await;
            let config = ClientConfig::new(&format!("http+v1://{at}")).expect("a configuration");
            let ours = hypervisor_client::connect(config.token(token.clone()).allow_plain_http_credentials())
                .await
                .expect("a client");
            let client = reqwest::Client::builder().build().expect("a client");
            let pages = Arc::new(recorded(&client, at, &token).await);
            let (many, size) = (pages.len(), pages.iter().map(Bytes::len).sum::<usize>());
            println!("{GUESTS} guests: {many} pages, {size} bytes");
            let router = Router::new().route(
                "/{page}",
                get(move |Path(page): Path<usize>| {
                    let bytes = pages.get(page).cloned().unwrap_or_default();
                    async move { ([("content-type", "application/json")], bytes) }
                }),
            );
            let at = serve(router).await;
            (gateway, ours, (client, at, many))
        });
        Self { runtime, _gateway: gateway, ours, bare }
    }

    fn ours(&self, clients: usize) -> Duration {
        let began = Instant::now();
        let seen = self.runtime.block_on(join_all((0..clients).map(|_| {
            let ours = Arc::clone(&self.ours);
            async move { tokio::spawn(async move { through(&*ours).await }).await.expect("a list") }
        })));
        assert!(seen.iter().all(|seen| *seen == GUESTS), "guests are missing");
        began.elapsed()
    }

    fn bare(&self, clients: usize) -> Duration {
        let began = Instant::now();
        let seen = self.runtime.block_on(join_all((0..clients).map(|_| {
            let used = self.bare.clone();
            async move { tokio::spawn(async move { bare(&used).await }).await.expect("a list") }
        })));
        assert!(seen.iter().all(|seen| *seen == GUESTS), "guests are missing");
        began.elapsed()
    }

    /// Medians of rounds in turns, and what one is of the other; beside them the time that processors were at work, which others on the
    /// machine do not lengthen.
    fn compare(&self, clients: usize, rounds: usize) {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        let mut at_work = [Duration::ZERO; 2];
        for _ in 0..rounds {
            let before = processor_time();
            bare.push(self.bare(clients));
            let between = processor_time();
            ours.push(self.ours(clients));
            at_work[0] += between.saturating_sub(before);
            at_work[1] += processor_time().saturating_sub(between);
        }
        ours.sort();
        bare.sort();
        let (ours, bare) = (ours[rounds / 2], bare[rounds / 2]);
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!(
            "list, {clients} at a time: {ours:?} beside bare {bare:?}: {ratio:.2}x (medians of {rounds})"
        );
        let [bare, ours] = at_work.map(|all| all.as_secs_f64() * 1e3 / rounds as f64);
        if bare > 0.0 {
            println!("processors at work: {ours:.1} ms beside bare {bare:.1} ms: {:.2}x", ours / bare);
        }
    }
}

fn benches(criterion: &mut Criterion) {
    let bench = Bench::new();
    bench.compare(1, 3);
    bench.compare(1, ROUNDS);
    bench.compare(CLIENTS, 5);
    let mut group = criterion.benchmark_group("list 10,000 guests");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    group.bench_function("client and gateway", |b| b.iter(|| bench.ours(1)));
    group.bench_function("bare", |b| b.iter(|| bench.bare(1)));
    group.finish();
}

criterion_group!(gateway, benches);
criterion_main!(gateway);
