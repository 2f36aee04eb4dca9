//! Many operations in one call, and what an embedding server supplies.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{handler, many, own, route};
use super::{Body, Good, Route, shapes};
use crate::rate::Category;
use crate::{batch, hooks, scans};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(Method::POST, "/v1/batch", "submit_batch", "batch:write", handler!(batch::submit), "Runs many operations and waits for their ends. Each needs its own permission too.")
            .takes(Body::Json(own!(batch::Submit)))
            .gives(Good::Data(&[("report", own!(model::BatchReport))]))
            .counts_as(Category::Bulk),
        route(Method::POST, "/v1/batch/bulk", "submit_bulk", "batch:write", handler!(batch::bulk), "Sends many operations as one call of the backend, where it has one. Each needs its own permission too.")
            .takes(Body::Json(own!(batch::Bulk)))
            .gives(Good::Data(&[("results", many!(shapes::BulkResult))]))
            .counts_as(Category::Bulk),
        route(Method::POST, "/v1/security/scans", "start_scan", "security:write", handler!(scans::start), "Begins a security scan, where the server has a scanner.")
            .takes(Body::Json(own!(hooks::ScanRequest)))
            .gives(Good::Created(&[("scan", own!(hooks::Scan))])),
        route(Method::GET, "/v1/security/scans/{scan_id}", "get_scan", "security:read", handler!(scans::get), "Reads a security scan.")
            .gives(Good::Data(&[("scan", own!(hooks::Scan))])),
        route(Method::POST, "/v1/ai/generate", "generate", "ai:write", handler!(scans::generate), "Generates infrastructure code, where the server has somebody who does.")
            .takes(Body::Json(own!(hooks::Generate)))
            .gives(Good::Data(&[("generated_code", own!(hooks::Generated))]))
            .counts_as(Category::Ai),
    ]
}
