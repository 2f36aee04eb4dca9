//! Jobs, load, events.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{QUERY, VIEW, handler, many, own, paged, param, route};
use super::{Good, Route, shapes};
use crate::{events, metrics, tasks, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/jobs",
            "list_tasks",
            "job:read",
            handler!(tasks::list),
            "Lists the gateway's jobs, the latest first; with view=native the backend's tasks.",
        )
        .gives(Good::Page("jobs", own!(view::JobView)))
        .query(paged(vec![
            param("vm_id", "string", "Only of this guest."),
            param("status", "string", "Only in this state."),
            QUERY,
        ])),
        route(Method::GET, "/v1/jobs/{job_id}", "get_task", "job:read", handler!(tasks::get), "Reads a job.")
            .gives(Good::Data(&[("job", own!(view::JobView))]))
            .query(vec![param("hold", "number", "Wait so many seconds for a change, at most 30."), VIEW]),
        route(
            Method::GET,
            "/v1/jobs/{job_id}/logs",
            "get_task_log",
            "job:read",
            handler!(tasks::logs),
            "Reads a part of a job's log.",
        )
        .gives(Good::Data(&[("log", own!(model::TaskLog))]))
        .query(vec![
            param("from", "integer", "The first line; 0 without it."),
            param("limit", "integer", "The most lines."),
        ]),
        route(
            Method::DELETE,
            "/v1/jobs/{job_id}",
            "cancel_task",
            "job:write",
            handler!(tasks::cancel),
            "Asks a job to end.",
        )
        .gives(Good::Data(&[("job", own!(shapes::CancelledJob))])),
        route(
            Method::GET,
            "/v1/monitoring/metrics",
            "system_metrics",
            "monitoring:read",
            handler!(metrics::system),
            "The whole system in a few numbers.",
        )
        .gives(Good::Data(&[
            ("metrics", own!(shapes::SystemMetrics)),
            ("unreachable", many!(model::Unreachable)),
        ])),
        route(
            Method::GET,
            "/v1/monitoring/hosts/{host_id}/metrics",
            "get_host_metrics",
            "monitoring:read",
            handler!(metrics::host),
            "Reads a host's load.",
        )
        .gives(Good::Data(&[("metrics", own!(model::HostMetrics))])),
        route(
            Method::GET,
            "/v1/monitoring/vms",
            "list_vm_metrics",
            "monitoring:read",
            handler!(metrics::vms),
            "Reads the load of all running guests.",
        )
        .gives(Good::Page("metrics", own!(metrics::MetricsItem<'_>)))
        .query(paged(Vec::new())),
        route(
            Method::GET,
            "/v1/monitoring/vms/{vm_id}/metrics",
            "get_vm_metrics",
            "monitoring:read",
            handler!(metrics::vm),
            "Reads one guest's load.",
        )
        .gives(Good::Data(&[
            ("vm_id", own!(model::VmId)),
            ("metrics", own!(shapes::Numbers)),
            ("history", own!(model::MetricsHistory)),
            ("info", own!(model::VmMetrics)),
        ]))
        .query(vec![
            param("period", "string", "1h, 24h, 7d or 30d: with the load over that time."),
            param("metrics", "string", "Some of cpu,memory,disk,network."),
            VIEW,
        ]),
        route(
            Method::GET,
            "/v1/monitoring/history",
            "get_metrics_history",
            "monitoring:read",
            handler!(metrics::history),
            "Reads the load over a period.",
        )
        .gives(Good::Data(&[("history", own!(model::MetricsHistory))]))
        .query(vec![
            param("target", "json", "The model's MetricsTarget as JSON."),
            param("period", "string", "hour, day, week, month or year."),
        ]),
        route(
            Method::GET,
            "/v1/watch",
            "watch",
            "monitoring:read",
            handler!(events::watch),
            "The changes as they happen: a WebSocket, or server-sent events with Accept: text/event-stream. When the gateway ends: a close frame 1001, or an event `shutdown`; when the token is revoked or expires: 1008, or the same event.",
        )
        .gives(Good::Stream { server_sent: true })
        .query(vec![QUERY]),
    ]
}
