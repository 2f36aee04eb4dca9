use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;

use super::*;
use crate::layer::{Attempt, Call, Layered, Policy};
use crate::operation::Operation;

/// Notes what it is asked, and sends it so many times.
#[derive(Debug)]
struct Noting {
    seen: Mutex<Vec<(Operation, Option<String>)>>,
    times: usize,
}

impl Noting {
    fn once() -> Self {
        Self { seen: Mutex::default(), times: 1 }
    }
}

impl Policy for Noting {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        self.seen.lock().unwrap().push((call.operation(), call.id().map(str::to_owned)));
        for _ in 1..self.times {
            let _ = attempt.send().await;
        }
        attempt.send().await
    }
}

type Walk<'a> = Vec<(Operation, &'static str, BoxFuture<'a, Result<()>>)>;

macro_rules! walk {
    ($hv:ident; $($operation:ident $method:ident($($arg:expr),*);)*) => {
        vec![$((
            Operation::$operation,
            stringify!($method),
            Box::pin(async move { $hv.$method($($arg),*).await.map(drop) }),
        ),)*]
    };
}

/// One call of every operation.
fn every_call(hv: &dyn Hypervisor) -> Walk<'_> {
    walk! { hv;
        GetCluster get_cluster();
        ListHosts list_hosts(&PageRequest::first());
        GetHost get_host(&"h".into());
        ListVms list_vms(&VmQuery::all(), &PageRequest::first());
        GetVm get_vm(&"v".into());
        GetVmConfig get_vm_config(&"v".into());
        CreateVm create_vm(&VmSpec::new("v"));
        UpdateVm update_vm(&"v".into(), &VmChange::new());
        DeleteVm delete_vm(&"v".into(), &DeleteVm::with_disks());
        StartVm power_vm(&"v".into(), &PowerAction::Start);
        ShutdownVm power_vm(&"v".into(), &PowerAction::Shutdown(Shutdown::new()));
        PowerOffVm power_vm(&"v".into(), &PowerAction::PowerOff);
        RebootVm power_vm(&"v".into(), &PowerAction::Reboot);
        ResetVm power_vm(&"v".into(), &PowerAction::Reset);
        PauseVm power_vm(&"v".into(), &PowerAction::Pause);
        ResumeVm power_vm(&"v".into(), &PowerAction::Resume);
        HibernateVm power_vm(&"v".into(), &PowerAction::Hibernate);
        CloneVm clone_vm(&"v".into(), &CloneSpec::new("w"));
        CloneVms clone_vms(&"v".into(), &CloneMany::new("w", 1));
        MigrateVm migrate_vm(&"v".into(), &MigrateSpec::to("h"));
        CreateTemplate create_template(&"v".into(), &TemplateSpec::in_place());
        DeployTemplate deploy_template(&"t".into(), &DeploySpec::new("v"));
        ExportVm export_vm(&"v".into(), &ExportSpec::new("/exports"));
        AttachDisk attach_disk(&"v".into(), &DiskSpec::volume("p/d"));
        DetachDisk detach_disk(&"v".into(), &"vda".into(), &DetachDisk::keep_volume());
        ResizeDisk resize_disk(&"v".into(), &"vda".into(), ByteSize::gib(2));
        AttachNic attach_nic(&"v".into(), &NicSpec::bridge("br0"));
        UpdateNic update_nic(&"v".into(), &"net0".into(), &NicChange::new());
        DetachNic detach_nic(&"v".into(), &"net0".into());
        GetConsole get_console(&"v".into(), &ConsoleKind::Vnc);
        ScreenshotVm screenshot_vm(&"v".into());
        ListGroups list_groups(&PageRequest::first());
        GetGroup get_group(&"g".into());
        CreateGroup create_group(&GroupSpec::new("g"));
        UpdateGroup update_group(&"g".into(), &GroupChange::new());
        DeleteGroup delete_group(&"g".into());
        ListPools list_pools(&PoolQuery::all(), &PageRequest::first());
        GetPool get_pool(&"p".into());
        CreatePool create_pool(&PoolSpec::dir("p", "/pools/p"));
        DeletePool delete_pool(&"p".into(), &DeletePool::keep_content());
        ListVolumes list_volumes(&"p".into(), &PageRequest::first());
        GetVolume get_volume(&"p/d".into());
        CreateVolume create_volume(&VolumeSpec::new("p", "d", ByteSize::gib(1)));
        CloneVolume clone_volume(&"p/d".into(), &CloneVolume::new("e"));
        ResizeVolume resize_volume(&"p/d".into(), &ResizeVolume::grow_to(ByteSize::gib(2)));
        WipeVolume wipe_volume(&"p/d".into(), WipeAlgorithm::Zero);
        DeleteVolume delete_volume(&"p/d".into());
        UploadVolume upload_volume(&UploadVolume::to("p/d"), ByteStream::from_bytes("x"));
        DownloadVolume download_volume(&"p/d".into(), &DownloadVolume::all());
        ListNetworks list_networks(&PageRequest::first());
        GetNetwork get_network(&"n".into());
        CreateNetwork create_network(&NetworkSpec::on_bridge("n", "br0"));
        UpdateNetwork update_network(&"n".into(), &NetworkChange::new());
        DeleteNetwork delete_network(&"n".into());
        StartNetwork start_network(&"n".into());
        StopNetwork stop_network(&"n".into());
        ListLeases list_leases(&"n".into());
        ListSnapshots list_snapshots(&"v".into());
        GetSnapshot get_snapshot(&"v".into(), &"s".into());
        CreateSnapshot create_snapshot(&"v".into(), &SnapshotSpec::new("s"));
        RevertSnapshot revert_snapshot(&"v".into(), &"s".into(), &RevertSnapshot::new());
        DeleteSnapshot delete_snapshot(&"v".into(), &"s".into(), &DeleteSnapshot::only());
        ListBackups list_backups(&BackupQuery::all(), &PageRequest::first());
        CreateBackup create_backup(&"v".into(), &BackupSpec::new());
        RestoreBackup restore_backup(&"b".into(), &RestoreBackup::original());
        DeleteBackup delete_backup(&"b".into());
        GetHostMetrics get_host_metrics(&"h".into());
        GetVmMetrics get_vm_metrics(&"v".into());
        ListVmMetrics list_vm_metrics(&PageRequest::first());
        GetMetricsHistory get_metrics_history(&MetricsTarget::Vm("v".into()), MetricsPeriod::Hour);
        GetTask get_task(&"t".into(), Some(Duration::from_secs(1)));
        ListTasks list_tasks(&TaskQuery::all(), &PageRequest::first());
        GetTaskLog get_task_log(&"t".into(), 0, 10);
        CancelTask cancel_task(&"t".into());
        SubmitBatch submit_batch(&BatchRequest::new(Vec::<BatchItem>::new()));
        PingAgent ping_agent(&"v".into());
        ListAddresses list_addresses(&"v".into(), Some(AddressSource::Agent));
        ExecInGuest exec_in_guest(&"v".into(), &ExecSpec::new("/bin/true"));
        ReadGuestFile read_guest_file(&"v".into(), "/etc/hostname", ByteSize::kib(4));
        WriteGuestFile write_guest_file(&"v".into(), "/etc/motd", Bytes::from("hi"), &WriteFile::replace());
        FreezeFilesystems freeze_filesystems(&"v".into());
        ThawFilesystems thaw_filesystems(&"v".into());
        Watch watch(&EventQuery::all());
    }
}

