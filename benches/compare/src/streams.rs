//! A gigabyte up and down: through libvirt beside `virsh vol-upload` and `vol-download`, into the fake Proxmox VE and through our gateway
//! beside curl. All in turn, and who begins changes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use hypervisor_core::Hypervisor;
use hypervisor_core::model::{ByteSize, ByteStream, DownloadVolume, UploadVolume, VolumeSpec};
use hypervisor_proxmox::fake::FakePve;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
use tokio::runtime::Runtime;

use crate::Scale;
use crate::measure::{Memory, middle};
use crate::record::{Row, skip};
use crate::role::{Child, output, threads};

const TABLE: &str = "streams";
const CHUNK: usize = 1 << 20;

/// A file as a stream, a chunk at a time.
fn file_stream(path: &Path, length: u64) -> ByteStream {
    let file = std::fs::File::open(path).expect("the source");
    let chunks = futures::stream::unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK];
        let count = std::io::Read::read(&mut file, &mut chunk).expect("the source");
        chunk.truncate(count);
        (count > 0).then(|| (Ok(Bytes::from(chunk)), file))
    });
    ByteStream::new(length, chunks)
}

async fn upload(hv: &Arc<dyn Hypervisor>, target: &UploadVolume, path: &Path, length: u64) {
    let started = hv.upload_volume(target, file_stream(path, length)).await.expect("an upload");
    hv.resume(started).wait().await.expect("the upload's end");
}

async fn download(hv: &Arc<dyn Hypervisor>, volume: &str, length: u64) {
    let stream = hv.download_volume(&volume.into(), &DownloadVolume::all()).await.expect("a download");
    let mut chunks = stream.into_chunks();
    let mut seen = 0;
    while let Some(chunk) = chunks.next().await {
        seen += chunk.expect("a chunk").len();
    }
    assert_eq!(u64::try_from(seen).expect("a length"), length);
}

/// Lets what was written before reach the disk, so that nobody pays for what another one wrote.
fn settle() {
    output(&mut Command::new("sync"));
}

/// Ours and a peer's way to do the same.
struct Pair<'a> {
    through: &'a str,
    way: &'a str,
    peer: &'a str,
    /// A further process of ours whose memory counts.
    server: Option<u32>,
}

impl Pair<'_> {
    fn measure(&self, scale: Scale, length: u64, ours: &dyn Fn(), theirs: &dyn Fn()) {
        let rounds = if scale.quick { 1 } else { 4 };
        let (mut grown, mut grown_server) = (0, 0);
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            for turn in 0..2 {
                settle();
                let mine = (round + turn) % 2 == 0;
                let idle = Memory::own().restart();
                let server = self.server.map(Memory::of);
                let idle_server = server.map(Memory::restart);
                let begun = Instant::now();
                if mine {
                    ours()
                } else {
                    theirs()
                }
                // The first round makes the file.
                if round > 0 {
                    times[usize::from(!mine)].push(begun.elapsed());
                }
                if mine {
                    grown = grown.max(Memory::own().peak().saturating_sub(idle));
                    let peak = server.zip(idle_server);
                    let more = peak.map(|(server, idle)| server.peak().saturating_sub(idle));
                    grown_server = grown_server.max(more.unwrap_or_default());
                }
            }
        }
        let [mine, other] = times.map(middle);
        let row = Row::new(TABLE, self.through)
            .with("way", self.way)
            .with("bytes", length)
            .time("seconds", mine)
            .with("peer", self.peer)
            .time("peer_seconds", other)
            .with("peak_over_idle_kib", grown);
        match self.server {
            Some(_) => row.with("server_peak_over_idle_kib", grown_server).tell(),
            None => row.tell(),
        }
    }
}

pub(crate) fn run(scale: Scale) {
    let length: u64 = if scale.quick { 256 << 20 } else { 1 << 30 };
    let runtime = threads();
    let place = std::env::var_os("HYPERVISOR_TEST_SERIAL_DIR").map_or_else(std::env::temp_dir, Into::into);
    let place = tempfile::Builder::new().prefix("compare-").tempdir_in(place).expect("a folder");
    let source = place.path().join("source.iso");
    let chunks = usize::try_from(length).expect("a length") / CHUNK;
    std::fs::write(&source, vec![0xA5_u8; CHUNK].repeat(chunks)).expect("a source file");
    pve(&runtime, scale, &source, length);
    #[cfg(feature = "libvirt")]
    if let Ok(uri) = std::env::var("HYPERVISOR_TEST_LIBVIRT_URI") {
        return live::run(&runtime, scale, &uri, &source, length);
    }
    for through in ["libvirt", "gateway"] {
        skip(TABLE, through, "HYPERVISOR_TEST_LIBVIRT_URI is not set, or the feature `libvirt` is off");
    }
}

/// The fake Proxmox VE: says where it is, and serves until it is killed.
pub(crate) async fn serve_pve() {
    let pve = FakePve::start().await.expect("a fake");
    println!("{}\n{}\n{}", pve.url(), pve.token_id(), pve.token_secret());
    std::future::pending::<()>().await;
}

