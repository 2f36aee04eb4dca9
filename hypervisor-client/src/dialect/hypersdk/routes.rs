//! Every route of the daemon that the driver knows, and which operation goes by which.
//!
//! Served by `hypervisord` as shipped; of the groups that its document mentions beside these (scheduler, users, notifications, cost, …) it
//! serves none, and answers `404 page not found`.

use hypervisor_core::Operation;
use hypervisor_core::http::Method;

/// A method and a path; what is in braces is put in by the call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
}

macro_rules! routes {
    ($( $name:ident $method:ident $path:literal; )*) => {
        $( pub(crate) const $name: Route = Route { method: Method::$method, path: $path }; )*

        /// All of them.
        pub const ROUTES: &[Route] = &[$( $name, )*];
    };
}

routes! {
    HEALTH GET "/health";
    STATUS GET "/status";
    CAPABILITIES GET "/capabilities";
    LOGIN POST "/api/login";
    LOGOUT POST "/api/logout";

    JOBS_SUBMIT POST "/jobs/submit";
    JOBS_QUERY POST "/jobs/query";
    JOBS_CANCEL POST "/jobs/cancel";
    JOB GET "/jobs/{id}";
    JOB_PROGRESS GET "/jobs/progress/{id}";
    JOB_LOGS GET "/jobs/logs/{id}";
    JOB_ETA GET "/jobs/eta/{id}";

    VMS_LIST GET "/vms/list";
    VMS_INFO POST "/vms/info";
    VMS_SHUTDOWN POST "/vms/shutdown";
    VMS_POWEROFF POST "/vms/poweroff";
    VMS_REMOVE_CDROM POST "/vms/remove-cdrom";

    DOMAINS GET "/libvirt/domains";
    DOMAIN GET "/libvirt/domain";
    DOMAIN_START POST "/libvirt/domain/start";
    DOMAIN_SHUTDOWN POST "/libvirt/domain/shutdown";
    DOMAIN_DESTROY POST "/libvirt/domain/destroy";
    DOMAIN_REBOOT POST "/libvirt/domain/reboot";
    DOMAIN_PAUSE POST "/libvirt/domain/pause";
    DOMAIN_RESUME POST "/libvirt/domain/resume";
    SNAPSHOTS GET "/libvirt/snapshots";
    SNAPSHOT_CREATE POST "/libvirt/snapshot/create";
    SNAPSHOT_REVERT POST "/libvirt/snapshot/revert";
    SNAPSHOT_DELETE POST "/libvirt/snapshot/delete";
    POOLS GET "/libvirt/pools";
    VOLUMES GET "/libvirt/volumes";
    VNC_CONSOLE GET "/libvirt/console";

    NETWORKS GET "/libvirt/networks";
    NETWORK GET "/libvirt/network";
    NETWORK_CREATE POST "/libvirt/network/create";
    NETWORK_DELETE POST "/libvirt/network/delete";
    NETWORK_START POST "/libvirt/network/start";
    NETWORK_STOP POST "/libvirt/network/stop";
    INTERFACE_ATTACH POST "/libvirt/interface/attach";
    INTERFACE_DETACH POST "/libvirt/interface/detach";

    VOLUME_INFO GET "/libvirt/volume/info";
    VOLUME_CREATE POST "/libvirt/volume/create";
    VOLUME_CLONE POST "/libvirt/volume/clone";
    VOLUME_RESIZE POST "/libvirt/volume/resize";
    VOLUME_DELETE POST "/libvirt/volume/delete";
    VOLUME_UPLOAD POST "/libvirt/volume/upload";
    VOLUME_WIPE POST "/libvirt/volume/wipe";

    STATS GET "/libvirt/stats";
    STATS_ALL GET "/libvirt/stats/all";
    STATS_CPU GET "/libvirt/stats/cpu";
    STATS_MEMORY GET "/libvirt/stats/memory";
    STATS_DISK GET "/libvirt/stats/disk";
    STATS_NETWORK GET "/libvirt/stats/network";

    BATCH_START POST "/libvirt/batch/start";
    BATCH_STOP POST "/libvirt/batch/stop";
    BATCH_REBOOT POST "/libvirt/batch/reboot";
    BATCH_SNAPSHOT POST "/libvirt/batch/snapshot";
    BATCH_DELETE POST "/libvirt/batch/delete";
    BATCH_PAUSE POST "/libvirt/batch/pause";
    BATCH_RESUME POST "/libvirt/batch/resume";

    CLONE POST "/libvirt/clone";
    CLONE_MULTIPLE POST "/libvirt/clone/multiple";
    TEMPLATE_CREATE POST "/libvirt/template/create";
    TEMPLATE_DEPLOY POST "/libvirt/template/deploy";
    TEMPLATE_LIST GET "/libvirt/template/list";
    TEMPLATE_EXPORT POST "/libvirt/template/export";

    ISO_LIST GET "/libvirt/isos/list";
    ISO_UPLOAD POST "/libvirt/isos/upload";
    ISO_DELETE POST "/libvirt/isos/delete";
    ISO_ATTACH POST "/libvirt/domain/attach-iso";
    ISO_DETACH POST "/libvirt/domain/detach-iso";
    BACKUP_LIST GET "/libvirt/backup/list";
    BACKUP_CREATE POST "/libvirt/backup/create";
    BACKUP_RESTORE POST "/libvirt/backup/restore";
    BACKUP_VERIFY POST "/libvirt/backup/verify";
    BACKUP_DELETE POST "/libvirt/backup/delete";

    CONSOLE_INFO GET "/console/info";
    CONSOLE_VNC GET "/console/vnc";
    CONSOLE_SERIAL GET "/console/serial";
    CONSOLE_SERIAL_DEVICE GET "/console/serial-device";
    CONSOLE_SCREENSHOT GET "/console/screenshot";
    SEND_KEY POST "/libvirt/domain/send-key";

    SCHEDULES GET "/schedules";
    SCHEDULE_CREATE POST "/schedules";
    SCHEDULE GET "/schedules/{id}";
    SCHEDULE_UPDATE PUT "/schedules/{id}";
    SCHEDULE_DELETE DELETE "/schedules/{id}";
    SCHEDULE_ENABLE POST "/schedules/{id}/enable";
    SCHEDULE_DISABLE POST "/schedules/{id}/disable";
    SCHEDULE_TRIGGER POST "/schedules/{id}/trigger";
    SCHEDULE_STATS GET "/schedules/stats";
    WEBHOOKS GET "/webhooks";
    WEBHOOK_CREATE POST "/webhooks";
    WEBHOOK_DELETE DELETE "/webhooks/{index}";

    FEED GET "/ws";

    WORKFLOW_STATUS GET "/api/workflow/status";
    WORKFLOW_JOBS GET "/api/workflow/jobs";
    WORKFLOW_JOBS_ACTIVE GET "/api/workflow/jobs/active";
    MANIFEST_SUBMIT POST "/api/workflow/manifest/submit";
    MANIFEST_VALIDATE POST "/api/workflow/manifest/validate";
}

