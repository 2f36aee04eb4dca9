//! From a call to the handler: the path, the node that it goes to, privileges and parameters.

use super::call::Call;
use super::cluster::Cluster;
use super::guest::Kind;
use super::reply::{Outcome, Refusal, data, done};
use super::{
    access_routes, agent, backup, bulk, clone, cluster_routes, config, console, disks, firewall, guests,
    metrics, migrate, network, pools, power, sdn, snapshots, storage, task_routes, upload,
};
use crate::wire::params::{self, Access, Release};

/// The release whose table of parameters counts.
fn release(cluster: &Cluster) -> Release {
    match cluster.options.release() {
        (major, _) if major < 9 => Release::V8_4,
        (9, minor) if minor < 2 => Release::V9_1,
        _ => Release::V9_2,
    }
}

/// Looks at the privileges that the table names for a call.
///
/// # Errors
/// 403, or none where the table has no such call.
pub(super) fn check_access(cluster: &Cluster, call: &Call) -> Result<(), Refusal> {
    let Some(found) = params::find(&call.method, &call.path) else { return Ok(()) };
    if call.who.token.is_some() && !found.endpoint.token {
        return access_routes::ticket_only(call).map(|_| ());
    }
    allowed(cluster, call, &found, &found.endpoint.access)
}

fn allowed(cluster: &Cluster, call: &Call, found: &params::Found, access: &Access) -> Result<(), Refusal> {
    match access {
        Access::Perm { path, privileges, any } => {
            let mut path = (*path).to_owned();
            for (name, value) in &found.path {
                path = path.replace(&format!("{{{name}}}"), value);
            }
            for (name, value) in call.params.iter() {
                path = path.replace(&format!("{{{name}}}"), value);
            }
            // What is not known yet is for the handler to look at.
            if path.contains('{') {
                return Ok(());
            }
            if *any {
                return cluster.need(&call.who, &path, privileges);
            }
            privileges.iter().try_for_each(|privilege| cluster.need(&call.who, &path, &[privilege]))
        }
        Access::All(parts) => parts.iter().try_for_each(|part| allowed(cluster, call, found, part)),
        Access::Any(parts) => {
            let mut parts = parts.iter();
            if parts.any(|part| allowed(cluster, call, found, part).is_ok()) {
                return Ok(());
            }
            Err(Refusal::denied_without_reason("Permission check failed"))
        }
        Access::Given { param, access } if call.params.has(param) => allowed(cluster, call, found, access),
        Access::Given { .. } => Err(Refusal::denied_without_reason("Permission check failed")),
        Access::Root if !call.who.is_root() => {
            Err(Refusal::denied_without_reason("Permission check failed (user != root@pam)"))
        }
        _ => Ok(()),
    }
}

/// Answers a call.
pub(super) fn dispatch(cluster: &mut Cluster, call: &Call) -> Outcome {
    let segments = call.segments();
    if let ["nodes", node, ..] = segments.as_slice() {
        let host = cluster.host(node)?;
        if let Some((status, text)) = &host.away {
            return Err(Refusal::unreachable(*status, text.clone()));
        }
    }
    let no_method = || Err(Refusal::no_method(&call.method, &call.path));
    let release = release(cluster);
    match params::find(&call.method, &call.path) {
        Some(found) if found.endpoint.since > release => return no_method(),
        Some(found) if cluster.options.strict => {
            check_access(cluster, call)?;
            let given: Vec<(String, String)> =
                call.params.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let wrong = found.check_at(release, &given);
            wrong.map_err(|wrong| Refusal::parameters(wrong.into_iter().collect()))?;
        }
        _ => {}
    }
    let outcome = match segments.as_slice() {
        ["nodes", host, rest @ ..] => on_host(cluster, call, host, rest),
        rest => of_cluster(cluster, call, rest),
    };
    outcome.unwrap_or_else(no_method)
}

