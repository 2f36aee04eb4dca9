//! What a backend claims, checked both ways: what it says it cannot do it refuses as such, and what it says it can do it never
//! refuses as unsupported. The calls are harmless: their objects do not exist, or their input is impossible.

use bytes::Bytes;

use crate::conformance::case::Case;
use crate::conformance::check::{Check, Stop, check};
use crate::conformance::context::Context;
use crate::error::{Error, ErrorKind};
use crate::model::{
    BackupId, BackupQuery, BackupSpec, BatchRequest, Boot, ByteSize, ByteStream, CloneMany, CloneSpec,
    CloneVolume, CloudInit, ConsoleKind, DeletePool, DeleteSnapshot, DeleteVm, DeploySpec, DetachDisk,
    DirectBoot, DiskId, DiskSpec, DownloadVolume, EventQuery, ExecSpec, ExportSpec, Feature, Firmware,
    GraphicsKind, GroupChange, GroupId, GroupSpec, HostId, MetricsPeriod, MetricsTarget, MigrateSpec,
    NetworkChange, NetworkId, NetworkKind, NetworkSpec, NicChange, NicId, NicSpec, PageRequest, PoolId,
    PoolKind, PoolQuery, PoolSpec, PowerAction, ResizeVolume, RestoreBackup, RevertSnapshot, SerialSpec,
    Shutdown, SnapshotId, SnapshotSpec, TaskId, TaskQuery, TemplateSpec, UploadVolume, VmChange, VmId,
    VmQuery, VmSpec, VolumeId, VolumeSpec, WipeAlgorithm, WriteFile,
};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("claims", unsupported_operations_are_refused_as_such, []),
        case!("claims", supported_operations_are_never_unsupported, []),
        case!("claims", unsupported_features_of_a_create_are_refused_as_such, [Operation::CreateVm]),
    ]
}

async fn unsupported_operations_are_refused_as_such(cx: &Context) -> Check {
    let mut wrong = Vec::new();
    for operation in Operation::ALL.iter().copied().filter(|operation| !cx.has(*operation)) {
        match probe(cx, operation).await {
            Ok(()) => wrong.push(format!("{operation} is claimed unsupported, but answers")),
            Err(error) if !error.is_unsupported() => {
                wrong.push(format!("{operation} is claimed unsupported, but answers: {error}"));
            }
            // Core makes many clones of one clone each, so that one is what is refused.
            Err(error)
                if operation == Operation::CloneVms && error.operation() == Some(Operation::CloneVm) => {}
            Err(error) if error.operation() != Some(operation) => {
                wrong.push(format!("{operation}: the error names the operation {:?}", error.operation()));
            }
            Err(_) => {}
        }
    }
    all_right(cx, &wrong).await
}

async fn supported_operations_are_never_unsupported(cx: &Context) -> Check {
    let mut wrong = Vec::new();
    for operation in Operation::ALL.iter().copied().filter(|operation| cx.has(*operation)) {
        let Err(error) = probe(cx, operation).await else { continue };
        // What is asked for does not exist or is impossible; anything else is an accident.
        let expected = matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidState | ErrorKind::TaskFailed
        );
        if !expected {
            wrong.push(format!("{operation} is claimed supported, but answers: {error}"));
        }
    }
    all_right(cx, &wrong).await
}

