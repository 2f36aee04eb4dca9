//! Logging in, tokens and permissions.

use super::build::{V9_1, V9_2, delete, get, integer, post, put, switch, text, word};
use super::common::GROUPS;
use super::{Access, Endpoint};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/access/acl", Access::Anyone, &[]),
    put(
        "/access/acl",
        Access::MayModify("{path}"),
        &[&[
            switch("delete"),
            GROUPS,
            text("path").required(),
            switch("propagate"),
            text("roles").format("pve-roleid-list").required(),
            text("tokens").format("pve-tokenid-list"),
            text("users").format("pve-userid-list"),
        ]],
    ),
    put(
        "/access/password",
        Access::Any(&[
            Access::Myself,
            Access::All(&[Access::OfRealm("Realm.AllocateUser"), Access::OfGroups(&["User.Modify"])]),
        ]),
        &[&[
            text("confirmation-password").shortest(5).longest(64),
            text("password").shortest(8).longest(64).required(),
            text("userid").format("pve-userid").longest(64).required(),
        ]],
    )
    .no_token(),
    get(
        "/access/permissions",
        Access::Anyone,
        &[&[
            text("path"),
            text("userid").pattern(
                r"(?:^(?:[^\s:/]+)\@(?:[A-Za-z][A-Za-z0-9\.\-_]+)(?:!(?:[A-Za-z][A-Za-z0-9\.\-_]+))?$)",
            ),
        ]],
    ),
    get("/access/roles", Access::Anyone, &[]),
    get("/access/tfa", Access::Anyone, &[]),
    post(
        "/access/tfa/{userid}",
        Access::Any(&[Access::Myself, Access::OfGroups(&["User.Modify"])]),
        &[&[
            text("challenge"),
            text("description").longest(255),
            text("password").shortest(5).longest(64),
            text("totp"),
            word("type", &["totp", "u2f", "webauthn", "recovery", "yubico"]).required(),
            text("value"),
        ]],
    )
    .no_token(),
    get("/access/ticket", Access::World, &[]),
    post(
        "/access/ticket",
        Access::World,
        &[&[
            switch("new-format"),
            text("otp"),
            text("password").required(),
            text("path").longest(64).with("privs"),
            text("privs").format("pve-priv-list").longest(64).with("path"),
            text("realm").format("pve-realm").longest(32),
            text("tfa-challenge"),
            text("username").longest(64).required(),
        ]],
    )
    .no_token(),
    get("/access/users", Access::Anyone, &[&[switch("enabled"), switch("full")]]),
    post(
        "/access/users",
        Access::All(&[Access::OfRealm("Realm.AllocateUser"), Access::OfGroups(&["User.Modify"])]),
        &[&[
            text("comment").longest(2048),
            text("email").format("email-opt").longest(254),
            switch("enable"),
            integer("expire").min(0),
            text("firstname").longest(1024),
            GROUPS,
            text("keys").pattern(r"[0-9a-zA-Z!=]{0,4096}"),
            text("lastname").longest(1024),
            text("password").shortest(8).longest(64),
            text("userid").format("pve-userid").longest(64).required(),
        ]],
    ),
    get("/access/users/{userid}", Access::OfGroups(&["User.Modify", "Sys.Audit"]), &[]),
    put(
        "/access/users/{userid}",
        Access::OfGroups(&["User.Modify"]),
        &[&[
            switch("append").with("groups"),
            text("comment").longest(2048),
            text("email").format("email-opt").longest(254),
            switch("enable"),
            integer("expire").min(0),
            text("firstname").longest(1024),
            GROUPS,
            text("keys").pattern(r"[0-9a-zA-Z!=]{0,4096}"),
            text("lastname").longest(1024),
        ]],
    ),
    delete(
        "/access/users/{userid}",
        Access::All(&[Access::OfRealm("Realm.AllocateUser"), Access::OfGroups(&["User.Modify"])]),
        &[],
    ),
    get(
        "/access/users/{userid}/token",
        Access::Any(&[Access::Myself, Access::OfGroups(&["User.Modify"])]),
        &[],
    ),
    get(
        "/access/users/{userid}/token/{tokenid}",
        Access::Any(&[Access::Myself, Access::OfGroups(&["User.Modify"])]),
        &[],
    ),
    post(
        "/access/users/{userid}/token/{tokenid}",
        Access::Any(&[Access::Myself, Access::OfGroups(&["User.Modify"])]),
        &[&[text("comment"), integer("expire").min(0), switch("privsep")]],
    ),
    put(
        "/access/users/{userid}/token/{tokenid}",
        Access::Any(&[Access::Myself, Access::OfGroups(&["User.Modify"])]),
        &[&[
            text("comment"),
            text("delete").format("pve-configid-list").since(V9_1),
            integer("expire").min(0),
            switch("privsep"),
            switch("regenerate").since(V9_2),
        ]],
    ),
    delete(
        "/access/users/{userid}/token/{tokenid}",
        Access::Any(&[Access::Myself, Access::OfGroups(&["User.Modify"])]),
        &[],
    ),
    post(
        "/access/vncticket",
        Access::World,
        &[&[
            text("authid").longest(64).required(),
            text("path").longest(64).required(),
            integer("port"),
            text("privs").format("pve-priv-list").longest(64).required(),
            text("vncticket").required(),
        ]],
    )
    .since(V9_1),
    get("/version", Access::Anyone, &[]),
];