/// The routes that an operation of the traits goes by, in the order in which they are asked; empty where the daemon has none.
#[must_use]
pub fn of(operation: Operation) -> &'static [Route] {
    use Operation as O;
    match operation {
        O::ListVms => &[DOMAINS, DOMAIN],
        O::Watch => &[DOMAINS],
        O::GetVm => &[DOMAIN],
        O::DeleteVm => &[DOMAIN, SNAPSHOTS, BATCH_DELETE],
        O::StartVm => &[DOMAIN, DOMAIN_START],
        O::ShutdownVm => &[DOMAIN, DOMAIN_SHUTDOWN],
        O::PowerOffVm => &[DOMAIN, DOMAIN_DESTROY],
        O::RebootVm => &[DOMAIN, DOMAIN_REBOOT],
        O::ResetVm => &[DOMAIN, BATCH_REBOOT],
        O::PauseVm => &[DOMAIN, DOMAIN_PAUSE],
        O::ResumeVm => &[DOMAIN, DOMAIN_RESUME],
        O::CloneVm | O::CloneVms => &[DOMAIN, CLONE, DOMAIN_START],
        O::CreateTemplate => &[DOMAIN, TEMPLATE_CREATE],
        O::DeployTemplate => &[DOMAIN, TEMPLATE_DEPLOY, DOMAIN_START],
        O::ExportVm => &[DOMAIN, TEMPLATE_EXPORT],
        O::DetachNic => &[DOMAIN, INTERFACE_DETACH],
        O::GetConsole => &[VNC_CONSOLE, CONSOLE_SERIAL_DEVICE, DOMAIN],
        O::ListPools | O::GetPool => &[POOLS],
        O::ListVolumes => &[VOLUMES, VOLUME_INFO, POOLS],
        O::GetVolume => &[VOLUME_INFO],
        O::CreateVolume => &[VOLUME_CREATE],
        O::CloneVolume => &[VOLUME_CLONE],
        O::ResizeVolume => &[VOLUME_INFO, VOLUME_RESIZE],
        O::WipeVolume => &[VOLUME_WIPE],
        O::DeleteVolume => &[VOLUME_DELETE],
        O::ListNetworks => &[NETWORKS, NETWORK],
        O::GetNetwork => &[NETWORK],
        O::CreateNetwork => &[NETWORK_CREATE, NETWORK, NETWORK_STOP, NETWORK_START],
        O::DeleteNetwork => &[NETWORK, NETWORK_DELETE],
        O::StartNetwork => &[NETWORK_START],
        O::StopNetwork => &[NETWORK_STOP],
        O::ListSnapshots | O::GetSnapshot => &[SNAPSHOTS, DOMAIN],
        O::CreateSnapshot => &[SNAPSHOT_CREATE],
        O::RevertSnapshot => &[SNAPSHOT_REVERT, DOMAIN, DOMAIN_START],
        O::DeleteSnapshot => &[SNAPSHOT_DELETE],
        O::ListBackups => &[BACKUP_LIST],
        O::CreateBackup => &[DOMAIN, BACKUP_CREATE],
        O::DeleteBackup => &[BACKUP_DELETE],
        O::GetVmMetrics => &[STATS],
        O::ListVmMetrics => &[STATS_ALL],
        O::GetTask => &[JOB],
        O::ListTasks => &[JOBS_QUERY],
        O::GetTaskLog => &[JOB, JOB_LOGS],
        O::CancelTask => &[JOBS_CANCEL],
        O::SubmitBatch => &[DOMAINS, BATCH_START, BATCH_STOP, BATCH_REBOOT, BATCH_PAUSE, BATCH_RESUME],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_route_is_there_twice() {
        let all: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.to_string(), route.path)).collect();
        assert_eq!(all.len(), ROUTES.len());
    }

    #[test]
    fn what_is_claimed_has_routes_and_what_is_not_has_none() {
        let claims = super::super::capabilities::claims();
        for operation in Operation::ALL {
            assert_eq!(claims.has(*operation), !of(*operation).is_empty(), "{operation}");
        }
    }
}