async fn unsupported_features_of_a_create_are_refused_as_such(cx: &Context) -> Check {
    let mut wrong = Vec::new();
    for (index, (feature, spec)) in asking(cx).into_iter().enumerate() {
        if cx.has(feature) {
            continue;
        }
        let spec = VmSpec { name: cx.name(&format!("f{index}")), ..spec };
        match cx.hv.create_vm(&spec).await {
            Ok(started) => {
                cx.adopt(Ok(started)).await?;
                wrong.push(format!(
                    "{feature} is claimed unsupported, but a create that needs it is accepted"
                ));
            }
            Err(error) if !error.is_unsupported() || error.code() != Some(feature.as_str()) => {
                wrong.push(format!(
                    "{feature} is claimed unsupported, but a create that needs it answers: {error}"
                ));
            }
            Err(_) => {}
        }
    }
    check!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

async fn all_right(cx: &Context, wrong: &[String]) -> Check {
    if wrong.is_empty() {
        return cx.nothing_made("every call").await;
    }
    Err(Stop::failed(wrong.join("; ")))
}

/// Specs that need one feature each.
fn asking(cx: &Context) -> Vec<(Feature, VmSpec)> {
    let spec = || cx.spec("feature");
    let direct = Boot { direct: Some(DirectBoot::new("/nowhere/vmlinuz")), ..Boot::default() };
    vec![
        (Feature::Containers, VmSpec::container("feature").memory(ByteSize::mib(64))),
        (Feature::RequestedId, spec().id("4c7a1e60-5a0c-4d3e-8d0a-0f4bd6a9c001")),
        (Feature::Tags, spec().tag("a")),
        (Feature::Metadata, spec().metadata("a", "b")),
        (Feature::Autostart, spec().autostart(true)),
        (Feature::Ephemeral, spec().ephemeral(true)),
        (Feature::CloudInit, spec().cloud_init(CloudInit::user_data("#cloud-config\n"))),
        (Feature::DirectBoot, spec().boot(direct)),
        (Feature::Uefi, spec().firmware(Firmware::Uefi)),
        (Feature::SecureBoot, spec().firmware(Firmware::SecureBoot)),
        (Feature::Tpm, spec().tpm(true)),
        (Feature::GuestAgent, spec().agent(true)),
        (Feature::Graphics, spec().graphics(GraphicsKind::Vnc)),
        (Feature::SerialLog, spec().serial(SerialSpec::new().log("/nowhere/serial.log"))),
        (Feature::ClientToken, spec().client_token("a-token")),
        (Feature::NicVlan, spec().nic(NicSpec::user().vlan(7))),
    ]
}

/// Calls the operation so that nothing comes of it. A new operation does not compile until it is called here.
async fn probe(cx: &Context, operation: Operation) -> Result<(), Error> {
    use Operation as O;
    let hv = &*cx.hv;
    let ghost = cx.name("ghost");
    let vm = &VmId::from(ghost.as_str());
    let volume = &VolumeId::from(ghost.as_str());
    let pool = &PoolId::from(ghost.as_str());
    let network = &NetworkId::from(ghost.as_str());
    let snapshot = &SnapshotId::from(ghost.as_str());
    let backup = &BackupId::from(ghost.as_str());
    let group = &GroupId::from(ghost.as_str());
    let host = &HostId::from(ghost.as_str());
    let task = &TaskId::from(ghost.as_str());
    let disk = &DiskId::from("vdz");
    let nic = &NicId::from("52:54:00:00:00:01");
    let page = &PageRequest::first();
    let clone = CloneSpec::new(cx.name("copy")).linked(!cx.has(Feature::FullClone));
    let power = async |action: PowerAction| hv.power_vm(vm, &action).await.map(drop);
    match operation {
        O::GetCluster => hv.get_cluster().await.map(drop),
        O::ListHosts => hv.list_hosts(page).await.map(drop),
        O::GetHost => hv.get_host(host).await.map(drop),
        O::ListVms => hv.list_vms(&VmQuery::all(), page).await.map(drop),
        O::GetVm => hv.get_vm(vm).await.map(drop),
        O::GetVmConfig => hv.get_vm_config(vm).await.map(drop),
        O::CreateVm => hv.create_vm(&VmSpec::new("")).await.map(drop),
        O::UpdateVm => hv.update_vm(vm, &VmChange::new().cpus(2)).await.map(drop),
        O::DeleteVm => hv.delete_vm(vm, &DeleteVm::with_disks()).await.map(drop),
        O::StartVm => power(PowerAction::Start).await,
        O::ShutdownVm => power(PowerAction::Shutdown(Shutdown::new())).await,
        O::PowerOffVm => power(PowerAction::PowerOff).await,
        O::RebootVm => power(PowerAction::Reboot).await,
        O::ResetVm => power(PowerAction::Reset).await,
        O::PauseVm => power(PowerAction::Pause).await,
        O::ResumeVm => power(PowerAction::Resume).await,
        O::HibernateVm => power(PowerAction::Hibernate).await,
        O::CloneVm => hv.clone_vm(vm, &clone).await.map(drop),
        O::CloneVms => {
            let many = CloneMany::new(cx.name("copy"), 1).each(clone);
            hv.clone_vms(vm, &many).await.and_then(crate::model::BatchReport::into_result).map(drop)
        }
        O::MigrateVm => hv.migrate_vm(vm, &MigrateSpec::to(host)).await.map(drop),
        O::CreateTemplate => hv.create_template(vm, &TemplateSpec::in_place()).await.map(drop),
        O::DeployTemplate => {
            let spec = DeploySpec::new(cx.name("copy")).clone(clone);
            hv.deploy_template(vm, &spec).await.map(drop)
        }
        O::ExportVm => hv.export_vm(vm, &ExportSpec::new("/nowhere")).await.map(drop),
        O::AttachDisk => hv.attach_disk(vm, &DiskSpec::volume(volume)).await.map(drop),
        O::DetachDisk => hv.detach_disk(vm, disk, &DetachDisk::keep_volume()).await.map(drop),
        O::ResizeDisk => hv.resize_disk(vm, disk, ByteSize::mib(4)).await.map(drop),
        O::AttachNic => hv.attach_nic(vm, &NicSpec::network(network)).await.map(drop),
        O::UpdateNic => hv.update_nic(vm, nic, &NicChange::new().link_down(true)).await.map(drop),
        O::DetachNic => hv.detach_nic(vm, nic).await.map(drop),
        O::GetConsole => hv.get_console(vm, &ConsoleKind::Vnc).await.map(drop),
        O::ScreenshotVm => hv.screenshot_vm(vm).await.map(drop),
        O::ListGroups => hv.list_groups(page).await.map(drop),
        O::GetGroup => hv.get_group(group).await.map(drop),
        O::CreateGroup => hv.create_group(&GroupSpec::new("")).await.map(drop),
        O::UpdateGroup => hv.update_group(group, &GroupChange::new().description("x")).await.map(drop),
        O::DeleteGroup => hv.delete_group(group).await.map(drop),
        O::ListPools => hv.list_pools(&PoolQuery::all(), page).await.map(drop),
        O::GetPool => hv.get_pool(pool).await.map(drop),
        O::CreatePool => hv.create_pool(&PoolSpec::new("", PoolKind::Dir)).await.map(drop),
        O::DeletePool => hv.delete_pool(pool, &DeletePool::keep_content()).await.map(drop),
        O::ListVolumes => hv.list_volumes(pool, page).await.map(drop),
        O::GetVolume => hv.get_volume(volume).await.map(drop),
        O::CreateVolume => {
            hv.create_volume(&VolumeSpec::new(pool, cx.name("v"), ByteSize::mib(1))).await.map(drop)
        }
        O::CloneVolume => hv.clone_volume(volume, &CloneVolume::new(cx.name("v"))).await.map(drop),
        O::ResizeVolume => hv.resize_volume(volume, &ResizeVolume::grow_to(ByteSize::mib(2))).await.map(drop),
        O::WipeVolume => hv.wipe_volume(volume, WipeAlgorithm::Zero).await.map(drop),
        O::DeleteVolume => hv.delete_volume(volume).await.map(drop),
        O::UploadVolume => {
            let content = ByteStream::from_bytes(Bytes::from_static(b"x"));
            hv.upload_volume(&UploadVolume::to(volume), content).await.map(drop)
        }
        O::DownloadVolume => hv.download_volume(volume, &DownloadVolume::all()).await.map(drop),
        O::ListNetworks => hv.list_networks(page).await.map(drop),
        O::GetNetwork => hv.get_network(network).await.map(drop),
        O::CreateNetwork => hv.create_network(&NetworkSpec::new("", NetworkKind::Isolated)).await.map(drop),
        O::UpdateNetwork => {
            hv.update_network(network, &NetworkChange::new().autostart(false)).await.map(drop)
        }
        O::DeleteNetwork => hv.delete_network(network).await.map(drop),
        O::StartNetwork => hv.start_network(network).await.map(drop),
        O::StopNetwork => hv.stop_network(network).await.map(drop),
        O::ListLeases => hv.list_leases(network).await.map(drop),
        O::ListSnapshots => hv.list_snapshots(vm).await.map(drop),
        O::GetSnapshot => hv.get_snapshot(vm, snapshot).await.map(drop),
        O::CreateSnapshot => hv.create_snapshot(vm, &SnapshotSpec::new("s")).await.map(drop),
        O::RevertSnapshot => hv.revert_snapshot(vm, snapshot, &RevertSnapshot::new()).await.map(drop),
        O::DeleteSnapshot => hv.delete_snapshot(vm, snapshot, &DeleteSnapshot::only()).await.map(drop),
        O::ListBackups => hv.list_backups(&BackupQuery::all(), page).await.map(drop),
        O::CreateBackup => hv.create_backup(vm, &BackupSpec::new()).await.map(drop),
        O::RestoreBackup => hv.restore_backup(backup, &RestoreBackup::new_vm(cx.name("r"))).await.map(drop),
        O::DeleteBackup => hv.delete_backup(backup).await.map(drop),
        O::GetHostMetrics => hv.get_host_metrics(host).await.map(drop),
        O::GetVmMetrics => hv.get_vm_metrics(vm).await.map(drop),
        O::ListVmMetrics => hv.list_vm_metrics(page).await.map(drop),
        O::GetMetricsHistory => {
            let target = MetricsTarget::Vm(vm.clone());
            hv.get_metrics_history(&target, MetricsPeriod::Hour).await.map(drop)
        }
        O::GetTask => hv.get_task(task, None).await.map(drop),
        O::ListTasks => hv.list_tasks(&TaskQuery::all(), page).await.map(drop),
        O::GetTaskLog => hv.get_task_log(task, 0, 10).await.map(drop),
        O::CancelTask => hv.cancel_task(task).await,
        O::SubmitBatch => {
            let none: [crate::model::BatchItem; 0] = [];
            hv.submit_batch(&BatchRequest::new(none)).await.map(drop)
        }
        O::PingAgent => hv.ping_agent(vm).await,
        O::ListAddresses => hv.list_addresses(vm, None).await.map(drop),
        O::ExecInGuest => hv.exec_in_guest(vm, &ExecSpec::new("true")).await.map(drop),
        O::ReadGuestFile => hv.read_guest_file(vm, "/etc/hostname", ByteSize::kib(1)).await.map(drop),
        O::WriteGuestFile => {
            hv.write_guest_file(vm, "/tmp/x", Bytes::from_static(b"x"), &WriteFile::replace()).await
        }
        O::FreezeFilesystems => hv.freeze_filesystems(vm).await.map(drop),
        O::ThawFilesystems => hv.thaw_filesystems(vm).await.map(drop),
        O::Watch => hv.watch(&EventQuery::all()).await.map(drop),
    }
}