#[tokio::test]
async fn every_operation_is_forwarded_once_under_its_own_name() {
    let backend = Scripted::shared([]);
    let layered = Layered::new(Arc::clone(&backend) as Arc<dyn Hypervisor>, Noting::once());
    let mut walked = BTreeSet::new();
    for (operation, method, call) in every_call(&layered) {
        let before = backend.calls().len();
        layered.policy().seen.lock().unwrap().clear();
        let outcome = call.await;
        let seen = layered.policy().seen.lock().unwrap().clone();
        assert_eq!(seen[0].0, operation, "{method}");
        if !matches!(operation, Operation::SubmitBatch | Operation::CloneVms) {
            assert_eq!(seen.len(), 1, "{method}");
            assert_eq!(backend.calls()[before..], [method], "{operation}");
            assert!(method == operation.as_str() || method == "power_vm", "{operation} is not {method}");
            let error = outcome.unwrap_err();
            assert_eq!(error.operation(), Some(operation));
            assert_eq!(error.backend(), Some("scripted"));
            assert_eq!(error.target().is_some(), seen[0].1.is_some(), "{operation}");
        }
        walked.insert(operation);
    }
    assert_eq!(walked, Operation::ALL.iter().copied().collect(), "the walk leaves an operation out");
}

#[tokio::test]
async fn what_the_backend_cannot_do_reaches_neither_policy_nor_backend() {
    let mut backend = Scripted::new([]);
    backend.capabilities = Capabilities::new().unsupported(Operation::ALL.iter().copied(), "it is a brick");
    let backend = Arc::new(backend);
    let layered = Layered::new(Arc::clone(&backend) as Arc<dyn Hypervisor>, Noting::once());
    for (operation, method, call) in every_call(&layered) {
        let error = call.await.unwrap_err();
        assert!(error.is_unsupported(), "{method}: {error}");
        assert_eq!(error.operation(), Some(operation));
        assert_eq!(error.message(), "it is a brick");
    }
    assert!(layered.policy().seen.lock().unwrap().is_empty());
    assert!(backend.calls().is_empty());
}