fn of_cluster(c: &mut Cluster, call: &Call, segments: &[&str]) -> Option<Outcome> {
    Some(match (call.method.as_str(), segments) {
        ("GET", ["version"]) => cluster_routes::version(c),
        ("POST", ["access", "ticket"]) => access_routes::login(c, call),
        ("GET", ["access", "ticket"]) => done(),
        ("GET", ["access", "domains"]) => access_routes::domains(),
        ("GET", ["access", "permissions"]) => access_routes::permissions(c, call),
        ("GET", ["access", "roles"]) => access_routes::roles(),
        ("GET", ["access", "acl"]) => access_routes::acl(c),
        ("PUT", ["access", "acl"]) => access_routes::update_acl(c, call),
        ("GET", ["access", "tfa"]) => access_routes::factors(c),
        ("PUT", ["access", "password"]) | ("POST", ["access", "tfa", _]) => access_routes::ticket_only(call),
        ("GET", ["access", "users"]) => access_routes::users(c, call),
        ("POST", ["access", "users"]) => access_routes::create_user(c, call),
        ("GET", ["access", "users", user, "token"]) => access_routes::tokens(c, user),
        ("POST", ["access", "users", user, "token", name]) => {
            access_routes::create_token(c, call, user, name)
        }
        ("PUT", ["access", "users", user, "token", name]) => access_routes::update_token(c, call, user, name),
        ("DELETE", ["access", "users", user, "token", name]) => access_routes::delete_token(c, user, name),
        ("GET", ["cluster", "status"]) => cluster_routes::status(c, call),
        ("GET", ["cluster", "resources"]) => cluster_routes::resources(c, call),
        ("GET", ["cluster", "nextid"]) => cluster_routes::nextid(c, call),
        ("GET", ["cluster", "options"]) => cluster_routes::options(c),
        ("GET", ["cluster", "log"]) => cluster_routes::log(c, call),
        ("GET", ["cluster", "tasks"]) => task_routes::of_cluster(c, call),
        ("GET", ["cluster", "ha", "resources" | "status"] | ["cluster", "ha", "status", "current"]) => {
            data(Vec::<serde_json::Value>::new())
        }
        ("GET", ["cluster", "backup-info", "not-backed-up"]) => backup::not_backed_up(c),
        ("GET", ["cluster", "bulk-action"]) => cluster_routes::index(&["guest"]),
        ("GET", ["cluster", "bulk-action", "guest"]) => {
            cluster_routes::index(&["start", "shutdown", "suspend", "migrate"])
        }
        ("POST", ["cluster", "bulk-action", "guest", verb]) => bulk::action(c, call, verb),
        (_, ["cluster", "sdn", rest @ ..]) => return sdn::route(c, call, rest),
        (_, ["cluster", "firewall", rest @ ..]) => return firewall::route(c, call, "cluster", rest),
        ("GET", ["nodes"]) => cluster_routes::nodes(c, call),
        ("GET", ["storage"]) => storage::list(c, call),
        ("POST", ["storage"]) => storage::create(c, call),
        ("GET", ["storage", name]) => storage::get(c, call, name),
        ("PUT", ["storage", name]) => storage::update(c, call, name),
        ("DELETE", ["storage", name]) => storage::delete(c, call, name),
        ("GET", ["pools"]) => pools::list(c, call),
        ("POST", ["pools"]) => pools::create(c, call),
        ("GET", ["pools", name]) => pools::get(c, call, name),
        ("PUT", ["pools", name]) => pools::update(c, call, name),
        ("DELETE", ["pools", name]) => pools::delete(c, call, name),
        ("PUT", ["pools"]) => match call.params.needed("poolid").map(str::to_owned) {
            Ok(name) => pools::update(c, call, &name),
            Err(refusal) => Err(refusal),
        },
        ("DELETE", ["pools"]) => match call.params.needed("poolid").map(str::to_owned) {
            Ok(name) => pools::delete(c, call, &name),
            Err(refusal) => Err(refusal),
        },
        _ => return None,
    })
}

