#![cfg(feature = "conformance")]
#![allow(missing_docs)]
use hypervisor_core::{
    Hypervisor,
    conformance::{Settings, cases, run_cases},
    memory::Memory,
};
use std::sync::Arc;
#[tokio::test(start_paused = true)]
async fn memory() {
    let filter = std::env::var("F").unwrap_or_default();
    let hv: Arc<dyn Hypervisor> = Arc::new(
        Memory::builder()
            .hosts(2)
            .task_time(std::time::Duration::from_millis(
                std::env::var("T").ok().and_then(|t| t.parse().ok()).unwrap_or(0),
            ))
            .build(),
    );
    let all: Vec<_> = cases().into_iter().filter(|c| c.name.contains(&filter)).collect();
    let mut settings = Settings::new().directory("/var/lib/x").kernel("/boot/k").initrd("/boot/i");
    settings.serial_dir = None;
    let report = run_cases(&all, &hv, &settings, |_| {}).await;
    println!("{report}");
    assert!(report.is_success());
}
