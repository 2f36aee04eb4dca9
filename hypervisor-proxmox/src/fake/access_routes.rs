//! `/access`.

use serde_json::{Map, Value, json};

use super::access::{self, Acl, Token};
use super::call::Call;
use super::cluster::Cluster;
use super::reply::{Answer, Outcome, Refusal, data, done};

/// `POST /access/ticket`.
pub(super) fn login(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (username, ticket, csrf, half) = cluster.login(&call.params)?;
    if half {
        return data(json!({
            "username": username, "ticket": ticket, "CSRFPreventionToken": csrf, "NeedTFA": 1
        }));
    }
    let who = super::call::Who { user: username.clone(), token: None };
    let mut cap = Map::new();
    for (name, path, families) in [
        ("vms", "/vms", &["VM.", "Permissions."][..]),
        ("storage", "/storage", &["Datastore.", "Permissions."]),
        ("nodes", "/nodes", &["Sys.", "Permissions."]),
        ("access", "/access", &["User.", "Group.", "Permissions."]),
        ("dc", "/", &["Sys.Audit", "Sys.Modify", "SDN."]),
        ("sdn", "/sdn", &["SDN.", "Permissions."]),
        ("mapping", "/mapping", &["Mapping.", "Permissions."]),
    ] {
        let has = cluster.privileges(&who, path);
        // What is about nodes as a whole is under `dc` as well, what syncs the whole cluster under neither.
        let shown =
            has.into_iter().filter(|privilege| families.iter().any(|family| privilege.starts_with(family)));
        cap.insert(name.to_owned(), shown.map(|name| (name.to_owned(), json!(1))).collect());
    }
    data(json!({ "username": username, "ticket": ticket, "CSRFPreventionToken": csrf, "cap": cap }))
}

/// `GET /access/permissions`.
pub(super) fn permissions(cluster: &Cluster, call: &Call) -> Outcome {
    let who = match call.get("userid") {
        Some(id) if id != call.who.owner() => {
            cluster.need(&call.who, "/access", &["Sys.Audit"])?;
            match id.split_once('!') {
                Some((user, token)) => {
                    super::call::Who { user: user.to_owned(), token: Some(token.to_owned()) }
                }
                None => super::call::Who { user: id.to_owned(), token: None },
            }
        }
        _ => call.who.clone(),
    };
    let paths = match call.get("path") {
        Some(path) => [path.to_owned()].into(),
        None => cluster.access.known_paths(),
    };
    let mut map = Map::new();
    for path in paths {
        let has = cluster.privileges(&who, &path);
        if !has.is_empty() {
            map.insert(path, has.into_iter().map(|name| (name.to_owned(), json!(1))).collect());
        }
    }
    data(map)
}

/// `GET /access/roles`.
pub(super) fn roles() -> Outcome {
    let rows: Vec<Value> = access::ROLES
        .iter()
        .map(|(role, privileges)| json!({ "roleid": role, "privs": privileges, "special": 1 }))
        .collect();
    data(rows)
}

/// `GET /access/domains`.
pub(super) fn domains() -> Outcome {
    data(json!([
        { "realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication" },
        { "realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server" },
    ]))
}

/// `GET /access/users`.
pub(super) fn users(cluster: &Cluster, call: &Call) -> Outcome {
    let full = call.flag("full");
    let rows: Vec<Value> = cluster
        .access
        .users
        .iter()
        .map(|(name, user)| {
            let realm = name.rsplit_once('@').map_or("pam", |(_, realm)| realm);
            let mut row =
                json!({ "userid": name, "enable": u8::from(!user.disabled), "expire": 0, "realm-type": realm });
            if let (true, Some(row)) = (full, row.as_object_mut()) {
                let tokens: Vec<Value> = user.tokens.iter().map(|(name, token)| token_row(name, token)).collect();
                let tokens = if tokens.is_empty() { Value::Null } else { tokens.into() };
                row.insert("tokens".into(), tokens);
                row.insert("groups".into(), "".into());
            }
            if let (Some(comment), Some(row)) = (&user.comment, row.as_object_mut()) {
                row.insert("comment".into(), comment.as_str().into());
            }
            row
        })
        .collect();
    data(rows)
}

/// `POST /access/users`.
pub(super) fn create_user(cluster: &mut Cluster, call: &Call) -> Outcome {
    cluster.need(&call.who, "/access/realm", &["User.Modify", "Realm.AllocateUser"])?;
    let name = call.params.needed("userid")?.to_owned();
    if cluster.access.users.contains_key(&name) {
        return Err(Refusal::die(format!("create user failed: user '{name}' already exists")));
    }
    let user = access::User {
        password: call.params.text("password"),
        comment: call.params.text("comment"),
        ..access::User::default()
    };
    cluster.access.users.insert(name, user);
    done()
}

fn token_row(name: &str, token: &Token) -> Value {
    let mut row = json!({ "tokenid": name, "privsep": u8::from(token.privsep), "expire": token.expire });
    if let (Some(comment), Some(row)) = (&token.comment, row.as_object_mut()) {
        row.insert("comment".into(), comment.as_str().into());
    }
    row
}

/// `GET /access/users/{userid}/token`.
pub(super) fn tokens(cluster: &Cluster, user: &str) -> Outcome {
    let user = cluster.access.users.get(user).ok_or_else(|| Refusal::die(no_user(user)))?;
    let rows: Vec<Value> = user.tokens.iter().map(|(name, token)| token_row(name, token)).collect();
    data(rows)
}