fn on_host(c: &mut Cluster, call: &Call, host: &str, segments: &[&str]) -> Option<Outcome> {
    Some(match (call.method.as_str(), segments) {
        ("GET", []) => cluster_routes::index(&[
            "lxc",
            "network",
            "qemu",
            "rrddata",
            "status",
            "storage",
            "tasks",
            "termproxy",
            "time",
            "version",
            "vncshell",
            "vzdump",
        ]),
        ("GET", ["version"]) => cluster_routes::version(c),
        ("GET", ["status"]) => cluster_routes::node_status(c, call, host),
        ("GET", ["time"]) => cluster_routes::time(c),
        ("GET", ["rrddata"]) => metrics::host(c, call, host),
        ("GET", ["capabilities", "qemu", "machines"]) => cluster_routes::machines(),
        ("POST", ["termproxy"]) => console::shell(c, call, host, true),
        ("POST", ["vncshell"]) => console::shell(c, call, host, false),
        ("GET", ["vncwebsocket"]) => console::websocket(c, call),
        ("GET", ["tasks"]) => task_routes::list(c, call, host),
        ("GET", ["tasks", "status" | "log"]) => cluster_routes::index(&["log", "status"]),
        ("GET", ["tasks", upid, "status"]) => task_routes::status(c, call, host, upid),
        ("GET", ["tasks", upid, "log"]) => task_routes::log(c, call, upid),
        ("GET", ["tasks", _]) => cluster_routes::index(&["log", "status"]),
        ("DELETE", ["tasks", upid]) => task_routes::stop(c, call, upid),
        ("POST", ["vzdump"]) => backup::vzdump(c, call, host),
        ("GET", ["vzdump", "extractconfig"]) => backup::extract_config(c, call, host),
        ("GET", ["vzdump", "defaults"]) => {
            data(serde_json::json!({ "mode": "snapshot", "compress": "zstd" }))
        }
        ("GET", ["query-url-metadata"]) => upload::url_metadata(call),
        ("POST", ["startall" | "stopall" | "suspendall" | "migrateall"]) => {
            bulk::of_host(c, call, host, segments)
        }
        (_, ["network", rest @ ..]) => return network::route(c, call, host, rest),
        ("GET", ["sdn", "zones", rest @ ..]) => sdn::on_host(c, call, rest),
        (_, ["firewall", rest @ ..]) => return firewall::route(c, call, &format!("nodes/{host}"), rest),
        ("GET", ["storage"]) => storage::on_host(c, call, host),
        (_, ["storage", name, rest @ ..]) => return of_storage(c, call, host, name, rest),
        ("GET", ["qemu"]) => guests::list(c, call, Kind::Qemu, host),
        ("GET", ["lxc"]) => guests::list(c, call, Kind::Lxc, host),
        ("POST", ["qemu"]) => guests::create(c, call, Kind::Qemu, host),
        ("POST", ["lxc"]) => guests::create(c, call, Kind::Lxc, host),
        (_, ["qemu", vmid, rest @ ..]) => return of_guest(c, call, Kind::Qemu, host, vmid, rest),
        (_, ["lxc", vmid, rest @ ..]) => return of_guest(c, call, Kind::Lxc, host, vmid, rest),
        _ => return None,
    })
}

fn of_storage(c: &mut Cluster, call: &Call, host: &str, name: &str, segments: &[&str]) -> Option<Outcome> {
    Some(match (call.method.as_str(), segments) {
        ("GET", []) => {
            cluster_routes::index(&["content", "download-url", "prunebackups", "rrddata", "status", "upload"])
        }
        ("GET", ["status"]) => storage::status(c, call, host, name),
        ("GET", ["rrddata"]) => metrics::storage(c, call, name),
        ("GET", ["content"]) => storage::content(c, call, host, name),
        ("POST", ["content"]) => storage::allocate(c, call, host, name),
        ("GET", ["content", volume @ ..]) => storage::volume(c, call, host, name, &volume.join("/")),
        ("PUT", ["content", volume @ ..]) => storage::change(c, call, host, name, &volume.join("/")),
        ("DELETE", ["content", volume @ ..]) => storage::remove(c, call, host, name, &volume.join("/")),
        ("POST", ["upload"]) => upload::upload(c, call, host, name),
        ("POST", ["download-url"]) => upload::download(c, call, host, name),
        ("GET", ["prunebackups"]) => backup::prune(c, call, host, name, false),
        ("DELETE", ["prunebackups"]) => backup::prune(c, call, host, name, true),
        _ => return None,
    })
}

