//! The one table of routes: the router, the permissions, the rate limits and the OpenAPI document are all made from it.

mod batch;
mod compute;
mod devices;
mod gateway;
mod guest;
mod hosts;
mod network;
mod shapes;
mod snapshots;
mod storage;
mod table;
mod tasks;

use axum::http::Method;
use futures::future::BoxFuture;
use schemars::{Schema, SchemaGenerator};

use crate::answer::Reply;
use crate::call::Call;
use crate::rate::Category;

pub(crate) use shapes::Numbers;
pub(crate) use table::table;

pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Reply>;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever has a token that is good.
    Token,
    /// Whoever has a token with this permission.
    Permission(&'static str),
}

/// The shape of something, for the OpenAPI document.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// A type of ours, or a model of `hypervisor-core`.
    Own(fn(&mut SchemaGenerator) -> Schema),
    /// A list of such a type.
    Many(fn(&mut SchemaGenerator) -> Schema),
    /// An object with one member of such a type.
    With(&'static str, fn(&mut SchemaGenerator) -> Schema),
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Nothing,
    /// JSON that must be there.
    Json(Shape),
    /// JSON that may be missing.
    Maybe(Shape),
    /// Bytes, as a stream.
    Bytes,
}

/// What a request is answered when all is well.
#[derive(Clone, Copy)]
pub(crate) enum Good {
    /// The members of `data`.
    Data(&'static [(&'static str, Shape)]),
    /// One page of a list.
    Page(&'static str, Shape),
    /// The start of something: `started` with such an output, `job` and these. With this status when it is done at once.
    Started(u16, Shape, &'static [(&'static str, Shape)]),
    /// The members of `data` of something new.
    Created(&'static [(&'static str, Shape)]),
    /// A sentence.
    Message,
    /// Bytes of this type.
    Bytes(&'static str),
    /// A WebSocket, or server-sent events where that is said.
    Stream { server_sent: bool },
}

/// A query parameter.
#[derive(Clone, Copy)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    /// `string`, `integer`, `boolean`, `number`, or `json` for a model as JSON text.
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    pub(crate) values: &'static [&'static str],
}

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// The operation's name: `list_vms`, as in the traits wherever it is one of theirs.
    pub(crate) id: &'static str,
    pub(crate) about: &'static str,
    pub(crate) access: Access,
    pub(crate) category: Category,
    pub(crate) query: Vec<Param>,
    pub(crate) body: Body,
    pub(crate) good: Good,
    /// Whether the user of Basic authentication may use it.
    pub(crate) basic: bool,
    pub(crate) handler: Handler,
}

impl Route {
    /// The noun that it belongs to.
    pub(crate) fn tag(&self) -> &'static str {
        match self.access {
            Access::Permission(permission) => permission.split(':').next().unwrap_or(permission),
            _ => "gateway",
        }
    }
}

/// One route, for tests and tools.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for its parameters.
    pub path: &'static str,
    /// The operation's name.
    pub id: &'static str,
    /// Who may use it.
    pub access: Access,
    /// Which rate limit it counts for.
    pub category: Category,
}

/// Every route that a gateway serves.
///
/// ```
/// let open: Vec<_> = hypervisor_gateway::routes()
///     .into_iter()
///     .filter(|route| route.access == hypervisor_gateway::Access::Open)
///     .map(|route| route.path)
///     .collect();
/// assert_eq!(open, ["/v1/health"]);
/// ```
#[must_use]
pub fn routes() -> Vec<RouteInfo> {
    let info = |route: &Route| RouteInfo {
        method: route.method.clone(),
        path: route.path,
        id: route.id,
        access: route.access,
        category: route.category,
    };
    table().iter().map(info).collect()
}
