//! Guests.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{OPTIONS, QUERY, VIEW, choice, handler, made, many, own, paged, param, route, with};
use super::{Body, Good, Route, shapes};
use crate::rate::Category;
use crate::{compute, create, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/vms", "list_vms", "vm:read", handler!(compute::list), "Lists the guests.")
            .gives(Good::Page("vms", own!(view::VmItem<'_>)))
            .query(paged(vec![
                param("status", "string", "Only guests in this state."),
                choice("environment", &view::ENVIRONMENTS, "Only guests with this tag."),
                choice("sort", &["name", "created_at", "status"], "name without it."),
                choice("order", &["asc", "desc"], "asc without it."),
                QUERY,
            ])),
        route(Method::POST, "/v1/vms", "create_vm", "vm:write", handler!(compute::post), "Creates a guest.")
            .takes(Body::Json(own!(create::CreateVm)))
            .gives(Good::Started(
                201,
                own!(model::VmId),
                &[("vm", own!(shapes::MadeVm)), ("unapplied", many!(String))],
            )),
        route(
            Method::GET,
            "/v1/vms/{vm_id}",
            "get_vm",
            "vm:read",
            handler!(compute::get),
            "Reads one guest.",
        )
        .gives(Good::Data(&[("vm", own!(compute::VmDetails<'_>))]))
        .query(vec![VIEW]),
        route(
            Method::PUT,
            "/v1/vms/{vm_id}",
            "update_vm",
            "vm:write",
            handler!(compute::put),
            "Changes a guest's configuration.",
        )
        .takes(Body::Json(own!(compute::UpdateVm)))
        .gives(Good::Started(200, own!(model::UpdateOutcome), &[("vm", made!(model::VmId))])),
        route(
            Method::DELETE,
            "/v1/vms/{vm_id}",
            "delete_vm",
            "vm:write",
            handler!(compute::delete),
            "Deletes a guest.",
        )
        .gives(Good::Started(200, own!(()), &[("vm", made!(model::VmId))]))
        .query(vec![
            param("force", "boolean", "Cut its power and delete its snapshots; false without it."),
            param("keep_backups", "boolean", "true without it."),
            OPTIONS,
        ]),
        route(
            Method::GET,
            "/v1/vms/{vm_id}/config",
            "get_vm_config",
            "vm:read",
            handler!(compute::config),
            "Reads a guest's whole configuration.",
        )
        .gives(Good::Data(&[("config", own!(model::VmConfig))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/start",
            "start_vm",
            "vm:write",
            handler!(compute::start),
            "Powers a guest on, or wakes a hibernated one.",
        )
        .gives(Good::Started(200, own!(()), &[("vm", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/stop",
            "stop_vm",
            "vm:write",
            handler!(compute::stop),
            "Asks a guest to power off, or cuts its power.",
        )
        .takes(Body::Maybe(own!(compute::Stop)))
        .gives(Good::Started(200, own!(()), &[("vm", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/restart",
            "restart_vm",
            "vm:write",
            handler!(compute::restart),
            "Asks a guest to restart, or restarts it at once.",
        )
        .takes(Body::Maybe(own!(compute::Restart)))
        .gives(Good::Started(200, own!(()), &[("vm", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/power",
            "power_vm",
            "vm:write",
            handler!(compute::post_power),
            "Carries out a power verb.",
        )
        .takes(Body::Json(own!(compute::Power)))
        .gives(Good::Started(200, own!(()), &[("vm", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/clone",
            "clone_vm",
            "vm:write",
            handler!(compute::clone),
            "Copies a guest.",
        )
        .takes(Body::Json(with!("spec", model::CloneSpec)))
        .gives(Good::Started(201, own!(model::VmId), &[("vm", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/clones",
            "clone_vms",
            "vm:write",
            handler!(compute::clones),
            "Copies a guest many times, and waits for the end.",
        )
        .takes(Body::Json(with!("spec", model::CloneMany)))
        .gives(Good::Data(&[("report", own!(model::BatchReport))]))
        .counts_as(Category::Bulk),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/migrate",
            "migrate_vm",
            "vm:write",
            handler!(compute::migrate),
            "Moves a guest to another host.",
        )
        .takes(Body::Json(with!("spec", model::MigrateSpec)))
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/template",
            "create_template",
            "vm:write",
            handler!(compute::template),
            "Makes a template from a guest.",
        )
        .takes(Body::Json(with!("spec", model::TemplateSpec)))
        .gives(Good::Started(201, own!(model::VmId), &[("template", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/templates/{template_id}/deploy",
            "deploy_template",
            "vm:write",
            handler!(compute::deploy),
            "Creates a guest from a template.",
        )
        .takes(Body::Json(with!("spec", model::DeploySpec)))
        .gives(Good::Started(201, own!(model::VmId), &[("vm", made!(model::VmId))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/export",
            "export_vm",
            "vm:write",
            handler!(compute::export),
            "Writes a guest's definition and disks to a directory on the host.",
        )
        .takes(Body::Json(with!("spec", model::ExportSpec)))
        .gives(Good::Started(201, own!(model::ExportedVm), &[])),
    ]
}
