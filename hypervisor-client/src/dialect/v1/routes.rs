//! Which operation is which call: one table for what the document describes, one for what an extended gateway has.

use hypervisor_core::http::{Method, Request, segment};
use hypervisor_core::{Error, Operation, Result};

/// One call of the gateway's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The operation of the traits.
    pub operation: Operation,
    /// The method.
    pub method: &'static str,
    /// The path below `/v1`; `{…}` are ids, percent-encoded.
    pub path: &'static str,
    /// What the body is, or what the query has.
    pub body: &'static str,
}

macro_rules! routes {
    ($($operation:ident $method:ident $path:literal $body:literal;)*) => {
        &[$(Route {
            operation: Operation::$operation,
            method: stringify!($method),
            path: $path,
            body: $body,
        },)*]
    };
}

/// What the document describes. The calls of the traits that are not here cannot be made of them.
pub const DOCUMENTED: &[Route] = routes! {
    ListVms GET "/vms" "?status&limit&offset|cursor";
    GetVm GET "/vms/{vm}" "";
    CreateVm POST "/vms" "{name, description, template, environment, configuration, security, tags, backup}";
    DeployTemplate POST "/vms" "{name, description, template, configuration}";
    UpdateVm PUT "/vms/{vm}" "{name, description, configuration, tags}";
    DeleteVm DELETE "/vms/{vm}" "?force&keep_backups";
    StartVm POST "/vms/{vm}/start" "";
    ShutdownVm POST "/vms/{vm}/stop" "{graceful: true, timeout_seconds}";
    PowerOffVm POST "/vms/{vm}/stop" "{graceful: false}";
    RebootVm POST "/vms/{vm}/restart" "";
    ListSnapshots GET "/vms/{vm}/snapshots" "";
    GetSnapshot GET "/vms/{vm}/snapshots" "";
    CreateSnapshot POST "/vms/{vm}/snapshots" "{name, description, include_memory}";
    RevertSnapshot POST "/vms/{vm}/snapshots/{snapshot}/restore" "";
    ListNetworks GET "/networks" "";
    GetNetwork GET "/networks" "";
    CreateNetwork POST "/networks" "{name, type, vlan_id, subnet, gateway, dns_servers, dhcp_enabled, dhcp_range}";
    ListPools GET "/storage" "";
    GetPool GET "/storage" "";
    CreatePool POST "/storage" "{name, type, path, source}";
    ListBackups GET "/backups" "?limit&offset|cursor";
    CreateBackup POST "/backups" "{vm_id, backup_type, compression, description}";
    RestoreBackup POST "/backups/{backup}/restore" "";
    ListTasks GET "/jobs" "?limit&offset|cursor";
    GetTask GET "/jobs/{job}" "";
    GetTaskLog GET "/jobs/{job}" "";
    CancelTask DELETE "/jobs/{job}" "";
    GetVmMetrics GET "/vms/{vm}" "";
    GetMetricsHistory GET "/monitoring/vms/{vm}/metrics" "?period&metrics";
    ListAddresses GET "/vms/{vm}" "";
};

