//! A bench on a real libvirtd with QEMU.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use hypervisor_core::ErrorKind;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_libvirt::Libvirt;

use super::{done, needed};

/// How long a guest may take to come up.
pub(crate) const BOOT: Duration = Duration::from_secs(90);

/// A pool, a network and a prefix of its own on the live host; what is left of it is removed at the end.
pub(crate) struct Bench {
    pub(crate) libvirt: Libvirt,
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl std::ops::Deref for Bench {
    type Target = Libvirt;

    fn deref(&self) -> &Libvirt {
        &self.libvirt
    }
}

pub(crate) fn page() -> PageRequest {
    PageRequest::first()
}

impl Bench {
    /// `None` where there is no live host, as [`needed`] says.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let uri = needed(name, "HYPERVISOR_TEST_LIBVIRT_URI")?;
        let folder = Path::new(&std::env::var("HYPERVISOR_TEST_SERIAL_DIR").unwrap()).join(name);
        let libvirt = Libvirt::connect(format!("{uri}&hv_pool={name}").parse().unwrap()).await.unwrap();
        let bench = Self { libvirt, name: name.to_owned(), folder };
        bench.clean().await;
        // Logs of a run that failed would be taken for this one's.
        drop(std::fs::remove_dir_all(&bench.folder));
        std::fs::create_dir_all(&bench.folder).unwrap();
        let pool = PoolSpec::dir(name, bench.folder.join("pool").display().to_string());
        let _ = bench.create_pool(&pool).await.unwrap();
        Some(bench)
    }

    pub(crate) async fn clean(&self) {
        let all = self.list_vms(&VmQuery::all(), &page()).await.unwrap().items;
        let mut left: Vec<_> = all.into_iter().filter(|vm| vm.name.starts_with(&self.name)).collect();
        while !left.is_empty() {
            let mut based = Vec::new();
            let before = left.len();
            for vm in left {
                let options = DeleteVm::with_disks().power_off(true).snapshots(true);
                match self.delete_vm(&vm.id, &options).await {
                    Ok(_) => {}
                    // A linked clone starts from its disk.
                    Err(error) if error.kind() == ErrorKind::InvalidState => based.push((vm, error)),
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(based.len() < before, "{based:?}");
            left = based.into_iter().map(|(vm, _)| vm).collect();
        }
        let pool = PoolId::from(self.name.as_str());
        if self.get_pool(&pool).await.is_ok() {
            let _ = self.delete_pool(&pool, &DeletePool::with_content()).await.unwrap();
        }
        let network = NetworkId::from(self.name.as_str());
        if let Ok(found) = self.get_network(&network).await {
            if found.active {
                let _ = self.stop_network(&network).await.unwrap();
            }
            let _ = self.delete_network(&network).await.unwrap();
        }
    }

    /// A guest that idles in its firmware: it starts in no time and has no system.
    pub(crate) fn idle(&self, suffix: &str) -> VmSpec {
        VmSpec::new(format!("{}-{suffix}", self.name)).memory(ByteSize::mib(64)).cpu_model("qemu64")
    }

    /// A guest that boots.
    pub(crate) fn booting(&self, suffix: &str) -> VmSpec {
        let variable = |name: &str| std::env::var(name).unwrap();
        let kernel = DirectBoot::new(variable("HYPERVISOR_TEST_KERNEL"))
            .initrd(variable("HYPERVISOR_TEST_INITRD"))
            .cmdline("console=ttyS0 quiet panic=-1");
        self.idle(suffix)
            .memory(ByteSize::mib(128))
            .agent(true)
            .direct_boot(kernel)
            .serial(SerialSpec::new().log(self.log(suffix).display().to_string()))
    }

    pub(crate) fn log(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{suffix}.log"))
    }

    pub(crate) async fn sees(&self, suffix: &str, text: &str) {
        let wait = async {
            while !std::fs::read(self.log(suffix))
                .is_ok_and(|log| String::from_utf8_lossy(&log).contains(text))
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let outcome = tokio::time::timeout(BOOT, wait).await;
        assert!(
            outcome.is_ok(),
            "the guest does not say {text}: {:?}",
            std::fs::read_to_string(self.log(suffix))
        );
    }

    pub(crate) async fn has_agent(&self, vm: &VmId) {
        let wait = async {
            while self.ping_agent(vm).await.is_err() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        assert!(tokio::time::timeout(BOOT, wait).await.is_ok(), "the guest's agent does not answer");
    }

    pub(crate) async fn make(&self, spec: &VmSpec) -> VmId {
        done(&self.libvirt, self.create_vm(spec).await.unwrap()).await
    }

    pub(crate) async fn power(&self, vm: &VmId, action: PowerAction) {
        done(&self.libvirt, self.power_vm(vm, &action).await.unwrap()).await;
    }

    pub(crate) async fn volumes(&self) -> Vec<String> {
        let all = self.list_volumes(&self.name.as_str().into(), &page()).await.unwrap();
        all.items.into_iter().map(|volume| volume.name).collect()
    }

    pub(crate) async fn end(self) {
        self.clean().await;
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