#[tokio::test]
async fn a_feature_that_is_missing_is_refused_as_well() {
    let mut backend = Scripted::new([]);
    backend.capabilities = Capabilities::all_native()
        .unsupported([Feature::CloudInit, Feature::AgentAddresses, Feature::ShutdownTimeout], "no");
    let backend = Arc::new(backend);
    let layered = Layered::new(Arc::clone(&backend) as Arc<dyn Hypervisor>, Noting::once());
    let vm = VmId::from("v");
    let spec = VmSpec::new("v").cloud_init(CloudInit::user_data("#cloud-config"));
    let patient = PowerAction::Shutdown(Shutdown::new().power_off_after(Duration::from_secs(9)));
    assert!(layered.create_vm(&spec).await.unwrap_err().is_unsupported());
    assert!(layered.list_addresses(&vm, Some(AddressSource::Agent)).await.unwrap_err().is_unsupported());
    assert!(layered.power_vm(&vm, &patient).await.unwrap_err().is_unsupported());
    assert!(backend.calls().is_empty());
    assert!(!layered.power_vm(&vm, &PowerAction::Start).await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn what_the_backend_has_named_is_kept_and_a_read_has_no_effect() {
    let named = Error::not_found("pool", "fast").with_operation(Operation::GetPool).with_backend("inner");
    let backend = Scripted::shared([Step::Fail(named), fail(ErrorKind::Transport)]);
    let layered = Layered::new(backend, Noting::once());
    let error = layered.create_vm(&VmSpec::new("v")).await.unwrap_err();
    assert_eq!(error.target(), Some("pool `fast`"));
    assert_eq!(error.operation(), Some(Operation::GetPool));
    assert_eq!(error.backend(), Some("inner"));
    let error = layered.get_vm(&"v".into()).await.unwrap_err();
    assert_eq!(error.effect(), crate::Effect::None);
    assert_eq!(error.target(), Some("vm `v`"));
}

#[tokio::test]
async fn a_policy_may_send_more_than_once() {
    let backend = Scripted::shared([]);
    let layered = Layered::new(
        Arc::clone(&backend) as Arc<dyn Hypervisor>,
        Noting { seen: Mutex::default(), times: 3 },
    );
    assert!(
        layered.write_guest_file(&"v".into(), "/f", Bytes::from("x"), &WriteFile::replace()).await.is_err()
    );
    assert_eq!(backend.calls(), ["write_guest_file"; 3]);
}

#[tokio::test]
async fn bulk_calls_are_forwarded_without_what_cannot_be_done() {
    let ops = [BatchOp::power("v", PowerAction::Start), BatchOp::power("w", PowerAction::Start)];
    let locked = Error::new(ErrorKind::Locked, "");
    let outcomes: Vec<Result<Started<BatchOutput>>> =
        vec![Ok(Started::done(BatchOutput::Nothing)), Err(locked)];
    let mut backend = Scripted::new([answer(outcomes)]);
    backend.capabilities = Capabilities::all_native().unsupported([Operation::HibernateVm], "no");
    let backend = Arc::new(backend);
    let layered = Layered::new(Arc::clone(&backend) as Arc<dyn Hypervisor>, Noting::once());
    assert_eq!(layered.bulk_key(&ops[0]), Some(BulkKey::new("v", 7)));
    assert_eq!(layered.bulk_key(&BatchOp::power("v", PowerAction::Hibernate)), None);
    let outcomes = layered.submit_bulk(&ops).await.unwrap();
    let error = outcomes[1].as_ref().unwrap_err();
    assert_eq!((error.operation(), error.target()), (Some(Operation::StartVm), Some("vm `w`")));
    assert_eq!(backend.calls(), ["submit_bulk"]);
}

#[tokio::test]
async fn the_backend_is_found_under_two_layers() {
    let backend: Arc<dyn Hypervisor> = Scripted::shared([]);
    let inner: Arc<dyn Hypervisor> = Arc::new(Layered::new(backend, Noting::once()));
    let outer: Arc<dyn Hypervisor> = Arc::new(Layered::new(inner, Noting::once()));
    assert!(outer.backend::<Scripted>().is_some());
    assert!(outer.backend::<Layered<Noting>>().is_some());
    assert_eq!(outer.info().backend, "scripted");
    assert!(outer.get_vm(&"v".into()).await.is_err());
    assert_eq!(outer.backend::<Scripted>().unwrap().calls(), ["get_vm"]);
}
