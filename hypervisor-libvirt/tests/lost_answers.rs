//! Creates whose answers are lost: as many guests and as many disks as were asked for, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::bench::Bench;
use common::proxy::{DOMAIN_CREATE, DOMAIN_DEFINE_XML, Harm, Proxy, VOLUME_CREATE_XML};
use hypervisor_core::layer::{Chaos, Layered, RetryPolicy, Stack};
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{ErrorKind, Hypervisor, Retry};
use hypervisor_libvirt::Libvirt;

const POOL: &str =
    "<node><pool type='dir'><name>default</name><target><path>/default-pool</path></target></pool></node>";

/// Looks get lost as well, and a cut connection takes the other calls on it along.
fn patient() -> RetryPolicy {
    RetryPolicy::new().max_attempts(20).delay(Duration::from_millis(5), Duration::from_millis(200))
}

/// Creates so many guests with a disk each, side by side, and returns their ids.
async fn create(hv: &Arc<dyn Hypervisor>, count: usize, spec: impl Fn(usize) -> VmSpec) -> BTreeSet<VmId> {
    let creates = (0..count).map(|number| {
        let (hv, spec) = (Arc::clone(hv), spec(number));
        async move {
            let vm = hv.vms().create(&spec).await?.wait().await?;
            Ok::<_, hypervisor_core::Error>(VmId::from(vm))
        }
    });
    let made = futures::future::join_all(creates).await;
    let failed: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed, the first: {:?}", failed.len(), failed[0]);
    made.into_iter().map(Result::unwrap).collect()
}

/// The guests that there are, and the volumes that they use and that the pool has.
async fn world(
    libvirt: &Libvirt,
    pool: &str,
    prefix: &str,
) -> (BTreeSet<VmId>, BTreeSet<String>, BTreeSet<String>) {
    let first = PageRequest::first();
    let vms = libvirt.list_vms(&VmQuery::all(), &first).await.unwrap().items;
    let vms: BTreeSet<_> = vms.into_iter().filter(|vm| vm.name.starts_with(prefix)).map(|vm| vm.id).collect();
    let mut used = BTreeSet::new();
    for vm in &vms {
        used.extend(libvirt.get_vm_config(vm).await.unwrap().disks.into_iter().filter_map(|disk| disk.path));
    }
    let volumes = libvirt.list_volumes(&pool.into(), &first).await.unwrap().items;
    (vms, used, volumes.into_iter().map(|volume| volume.path.unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_creates_whose_answers_are_lost_make_two_hundred_guests() {
    let file = std::env::temp_dir().join(format!("hv-lost-{}.xml", uuid::Uuid::new_v4()));
    std::fs::write(&file, POOL).unwrap();
    let libvirt =
        Arc::new(Libvirt::connect(format!("test://{}", file.display()).parse().unwrap()).await.unwrap());
    let chaos = Chaos::new(5).drop_after_send(300);
    let shaky = Layered::new(Arc::clone(&libvirt) as Arc<dyn Hypervisor>, chaos.clone());
    let hv = Stack::new(Arc::new(shaky)).retry(patient()).limit(8).build();
    let spec = |number| {
        VmSpec::new(format!("vm-{number}"))
            .disk(DiskSpec::new_volume(ByteSize::mib(1)))
            .client_token(format!("order-{number}"))
    };
    let made = create(&hv, 200, spec).await;
    let (vms, used, volumes) = world(&libvirt, "default", "vm-").await;
    assert_eq!((made.len(), &vms), (200, &made));
    assert_eq!((volumes.len(), &used), (200, &volumes));
    assert!(chaos.injected() > 50, "{} faults", chaos.injected());
    std::fs::remove_file(&file).unwrap();
}

/// A create is three calls to libvirtd, any of which may be the one whose answer is lost.
const STEPS: &[u32] = &[VOLUME_CREATE_XML, DOMAIN_DEFINE_XML, DOMAIN_CREATE];

#[tokio::test(flavor = "multi_thread")]
async fn whichever_answer_of_libvirtd_is_lost_there_is_one_guest_and_its_disk() {
    let Some(bench) = Bench::new("lost").await else { return };
    let proxy = Proxy::before(&std::env::var("HYPERVISOR_TEST_LIBVIRT_URI").unwrap());
    let uri = format!("{}&hv_pool=lost", proxy.uri());
    let driver: Arc<dyn Hypervisor> = Arc::new(Libvirt::connect(uri.parse().unwrap()).await.unwrap());
    let hv = Stack::new(Arc::clone(&driver)).retry(patient()).limit(4).build();
    let spec = |number| {
        let spec = bench.idle(&format!("{number}")).memory(ByteSize::mib(32));
        spec.disk(DiskSpec::new_volume(ByteSize::mib(1))).client_token(format!("lost-{number}"))
    };
    // One after the other: the connection is cut before or after each step, once.
    let mut made = BTreeSet::new();
    for (number, (step, harm)) in
        STEPS.iter().flat_map(|step| [(step, Harm::CutBefore), (step, Harm::CutAfter)]).enumerate()
    {
        let before = proxy.struck();
        proxy.arm(harm, std::slice::from_ref(step), || {});
        let ids = create(&hv, 1, |_| spec(number).start(true)).await;
        assert_eq!(proxy.struck(), before + 1, "step {step} was not cut");
        for id in &ids {
            assert!(bench.get_vm(id).await.unwrap().state.is_active(), "step {step}: it was to be started");
        }
        made.extend(ids);
    }
    // And side by side: every third such answer is lost, and with it whatever else is on its connection.
    proxy.keep_on(Harm::CutAfter, &[VOLUME_CREATE_XML, DOMAIN_DEFINE_XML], 3);
    made.extend(create(&hv, 24, |number| spec(number + 100)).await);
    proxy.disarm();
    let (vms, used, volumes) = world(&bench, "lost", "lost-").await;
    assert_eq!((made.len(), &vms), (30, &made));
    assert_eq!((volumes.len(), &used), (30, &volumes));
    assert!(proxy.struck() >= 6 + 8, "{} answers were lost", proxy.struck());

    // Without a token nobody looks, and what may be left is named.
    proxy.arm(Harm::CutAfter, &[DOMAIN_DEFINE_XML], || {});
    let mut bare = spec(200);
    bare.client_token = None;
    let error = hv.create_vm(&bare).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Transport, Retry::IfIdempotent), "{error}");
    assert!(error.to_string().contains("lost/lost-200-vda.qcow2"), "{error}");
    drop((hv, driver));
    bench.end().await;
}
