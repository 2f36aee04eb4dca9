//! What the parts of the table are written with, and the whole.

use std::sync::OnceLock;

use axum::http::Method;

use super::{Access, Body, Good, Handler, Param, Route};
use super::{batch, compute, devices, gateway, guest, hosts, network, snapshots, storage, tasks};
use crate::rate::Category;

macro_rules! own {
    ($type:ty) => {
        $crate::routes::Shape::Own(|generator| generator.subschema_for::<$type>())
    };
}

macro_rules! many {
    ($type:ty) => {
        $crate::routes::Shape::Many(|generator| generator.subschema_for::<$type>())
    };
}

/// An object with this one member.
macro_rules! with {
    ($member:literal, $type:ty) => {
        $crate::routes::Shape::With($member, |generator| generator.subschema_for::<$type>())
    };
}

/// An object that names what was made or changed.
macro_rules! made {
    ($type:ty) => {
        $crate::routes::table::with!("id", $type)
    };
}

macro_rules! handler {
    ($path:path) => {
        |call| Box::pin($path(call))
    };
}

pub(super) use {handler, made, many, own, with};

pub(super) const fn param(name: &'static str, kind: &'static str, about: &'static str) -> Param {
    Param { name, kind, about, values: &[] }
}

pub(super) const fn choice(
    name: &'static str,
    values: &'static [&'static str],
    about: &'static str,
) -> Param {
    Param { name, kind: "string", about, values }
}

pub(super) const VIEW: Param =
    choice("view", &["native"], "Only the lossless model, without the document's own fields.");
pub(super) const QUERY: Param = param("query", "json", "The model's query as JSON.");
pub(super) const OPTIONS: Param = param("options", "json", "The model's options as JSON.");

pub(super) fn paged(mut more: Vec<Param>) -> Vec<Param> {
    more.extend([
        param("limit", "integer", "The most items: 1 to 200 (1000 with view=native), 50 without it."),
        param("offset", "integer", "How many items to skip."),
        param("cursor", "string", "next_cursor of the page before, instead of an offset."),
        VIEW,
    ]);
    more
}

pub(super) fn route(
    method: Method,
    path: &'static str,
    id: &'static str,
    permission: &'static str,
    handler: Handler,
    about: &'static str,
) -> Route {
    let category = if method == Method::GET { Category::Read } else { Category::Operations };
    let access = Access::Permission(permission);
    Route {
        method,
        path,
        id,
        about,
        access,
        category,
        query: Vec::new(),
        body: Body::Nothing,
        good: Good::Message,
        basic: false,
        handler,
    }
}

impl Route {
    pub(super) fn takes(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub(super) fn gives(mut self, good: Good) -> Self {
        self.good = good;
        self
    }

    pub(super) fn query(mut self, query: Vec<Param>) -> Self {
        self.query = query;
        self
    }

    pub(super) fn counts_as(mut self, category: Category) -> Self {
        self.category = category;
        self
    }

    pub(super) fn with_basic(mut self) -> Self {
        self.basic = true;
        self
    }

    pub(super) fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

/// Every route, made once.
pub(crate) fn table() -> &'static [Route] {
    static TABLE: OnceLock<Vec<Route>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let parts = [
            gateway::routes(),
            compute::routes(),
            devices::routes(),
            snapshots::routes(),
            guest::routes(),
            hosts::routes(),
            storage::routes(),
            network::routes(),
            tasks::routes(),
            batch::routes(),
        ];
        parts.into_iter().flatten().collect()
    })
}
