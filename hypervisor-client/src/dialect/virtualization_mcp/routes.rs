//! Which operation is which call.

use hypervisor_core::Operation;

/// One call of the gateway's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The operation of the traits.
    pub operation: Operation,
    /// The method.
    pub method: &'static str,
    /// The path below `/api/v1`; `{…}` are names or ids, percent-encoded.
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

/// Every call that the traits make.
pub const ROUTES: &[Route] = routes! {
    ListVms GET "/vms" "?page&per_page&sort&fields";
    GetVm GET "/vms" "?page&per_page&sort";
    CreateVm POST "/vms" "{name, template, memory_mb, disk_gb, cpus, iso_path, provider, network_mode, unattended}";
    StartVm POST "/vms/{vm}/start" "?provider";
    ShutdownVm POST "/vms/{vm}/stop" "?provider";
    PauseVm POST "/vms/{vm}/pause" "?provider";
    ResumeVm POST "/vms/{vm}/resume" "?provider";
    DeleteVm DELETE "/vms/{vm}" "";
    ScreenshotVm GET "/vms/{vm}/screenshot" "";
    GetConsole GET "/vms/{vm}/vnc" "as a WebSocket";
    CreateSnapshot POST "/vms/{vm}/snapshot" "{snapshot_name, description}";
    ListSnapshots GET "/vms/{vm}/snapshots" "";
    GetSnapshot GET "/vms/{vm}/snapshots" "";
    RevertSnapshot POST "/vms/{vm}/restore" "{snapshot_name}";
    DeleteSnapshot POST "/vms/{vm}/delete-snapshot" "{snapshot_name}";
    Watch GET "/vms" "?page&per_page&sort, again and again";
};