fn of_guest(
    c: &mut Cluster,
    call: &Call,
    kind: Kind,
    host: &str,
    vmid: &str,
    segments: &[&str],
) -> Option<Outcome> {
    let Some(vmid) = vmid.parse::<u32>().ok().filter(|vmid| *vmid >= 100) else {
        let why = "invalid format - value does not look like a valid VM ID\n";
        return Some(Err(Refusal::parameter("vmid", why)));
    };
    let qemu = kind == Kind::Qemu;
    let at = (kind, host, vmid);
    Some(match (call.method.as_str(), segments) {
        ("GET", []) => {
            cluster_routes::index(&["config", "firewall", "pending", "rrddata", "snapshot", "status"])
        }
        ("DELETE", []) => guests::delete(c, call, kind, host, vmid),
        ("GET", ["config"]) => config::get(c, call, kind, host, vmid),
        ("PUT", ["config"]) => config::put(c, call, kind, host, vmid),
        ("POST", ["config"]) if qemu => config::post(c, call, host, vmid),
        ("GET", ["pending"]) => config::pending(c, call, kind, host, vmid),
        ("GET", ["status", "current"]) => guests::current(c, call, kind, host, vmid),
        ("POST", ["status", verb @ ("start" | "stop" | "shutdown" | "reboot" | "suspend" | "resume")]) => {
            power::command(c, call, at, verb)
        }
        ("POST", ["status", "reset"]) if qemu => power::command(c, call, at, "reset"),
        ("POST", ["clone"]) => clone::clone(c, call, at),
        ("POST", ["template"]) => clone::template(c, call, at),
        ("GET", ["feature"]) => clone::feature(c, call, at),
        ("GET", ["migrate"]) => migrate::precondition(c, call, at),
        ("POST", ["migrate"]) => migrate::migrate(c, call, at),
        ("PUT", ["resize"]) => disks::resize(c, call, kind, host, vmid),
        ("POST", ["move_disk"]) if qemu => disks::move_disk(c, call, kind, host, vmid),
        ("POST", ["move_volume"]) if !qemu => disks::move_disk(c, call, kind, host, vmid),
        ("PUT", ["unlink"]) if qemu => disks::unlink(c, call, host, vmid),
        ("GET", ["snapshot"]) => snapshots::list(c, call, at),
        ("POST", ["snapshot"]) => snapshots::create(c, call, at),
        ("DELETE", ["snapshot", name]) => snapshots::delete(c, call, at, name),
        ("GET", ["snapshot", _]) => cluster_routes::index(&["config", "rollback"]),
        ("GET", ["snapshot", name, "config"]) => snapshots::config(c, call, at, name),
        ("PUT", ["snapshot", name, "config"]) => snapshots::update(c, call, at, name),
        ("POST", ["snapshot", name, "rollback"]) => snapshots::rollback(c, call, at, name),
        ("GET", ["rrddata"]) => metrics::guest(c, call, at),
        ("GET", ["interfaces"]) if !qemu => agent::container_interfaces(c, call, host, vmid),
        ("GET" | "POST", ["agent", command]) if qemu => agent::command(c, call, host, vmid, command),
        ("GET", ["cloudinit", "dump"]) if qemu => clone::cloudinit_dump(c, call, at),
        ("PUT", ["cloudinit"]) if qemu => clone::cloudinit_regenerate(c, call, at),
        ("POST", ["vncproxy"]) => console::vncproxy(c, call, kind, host, vmid),
        ("POST", ["termproxy"]) => console::termproxy(c, call, kind, host, vmid),
        ("POST", ["spiceproxy"]) => console::spiceproxy(c, call, kind, host, vmid),
        ("GET", ["vncwebsocket"]) => console::websocket(c, call),
        ("PUT", ["sendkey"]) if qemu => done(),
        (_, ["firewall", rest @ ..]) => {
            return firewall::route(c, call, &format!("{}/{vmid}", kind.path()), rest);
        }
        _ => return None,
    })
}