/// Its API takes uploads and hands out nothing.
fn pve(runtime: &Runtime, scale: Scale, source: &Path, length: u64) {
    let server = Child::start("streams:pve", &[]);
    let (url, id, secret) = (server.line(), server.line(), server.line());
    let config = ProxmoxConfig::new(&url).expect("a URL").token(&id, secret.clone());
    let proxmox = runtime.block_on(Box::pin(Proxmox::connect(config))).expect("a connection");
    let hv: Arc<dyn Hypervisor> = Arc::new(proxmox);
    let target = UploadVolume::Create(VolumeSpec::new("local", "ours.iso", ByteSize::bytes(length)));
    let pair = Pair { through: "Proxmox VE (fake)", way: "up", peer: "curl", server: None };
    pair.measure(scale, length, &|| runtime.block_on(upload(&hv, &target, source, length)), &|| {
        let mut curl = Command::new("curl");
        curl.args(["-sf", "-H", "Expect:", "-H"]).arg(format!("Authorization: PVEAPIToken={id}={secret}"));
        curl.args(["-F", "content=iso", "-F"]);
        curl.arg(format!("filename=@{};filename=theirs.iso", source.display()));
        curl.arg(format!("{url}/api2/json/nodes/pve1/storage/local/upload"));
        assert!(output(&mut curl).contains("UPID"));
    });
}

/// A gateway in front of the libvirtd at this URI: says where it is, and serves until it is killed.
#[cfg(feature = "libvirt")]
pub(crate) async fn serve_gateway(words: &[String]) {
    use hypervisor_gateway::{Gateway, GatewayConfig};
    let config = words.first().expect("a URI").parse().expect("a URI");
    let libvirt = Box::pin(hypervisor_libvirt::Libvirt::connect(config)).await.expect("a connection");
    let gateway =
        Gateway::open(Arc::new(libvirt), GatewayConfig::new().without_rates()).await.expect("a gateway");
    let token = gateway.create_token("bench", &["*"], None).await.expect("a token").token;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}\n{token}", listener.local_addr().expect("an address"));
    axum::serve(listener, gateway.router()).await.expect("a server");
}

#[cfg(not(feature = "libvirt"))]
pub(crate) async fn serve_gateway(_: &[String]) {
    std::future::pending().await
}

#[cfg(feature = "libvirt")]
mod live {
    use hypervisor_client::{ClientConfig, connect};
    use hypervisor_core::model::{DeletePool, PoolSpec, VolumeFormat};

    use super::*;

    pub(super) fn run(runtime: &Runtime, scale: Scale, uri: &str, source: &Path, length: u64) {
        let libvirt = Box::pin(hypervisor_libvirt::Libvirt::connect(uri.parse().expect("a URI")));
        let hv: Arc<dyn Hypervisor> = Arc::new(runtime.block_on(libvirt).expect("a connection"));
        let name = format!("compare-{}", std::process::id());
        let folder = source.with_file_name("pool");
        let (pool, volume) = runtime.block_on(async {
            let spec = PoolSpec::dir(&name, folder.display().to_string());
            let pool = hv.create_pool(&spec).await.expect("a pool").output;
            let spec = VolumeSpec::new(pool.clone(), "target", ByteSize::bytes(length));
            let made = hv.create_volume(&spec.format(VolumeFormat::Raw)).await.expect("a volume");
            (pool, hv.resume(made).wait().await.expect("a volume"))
        });
        let virsh = |verb: &str, file: &Path| {
            let mut virsh = Command::new("virsh");
            virsh.args(["-q", "-c", uri, verb, "--pool", &name, "target"]).arg(file);
            output(&mut virsh);
        };
        let target = UploadVolume::to(volume.clone());
        let pair = |way| Pair { through: "libvirt", way, peer: "virsh", server: None };
        pair("up").measure(
            scale,
            length,
            &|| runtime.block_on(upload(&hv, &target, source, length)),
            &|| virsh("vol-upload", source),
        );
        pair("down").measure(
            scale,
            length,
            &|| runtime.block_on(download(&hv, volume.as_str(), length)),
            &|| virsh("vol-download", Path::new("/dev/null")),
        );
        gateway(runtime, scale, uri, &target, volume.as_str(), source, length);
        runtime.block_on(async {
            let gone = hv.delete_pool(&pool, &DeletePool::with_content()).await.expect("no pool left");
            hv.resume(gone).wait().await.expect("no pool left");
        });
    }

    fn gateway(
        runtime: &Runtime,
        scale: Scale,
        uri: &str,
        target: &UploadVolume,
        volume: &str,
        source: &Path,
        length: u64,
    ) {
        let server = Child::start("streams:gateway", &[uri.to_owned()]);
        let (authority, token) = (server.line(), server.line());
        let config =
            ClientConfig::new(&format!("http+v1://{authority}")).expect("a URL").token(token.clone());
        let config = config.allow_plain_http_credentials();
        let hv = runtime.block_on(Box::pin(connect(config))).expect("a connection");
        let curl = |words: &[&str], path: &str, query: &str| {
            let url =
                reqwest::Url::parse_with_params(&format!("http://{authority}{path}"), [("target", query)]);
            let mut curl = Command::new("curl");
            curl.args(["-sf", "-H", "Expect:", "-H"]).arg(format!("Authorization: Bearer {token}"));
            output(curl.args(words).arg(url.expect("a URL").as_str()));
        };
        let to = serde_json::to_string(target).expect("JSON");
        let file = source.display().to_string();
        let pair =
            |way| Pair { through: "gateway and libvirt", way, peer: "curl", server: Some(server.id()) };
        pair("up").measure(scale, length, &|| runtime.block_on(upload(&hv, target, source, length)), &|| {
            curl(&["-T", &file], "/v1/volumes/upload", &to)
        });
        let segment: String = volume.bytes().map(|byte| format!("%{byte:02X}")).collect();
        pair("down").measure(scale, length, &|| runtime.block_on(download(&hv, volume, length)), &|| {
            curl(&["-o", "/dev/null"], &format!("/v1/volumes/{segment}/content"), "")
        });
    }
}
