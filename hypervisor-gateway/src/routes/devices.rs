//! A guest's disks, NICs and screen.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{OPTIONS, handler, made, own, param, route, with};
use super::{Body, Good, Route};
use crate::{console, devices};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(Method::POST, "/v1/vms/{vm_id}/disks", "attach_disk", "vm:write", handler!(devices::attach_disk), "Attaches a disk.")
            .takes(Body::Json(with!("spec", model::DiskSpec)))
            .gives(Good::Started(201, own!(model::DiskId), &[("disk", made!(model::DiskId))])),
        route(Method::PUT, "/v1/vms/{vm_id}/disks/{disk_id}", "resize_disk", "vm:write", handler!(devices::resize_disk), "Makes a disk larger.")
            .takes(Body::Json(own!(devices::Capacity)))
            .gives(Good::Started(200, own!(()), &[])),
        route(Method::DELETE, "/v1/vms/{vm_id}/disks/{disk_id}", "detach_disk", "vm:write", handler!(devices::detach_disk), "Detaches a disk.")
            .gives(Good::Started(200, own!(()), &[]))
            .query(vec![OPTIONS]),
        route(Method::POST, "/v1/vms/{vm_id}/nics", "attach_nic", "vm:write", handler!(devices::attach_nic), "Attaches a NIC.")
            .takes(Body::Json(with!("spec", model::NicSpec)))
            .gives(Good::Started(201, own!(model::NicId), &[("nic", made!(model::NicId))])),
        route(Method::PUT, "/v1/vms/{vm_id}/nics/{nic_id}", "update_nic", "vm:write", handler!(devices::update_nic), "Changes what a NIC is plugged into.")
            .takes(Body::Json(with!("change", model::NicChange)))
            .gives(Good::Started(200, own!(()), &[])),
        route(Method::DELETE, "/v1/vms/{vm_id}/nics/{nic_id}", "detach_nic", "vm:write", handler!(devices::detach_nic), "Detaches a NIC.")
            .gives(Good::Started(200, own!(()), &[])),
        route(Method::GET, "/v1/vms/{vm_id}/console", "get_console", "vm:write", handler!(console::get), "Finds out how to reach a guest's console. It may hold a password, so that reading is not enough.")
            .gives(Good::Data(&[("access", own!(model::ConsoleAccess)), ("console_url", own!(String))]))
            .query(vec![param("kind", "string", "vnc, spice or serial.")]),
        route(Method::GET, "/v1/vms/{vm_id}/console/stream", "stream_console", "vm:write", handler!(console::stream), "A guest's console as a WebSocket of binary frames: of a port that the gateway can reach, or as the backend carries it. It ends with a close frame 1008 when the token is revoked or expires.")
            .gives(Good::Stream { server_sent: false })
            .query(vec![param("kind", "string", "vnc, spice or serial.")]),
        route(Method::GET, "/v1/vms/{vm_id}/screenshot", "screenshot_vm", "vm:read", handler!(console::screenshot), "Takes a picture of a guest's screen.")
            .gives(Good::Bytes("image/png")),
    ]
}
