//! Temporary.
use std::time::Duration;
#[tokio::main]
async fn main() {
    let pve = hypervisor_proxmox::fake::FakePve::builder()
        .fresh()
        .task_time(Duration::from_millis(200))
        .staleness(Duration::from_secs(10))
        .unknown_looks(1)
        .refusal_delay(Duration::from_secs(3))
        .file("local:vztmpl/alpine-3.20-default_20240908_amd64.tar.xz", vec![0; 4096])
        .tls()
        .start()
        .await
        .unwrap();
    println!(
        "{} {} {} {}",
        pve.url(),
        pve.token_id(),
        pve.token_secret(),
        pve.fingerprint().unwrap_or_default()
    );
    tokio::time::sleep(Duration::from_secs(900)).await;
}
