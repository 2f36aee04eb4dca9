//! The one table of calls: what each trait method is called with, which operation it is, what it is about and what it needs.

/// Hands the table to a macro: `method(arguments) -> output = call, how its outcome can be told afterwards;`.
///
/// Batches are not in it: they are made of calls that are.
macro_rules! operations {
    ($each:ident) => {
        $each! {
            Compute {
                list_vms(query: &VmQuery, page: &PageRequest) -> Page<VmInfo> =
                    Call::new(Operation::ListVms).needs(query.needs());
                get_vm(vm: &VmId) -> VmInfo = Call::new(Operation::GetVm).at(VmId::NOUN, vm);
                create_vm(spec: &VmSpec) -> Started<VmId> =
                    Call::new(Operation::CreateVm).at(VmId::NOUN, &spec.name).needs(spec.needs())
                        .token(spec.client_token.as_ref()).starting(spec.start),
                    Recover::Token(std::convert::identity);
                power_vm(vm: &VmId, action: &PowerAction) -> Started<()> =
                    Call::new(action.operation()).at(VmId::NOUN, vm).needs(action.needs()).patient(match action {
                        PowerAction::Shutdown(shutdown) => shutdown.power_off_after,
                        _ => None,
                    });
                delete_vm(vm: &VmId, options: &DeleteVm) -> Started<()> =
                    Call::new(Operation::DeleteVm).at(VmId::NOUN, vm).needs(options.needs())
                        .deleting(options.expected_uid.as_ref()),
                    Recover::Gone(|| Started::done(()));
                get_cluster() -> ClusterInfo = Call::new(Operation::GetCluster);
                list_hosts(page: &PageRequest) -> Page<HostInfo> = Call::new(Operation::ListHosts);
                get_host(host: &HostId) -> HostInfo = Call::new(Operation::GetHost).at(HostId::NOUN, host);
                get_vm_config(vm: &VmId) -> VmConfig = Call::new(Operation::GetVmConfig).at(VmId::NOUN, vm);
                update_vm(vm: &VmId, change: &VmChange) -> Started<UpdateOutcome> =
                    Call::new(Operation::UpdateVm).at(VmId::NOUN, vm).needs(change.needs());
                clone_vm(vm: &VmId, spec: &CloneSpec) -> Started<VmId> =
                    Call::new(Operation::CloneVm).at(VmId::NOUN, vm).needs(spec.needs())
                        .token(spec.client_token.as_ref()).starting(spec.start),
                    Recover::Token(std::convert::identity);
                migrate_vm(vm: &VmId, spec: &MigrateSpec) -> Started<()> =
                    Call::new(Operation::MigrateVm).at(VmId::NOUN, vm).needs(spec.needs());
                create_template(vm: &VmId, spec: &TemplateSpec) -> Started<VmId> =
                    Call::new(Operation::CreateTemplate).at(VmId::NOUN, vm).needs(spec.needs());
                deploy_template(template: &VmId, spec: &DeploySpec) -> Started<VmId> =
                    Call::new(Operation::DeployTemplate).at(VmId::NOUN, template).needs(spec.needs())
                        .token(spec.clone.client_token.as_ref()).starting(spec.clone.start),
                    Recover::Token(std::convert::identity);
                export_vm(vm: &VmId, spec: &ExportSpec) -> Started<ExportedVm> =
                    Call::new(Operation::ExportVm).at(VmId::NOUN, vm);
                attach_disk(vm: &VmId, disk: &DiskSpec) -> Started<DiskId> =
                    Call::new(Operation::AttachDisk).at(VmId::NOUN, vm).needs(disk.needs());
                detach_disk(vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Started<()> =
                    Call::new(Operation::DetachDisk).at(VmId::NOUN, vm),
                    Recover::Gone(|| Started::done(()));
                resize_disk(vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Started<()> =
                    Call::new(Operation::ResizeDisk).at(VmId::NOUN, vm);
                attach_nic(vm: &VmId, nic: &NicSpec) -> Started<NicId> =
                    Call::new(Operation::AttachNic).at(VmId::NOUN, vm).needs(nic.needs());
                update_nic(vm: &VmId, nic: &NicId, change: &NicChange) -> Started<()> =
                    Call::new(Operation::UpdateNic).at(VmId::NOUN, vm).needs(change.needs());
                detach_nic(vm: &VmId, nic: &NicId) -> Started<()> =
                    Call::new(Operation::DetachNic).at(VmId::NOUN, vm),
                    Recover::Gone(|| Started::done(()));
                get_console(vm: &VmId, kind: &ConsoleKind) -> ConsoleAccess =
                    Call::new(Operation::GetConsole).at(VmId::NOUN, vm);
                stream_console(vm: &VmId, kind: &ConsoleKind) -> ConsoleStream =
                    Call::new(Operation::GetConsole).opening().at(VmId::NOUN, vm);
                screenshot_vm(vm: &VmId) -> Screenshot = Call::new(Operation::ScreenshotVm).at(VmId::NOUN, vm);
                list_groups(page: &PageRequest) -> Page<GroupInfo> = Call::new(Operation::ListGroups);
                get_group(group: &GroupId) -> GroupInfo = Call::new(Operation::GetGroup).at(GroupId::NOUN, group);
                create_group(spec: &GroupSpec) -> Started<GroupId> =
                    Call::new(Operation::CreateGroup).at(GroupId::NOUN, &spec.name);
                update_group(group: &GroupId, change: &GroupChange) -> Started<()> =
                    Call::new(Operation::UpdateGroup).at(GroupId::NOUN, group);
                delete_group(group: &GroupId) -> Started<()> =
                    Call::new(Operation::DeleteGroup).at(GroupId::NOUN, group),
                    Recover::Gone(|| Started::done(()));
            }
            Storage {
                list_pools(query: &PoolQuery, page: &PageRequest) -> Page<PoolInfo> = Call::new(Operation::ListPools);
                get_pool(pool: &PoolId) -> PoolInfo = Call::new(Operation::GetPool).at(PoolId::NOUN, pool);
                create_pool(spec: &PoolSpec) -> Started<PoolId> =
                    Call::new(Operation::CreatePool).at(PoolId::NOUN, &spec.name);
                delete_pool(pool: &PoolId, options: &DeletePool) -> Started<()> =
                    Call::new(Operation::DeletePool).at(PoolId::NOUN, pool),
                    Recover::Gone(|| Started::done(()));
                list_volumes(pool: &PoolId, page: &PageRequest) -> Page<VolumeInfo> =
                    Call::new(Operation::ListVolumes).at(PoolId::NOUN, pool);
                get_volume(volume: &VolumeId) -> VolumeInfo =
                    Call::new(Operation::GetVolume).at(VolumeId::NOUN, volume);
                create_volume(spec: &VolumeSpec) -> Started<VolumeId> =
                    Call::new(Operation::CreateVolume).at(VolumeId::NOUN, &spec.name).needs(spec.needs());
                clone_volume(volume: &VolumeId, spec: &CloneVolume) -> Started<VolumeId> =
                    Call::new(Operation::CloneVolume).at(VolumeId::NOUN, volume);
                resize_volume(volume: &VolumeId, options: &ResizeVolume) -> Started<()> =
                    Call::new(Operation::ResizeVolume).at(VolumeId::NOUN, volume).needs(options.needs());
                wipe_volume(volume: &VolumeId, algorithm: WipeAlgorithm) -> Started<()> =
                    Call::new(Operation::WipeVolume).at(VolumeId::NOUN, volume).needs(algorithm.needs());
                delete_volume(volume: &VolumeId) -> Started<()> =
                    Call::new(Operation::DeleteVolume).at(VolumeId::NOUN, volume),
                    Recover::Gone(|| Started::done(()));
                upload_volume(target: &UploadVolume, content: ByteStream) -> Started<VolumeId> =
                    Call::new(Operation::UploadVolume).streaming().needs(target.needs()).at(VolumeId::NOUN, match target {
                        UploadVolume::Into(volume) => volume.as_str(),
                        UploadVolume::Create(spec) => &spec.name,
                    });
                download_volume(volume: &VolumeId, options: &DownloadVolume) -> ByteStream =
                    Call::new(Operation::DownloadVolume).opening().at(VolumeId::NOUN, volume).needs(options.needs());
            }
            Network {
                list_networks(page: &PageRequest) -> Page<NetworkInfo> = Call::new(Operation::ListNetworks);
                get_network(network: &NetworkId) -> NetworkInfo =
                    Call::new(Operation::GetNetwork).at(NetworkId::NOUN, network);
                create_network(spec: &NetworkSpec) -> Started<NetworkId> =
                    Call::new(Operation::CreateNetwork).at(NetworkId::NOUN, &spec.name).needs(spec.needs());
                update_network(network: &NetworkId, change: &NetworkChange) -> Started<()> =
                    Call::new(Operation::UpdateNetwork).at(NetworkId::NOUN, network).needs(change.needs());
                delete_network(network: &NetworkId) -> Started<()> =
                    Call::new(Operation::DeleteNetwork).at(NetworkId::NOUN, network),
                    Recover::Gone(|| Started::done(()));
                start_network(network: &NetworkId) -> Started<()> =
                    Call::new(Operation::StartNetwork).at(NetworkId::NOUN, network);
                stop_network(network: &NetworkId) -> Started<()> =
                    Call::new(Operation::StopNetwork).at(NetworkId::NOUN, network);
                list_leases(network: &NetworkId) -> Vec<Lease> =
                    Call::new(Operation::ListLeases).at(NetworkId::NOUN, network);
            }
            Snapshots {
                list_snapshots(vm: &VmId) -> SnapshotTree = Call::new(Operation::ListSnapshots).at(VmId::NOUN, vm);
                get_snapshot(vm: &VmId, snapshot: &SnapshotId) -> SnapshotInfo =
                    Call::new(Operation::GetSnapshot).at(VmId::NOUN, vm);
                create_snapshot(vm: &VmId, spec: &SnapshotSpec) -> Started<SnapshotId> =
                    Call::new(Operation::CreateSnapshot).at(VmId::NOUN, vm).needs(spec.needs());
                revert_snapshot(vm: &VmId, snapshot: &SnapshotId, options: &RevertSnapshot) -> Started<()> =
                    Call::new(Operation::RevertSnapshot).at(VmId::NOUN, vm).needs(options.needs());
                delete_snapshot(vm: &VmId, snapshot: &SnapshotId, options: &DeleteSnapshot) -> Started<()> =
                    Call::new(Operation::DeleteSnapshot).at(VmId::NOUN, vm).needs(options.needs()),
                    Recover::Gone(|| Started::done(()));
            }
            Backups {
                list_backups(query: &BackupQuery, page: &PageRequest) -> Page<BackupInfo> =
                    Call::new(Operation::ListBackups);
                create_backup(vm: &VmId, spec: &BackupSpec) -> Started<Option<BackupId>> =
                    Call::new(Operation::CreateBackup).at(VmId::NOUN, vm).needs(spec.needs());
                restore_backup(backup: &BackupId, options: &RestoreBackup) -> Started<VmId> =
                    Call::new(Operation::RestoreBackup).at(BackupId::NOUN, backup).needs(options.needs());
                delete_backup(backup: &BackupId) -> Started<()> =
                    Call::new(Operation::DeleteBackup).at(BackupId::NOUN, backup),
                    Recover::Gone(|| Started::done(()));
            }
            Metrics {
                get_host_metrics(host: &HostId) -> HostMetrics =
                    Call::new(Operation::GetHostMetrics).at(HostId::NOUN, host);
                get_vm_metrics(vm: &VmId) -> VmMetrics = Call::new(Operation::GetVmMetrics).at(VmId::NOUN, vm);
                list_vm_metrics(page: &PageRequest) -> Page<VmMetrics> = Call::new(Operation::ListVmMetrics);
                get_metrics_history(target: &MetricsTarget, period: MetricsPeriod) -> MetricsHistory = {
                    let call = Call::new(Operation::GetMetricsHistory);
                    match target {
                        MetricsTarget::Host(host) => call.at(HostId::NOUN, host),
                        MetricsTarget::Vm(vm) => call.at(VmId::NOUN, vm),
                    }
                };
            }
            Tasks {
                get_task(task: &TaskId, hold: Option<Duration>) -> TaskInfo =
                    Call::new(Operation::GetTask).at(TaskId::NOUN, task).holding(hold);
                list_tasks(query: &TaskQuery, page: &PageRequest) -> Page<TaskInfo> = Call::new(Operation::ListTasks);
                get_task_log(task: &TaskId, from: u64, limit: u32) -> TaskLog =
                    Call::new(Operation::GetTaskLog).at(TaskId::NOUN, task);
                cancel_task(task: &TaskId) -> () = Call::new(Operation::CancelTask).at(TaskId::NOUN, task);
            }
            Guest {
                ping_agent(vm: &VmId) -> () = Call::new(Operation::PingAgent).at(VmId::NOUN, vm);
                list_addresses(vm: &VmId, source: Option<AddressSource>) -> Vec<GuestAddress> =
                    Call::new(Operation::ListAddresses).at(VmId::NOUN, vm)
                        .needs(source.map(AddressSource::needs).unwrap_or_default());
                exec_in_guest(vm: &VmId, spec: &ExecSpec) -> ExecOutput =
                    Call::new(Operation::ExecInGuest).at(VmId::NOUN, vm).patient(Some(spec.deadline));
                read_guest_file(vm: &VmId, path: &str, limit: ByteSize) -> Bytes =
                    Call::new(Operation::ReadGuestFile).at(VmId::NOUN, vm);
                write_guest_file(vm: &VmId, path: &str, content: Bytes, options: &WriteFile) -> () =
                    Call::new(Operation::WriteGuestFile).at(VmId::NOUN, vm).adding(options.append);
                freeze_filesystems(vm: &VmId) -> u32 = Call::new(Operation::FreezeFilesystems).at(VmId::NOUN, vm);
                thaw_filesystems(vm: &VmId) -> u32 = Call::new(Operation::ThawFilesystems).at(VmId::NOUN, vm);
            }
            Events {
                watch(query: &EventQuery) -> EventStream = Call::new(Operation::Watch).opening();
            }
        }
    };
}

pub(super) use operations;