fn no_user(name: &str) -> String {
    format!("no such user ('{name}')")
}

/// `POST /access/users/{userid}/token/{tokenid}`.
pub(super) fn create_token(cluster: &mut Cluster, call: &Call, user: &str, name: &str) -> Outcome {
    cluster
        .need_quorum(|| "generating token failed: cfs-lock 'file-user_cfg' error: no quorum!".to_owned())?;
    let secret = cluster.uuid();
    let known = cluster.access.users.get_mut(user).ok_or_else(|| Refusal::die(no_user(user)))?;
    if known.tokens.contains_key(name) {
        return Err(Refusal::parameter("tokenid", "Token already exists."));
    }
    let privsep = call.get("privsep") != Some("0");
    let token = Token {
        secret: secret.clone(),
        privsep,
        comment: call.params.text("comment"),
        expire: call.params.number("expire").unwrap_or(0),
    };
    known.tokens.insert(name.to_owned(), token);
    let mut info = Map::new();
    // As recorded: text here, a number in the list.
    info.insert("privsep".into(), u8::from(privsep).to_string().into());
    for key in ["comment", "expire"] {
        if let Some(value) = call.get(key) {
            info.insert(key.into(), value.into());
        }
    }
    data(json!({ "full-tokenid": format!("{user}!{name}"), "value": secret, "info": info }))
}

/// `PUT /access/users/{userid}/token/{tokenid}`.
pub(super) fn update_token(cluster: &mut Cluster, call: &Call, user: &str, name: &str) -> Outcome {
    let known = cluster.access.users.get_mut(user).and_then(|user| user.tokens.get_mut(name));
    let token = known.ok_or_else(|| Refusal::die(format!("no such token '{name}' for user '{user}'")))?;
    let mut answer = Map::new();
    if let Some(expire) = call.params.number("expire") {
        token.expire = expire;
    }
    if let Some(privsep) = call.get("privsep") {
        token.privsep = privsep == "1";
    }
    if let Some(comment) = call.params.text("comment") {
        token.comment = Some(comment);
    }
    answer.insert("privsep".into(), u8::from(token.privsep).into());
    for key in ["comment", "expire"] {
        if let Some(value) = call.get(key) {
            answer.insert(key.into(), value.into());
        }
    }
    data(answer)
}

/// `DELETE /access/users/{userid}/token/{tokenid}`.
pub(super) fn delete_token(cluster: &mut Cluster, user: &str, name: &str) -> Outcome {
    let known = cluster.access.users.get_mut(user).and_then(|user| user.tokens.remove(name));
    known.map_or_else(|| Err(Refusal::die(format!("no such token '{name}' for user '{user}'"))), |_| done())
}

/// `GET /access/acl`.
pub(super) fn acl(cluster: &Cluster) -> Outcome {
    let rows: Vec<Value> = cluster
        .access
        .acl
        .iter()
        .map(|acl| {
            let kind = if acl.subject.contains('!') { "token" } else { "user" };
            json!({
                "path": acl.path, "roleid": acl.role, "ugid": acl.subject, "type": kind,
                "propagate": u8::from(acl.propagate)
            })
        })
        .collect();
    data(rows)
}

/// `PUT /access/acl`.
pub(super) fn update_acl(cluster: &mut Cluster, call: &Call) -> Outcome {
    let path = call.params.needed("path")?;
    let top = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if !matches!(top, "" | "access" | "mapping" | "nodes" | "pool" | "sdn" | "storage" | "vms") {
        return Err(Refusal::parameter("path", format!("invalid ACL path '{path}'")));
    }
    cluster.need(&call.who, path, &["Permissions.Modify"])?;
    for role in call.params.list("roles") {
        if cluster.access.role(role).is_none() {
            return Err(Refusal::die(format!("ACL update failed: role '{role}' does not exist")));
        }
    }
    let subjects: Vec<&str> = ["users", "tokens"].iter().flat_map(|key| call.params.list(key)).collect();
    let propagate = call.get("propagate") != Some("0");
    for role in call.params.list("roles") {
        for subject in &subjects {
            cluster.access.acl.retain(|acl| acl.path != path || acl.role != role || acl.subject != *subject);
            if !call.flag("delete") {
                cluster.access.acl.push(Acl {
                    path: path.to_owned(),
                    role: role.to_owned(),
                    subject: (*subject).to_owned(),
                    propagate,
                });
            }
        }
    }
    done()
}

/// `GET /access/tfa`.
pub(super) fn factors(cluster: &Cluster) -> Outcome {
    let with_factor = cluster.access.users.iter().filter(|(_, user)| user.totp.is_some());
    let rows: Vec<Value> = with_factor
        .map(|(name, _)| {
            json!({ "userid": name, "entries": [{ "type": "totp", "description": "t", "created": 1, "id": "1" }] })
        })
        .collect();
    data(rows)
}

/// What a token cannot call: the change of passwords and second factors.
pub(super) fn ticket_only(call: &Call) -> Outcome {
    if call.who.token.is_none() {
        return Ok(Answer::Data(Value::Null));
    }
    Err(Refusal::denied_without_reason(&format!(
        "Permission check failed (URI '{}' not available with API token, need proper ticket.\n)",
        call.path
    )))
}