/// What a gateway has that says `native-v1`. `spec`, `change` and `options` are the model of the SDK as JSON.
pub const NATIVE: &[Route] = routes! {
    GetCluster GET "/cluster" "";
    ListHosts GET "/hosts" "?view=native&limit&cursor";
    GetHost GET "/hosts/{host}" "";
    ListVms GET "/vms" "?view=native&query&limit&cursor";
    GetVm GET "/vms/{vm}" "";
    GetVmConfig GET "/vms/{vm}/config" "";
    CreateVm POST "/vms" "{spec}";
    UpdateVm PUT "/vms/{vm}" "{change}";
    DeleteVm DELETE "/vms/{vm}" "?force&keep_backups&options";
    StartVm POST "/vms/{vm}/power" "{action}";
    ShutdownVm POST "/vms/{vm}/power" "{action}";
    PowerOffVm POST "/vms/{vm}/power" "{action}";
    RebootVm POST "/vms/{vm}/power" "{action}";
    ResetVm POST "/vms/{vm}/power" "{action}";
    PauseVm POST "/vms/{vm}/power" "{action}";
    ResumeVm POST "/vms/{vm}/power" "{action}";
    HibernateVm POST "/vms/{vm}/power" "{action}";
    CloneVm POST "/vms/{vm}/clone" "{spec}";
    CloneVms POST "/vms/{vm}/clones" "{spec}";
    MigrateVm POST "/vms/{vm}/migrate" "{spec}";
    CreateTemplate POST "/vms/{vm}/template" "{spec}";
    DeployTemplate POST "/templates/{template}/deploy" "{spec}";
    ExportVm POST "/vms/{vm}/export" "{spec}";
    AttachDisk POST "/vms/{vm}/disks" "{spec}";
    DetachDisk DELETE "/vms/{vm}/disks/{disk}" "?options";
    ResizeDisk PUT "/vms/{vm}/disks/{disk}" "{capacity}";
    AttachNic POST "/vms/{vm}/nics" "{spec}";
    UpdateNic PUT "/vms/{vm}/nics/{nic}" "{change}";
    DetachNic DELETE "/vms/{vm}/nics/{nic}" "";
    GetConsole GET "/vms/{vm}/console" "?kind";
    ScreenshotVm GET "/vms/{vm}/screenshot" "";
    ListGroups GET "/groups" "?view=native&limit&cursor";
    GetGroup GET "/groups/{group}" "";
    CreateGroup POST "/groups" "{spec}";
    UpdateGroup PUT "/groups/{group}" "{change}";
    DeleteGroup DELETE "/groups/{group}" "";
    ListPools GET "/storage" "?view=native&query&limit&cursor";
    GetPool GET "/storage/{pool}" "";
    CreatePool POST "/storage" "{spec}";
    DeletePool DELETE "/storage/{pool}" "?options";
    ListVolumes GET "/storage/{pool}/volumes" "?view=native&limit&cursor";
    GetVolume GET "/volumes/{volume}" "";
    CreateVolume POST "/volumes" "{spec}";
    CloneVolume POST "/volumes/{volume}/clone" "{spec}";
    ResizeVolume POST "/volumes/{volume}/resize" "{options}";
    WipeVolume POST "/volumes/{volume}/wipe" "{algorithm}";
    DeleteVolume DELETE "/volumes/{volume}" "";
    UploadVolume PUT "/volumes/upload" "?target, the bytes";
    DownloadVolume GET "/volumes/{volume}/content" "?options";
    ListNetworks GET "/networks" "?view=native&limit&cursor";
    GetNetwork GET "/networks/{network}" "";
    CreateNetwork POST "/networks" "{spec}";
    UpdateNetwork PUT "/networks/{network}" "{change}";
    DeleteNetwork DELETE "/networks/{network}" "";
    StartNetwork POST "/networks/{network}/start" "";
    StopNetwork POST "/networks/{network}/stop" "";
    ListLeases GET "/networks/{network}/leases" "";
    ListSnapshots GET "/vms/{vm}/snapshots" "";
    GetSnapshot GET "/vms/{vm}/snapshots/{snapshot}" "";
    CreateSnapshot POST "/vms/{vm}/snapshots" "{spec}";
    RevertSnapshot POST "/vms/{vm}/snapshots/{snapshot}/restore" "{options}";
    DeleteSnapshot DELETE "/vms/{vm}/snapshots/{snapshot}" "?options";
    ListBackups GET "/backups" "?view=native&query&limit&cursor";
    CreateBackup POST "/backups" "{vm_id, spec}";
    RestoreBackup POST "/backups/{backup}/restore" "{options}";
    DeleteBackup DELETE "/backups/{backup}" "";
    GetHostMetrics GET "/monitoring/hosts/{host}/metrics" "";
    GetVmMetrics GET "/monitoring/vms/{vm}/metrics" "";
    ListVmMetrics GET "/monitoring/vms" "?view=native&limit&cursor";
    GetMetricsHistory GET "/monitoring/history" "?target&period";
    GetTask GET "/jobs/{job}" "?hold";
    ListTasks GET "/jobs" "?view=native&query&limit&cursor";
    GetTaskLog GET "/jobs/{job}/logs" "?from&limit";
    CancelTask DELETE "/jobs/{job}" "";
    SubmitBatch POST "/batch/bulk" "{ops}";
    PingAgent POST "/guest/{vm}/ping" "";
    ListAddresses GET "/guest/{vm}/addresses" "?source";
    ExecInGuest POST "/guest/{vm}/exec" "{spec}";
    ReadGuestFile GET "/guest/{vm}/file" "?path&limit";
    WriteGuestFile PUT "/guest/{vm}/file" "?path&options, the bytes";
    FreezeFilesystems POST "/guest/{vm}/freeze" "";
    ThawFilesystems POST "/guest/{vm}/thaw" "";
    Watch GET "/watch" "?query, as a WebSocket";
};

/// The request for an operation, its ids put into the path in their order. `prefix` comes before the path.
///
/// # Errors
/// `Unsupported` for an operation that is not in the table, `InvalidInput` for an id that cannot be in a path.
pub(crate) fn request(table: &[Route], prefix: &str, operation: Operation, ids: &[&str]) -> Result<Request> {
    let route = table.iter().find(|route| route.operation == operation);
    let route = route.ok_or_else(|| Error::unsupported(operation, super::NOT_DOCUMENTED))?;
    let mut path = prefix.to_owned();
    let mut ids = ids.iter();
    for part in route.path.split('/').skip(1) {
        path.push('/');
        if part.starts_with('{') {
            let id = ids.next().copied().unwrap_or_default();
            path.push_str(&segment(id).map_err(|error| error.with_operation(operation))?);
        } else {
            path.push_str(part);
        }
    }
    let method = match route.method {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        _ => Method::DELETE,
    };
    Ok(Request::new(method, path).operation(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_gateway_has_a_route_for_every_operation_and_none_twice() {
        for operation in Operation::ALL {
            let routes = NATIVE.iter().filter(|route| route.operation == *operation).count();
            assert_eq!(routes, 1, "{operation}");
            let documented = DOCUMENTED.iter().filter(|route| route.operation == *operation).count();
            assert!(documented <= 1, "{operation}");
        }
    }

    #[test]
    fn ids_are_put_in_as_segments() {
        let made = request(NATIVE, "/v1", Operation::DetachDisk, &["a/b", "vd?a"]).unwrap();
        assert_eq!(made.path(), "/v1/vms/a%2Fb/disks/vd%3Fa");
        assert_eq!(made.method(), &Method::DELETE);
        for bad in ["", ".", ".."] {
            let error = request(DOCUMENTED, "/v1", Operation::GetVm, &[bad]).unwrap_err();
            assert_eq!(error.kind(), hypervisor_core::ErrorKind::InvalidInput, "{bad:?}");
        }
        assert!(request(DOCUMENTED, "/v1", Operation::CloneVm, &["a"]).unwrap_err().is_unsupported());
    }
}
