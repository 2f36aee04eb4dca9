//! Inside guests.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{OPTIONS, choice, handler, many, own, param, route, with};
use super::{Body, Good, Route};
use crate::guest;
use crate::rate::Category;

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::POST,
            "/v1/guest/{vm_id}/ping",
            "ping_agent",
            "guest:read",
            handler!(guest::ping),
            "Finds out whether a guest's agent answers.",
        )
        .gives(Good::Data(&[("agent", own!(String))]))
        .counts_as(Category::Read),
        route(
            Method::GET,
            "/v1/guest/{vm_id}/addresses",
            "list_addresses",
            "guest:read",
            handler!(guest::addresses),
            "Lists a guest's IP addresses.",
        )
        .gives(Good::Data(&[("addresses", many!(model::GuestAddress))]))
        .query(vec![choice(
            "source",
            &["lease", "agent", "arp", "config"],
            "All that answer without it.",
        )]),
        route(
            Method::POST,
            "/v1/guest/{vm_id}/exec",
            "exec_in_guest",
            "guest:write",
            handler!(guest::exec),
            "Runs a command inside a guest and waits for its end.",
        )
        .takes(Body::Json(with!("spec", model::ExecSpec)))
        .gives(Good::Data(&[("output", own!(model::ExecOutput))])),
        route(
            Method::GET,
            "/v1/guest/{vm_id}/file",
            "read_guest_file",
            "guest:read",
            handler!(guest::read_file),
            "Reads a file inside a guest.",
        )
        .gives(Good::Bytes("application/octet-stream"))
        .query(vec![param("path", "string", "Inside the guest."), param("limit", "integer", "Bytes.")]),
        route(
            Method::PUT,
            "/v1/guest/{vm_id}/file",
            "write_guest_file",
            "guest:write",
            handler!(guest::write_file),
            "Writes a file inside a guest.",
        )
        .takes(Body::Bytes)
        .gives(Good::Data(&[("path", own!(String)), ("bytes", own!(u64))]))
        .query(vec![param("path", "string", "Inside the guest."), OPTIONS]),
        route(
            Method::POST,
            "/v1/guest/{vm_id}/freeze",
            "freeze_filesystems",
            "guest:write",
            handler!(guest::freeze),
            "Freezes a guest's file systems.",
        )
        .gives(Good::Data(&[("count", own!(u32))])),
        route(
            Method::POST,
            "/v1/guest/{vm_id}/thaw",
            "thaw_filesystems",
            "guest:write",
            handler!(guest::thaw),
            "Thaws a guest's file systems.",
        )
        .gives(Good::Data(&[("count", own!(u32))])),
    ]
}
