//! Consoles: tickets, ports and the far end, which echoes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use serde_json::{Map, Value};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Kind, is_indexed};
use super::reply::{Answer, Outcome, Refusal, data};
use super::tasks::{Next, Work};

/// A port that waits for its client.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) ticket: String,
    pub(super) user: String,
    pub(super) terminal: bool,
    path: String,
    until: Duration,
    /// Whether the terminal takes the user's ticket at all; before 9.1 a token could not open one.
    pub(super) takes_token: bool,
}

/// Open ports.
#[derive(Debug, Default)]
pub(super) struct Consoles {
    ports: BTreeMap<u16, Waiting>,
}

fn start(
    cluster: &mut Cluster,
    call: &Call,
    (host, kind, subject): (&str, &str, String),
    terminal: bool,
) -> Map<String, Value> {
    let ticket = format!("PVEVNC:{:08X}::{}==", cluster.clock.unix(), cluster.secret());
    let port = (5_900..).find(|port| !cluster.consoles.ports.contains_key(port)).unwrap_or(5_900);
    let path = call.path.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    let waiting = Waiting {
        ticket: ticket.clone(),
        user: call.who.owner(),
        terminal,
        path,
        until: cluster.clock.after(Duration::from_secs(10)),
        takes_token: call.who.token.is_none() || cluster.options.release() >= (9, 1),
    };
    cluster.consoles.ports.insert(port, waiting);
    let work = Work { who: &call.who, host, kind: kind.to_owned(), subject, lock: None };
    let upid = cluster.dispatch(
        work,
        Box::new(|_, _| Ok(Next::After(Duration::from_secs(10), Box::new(|_, _| Ok(Next::Done))))),
    );
    let mut row = Map::new();
    row.insert("port".into(), port.to_string().into());
    row.insert("ticket".into(), ticket.into());
    row.insert("user".into(), call.who.owner().into());
    row.insert("upid".into(), upid.into());
    row
}

/// `POST …/vncproxy` of a guest.
pub(super) fn vncproxy(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Console"])?;
    cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let mut row = start(cluster, call, (host, "vncproxy", vmid.to_string()), false);
    row.insert("cert".into(), "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into());
    if call.flag("generate-password") {
        row.insert("password".into(), cluster.secret().chars().take(8).collect::<String>().into());
    }
    data(row)
}

/// `POST …/termproxy` of a guest.
pub(super) fn termproxy(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Console"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let serial = kind == Kind::Lxc || guest.config.keys().any(|key| is_indexed(key, "serial"));
    if !serial || !guest.is_running() {
        return Err(Refusal::die("Timeout while waiting for port '5900' to get ready!"));
    }
    data(start(cluster, call, (host, "vncproxy", vmid.to_string()), true))
}

/// `POST …/spiceproxy`.
pub(super) fn spiceproxy(cluster: &Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Console"])?;
    cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    Err(Refusal::die("no spice port"))
}

/// `POST /nodes/{node}/termproxy` and `/vncshell`.
pub(super) fn shell(cluster: &mut Cluster, call: &Call, host: &str, terminal: bool) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Console"])?;
    data(start(cluster, call, (host, "vncshell", String::new()), terminal))
}

/// `GET …/vncwebsocket`: the ticket is looked at before the connection is upgraded.
pub(super) fn websocket(cluster: &mut Cluster, call: &Call) -> Outcome {
    waiting(cluster, call).map(|_| Answer::Console)
}

/// The port that a call is for.
pub(super) fn waiting(cluster: &Cluster, call: &Call) -> Result<Waiting, Refusal> {
    let refused = || Refusal::injected_json(401, "permission denied - invalid PVEVNC ticket");
    let port = call.params.number("port").and_then(|port| u16::try_from(port).ok());
    let path = call.path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let found = port.and_then(|port| cluster.consoles.ports.get(&port));
    let found = found
        .filter(|waiting| Some(waiting.ticket.as_str()) == call.get("vncticket") && waiting.path == path);
    let found = found.ok_or_else(refused)?;
    if found.until < cluster.clock.now() {
        return Err(Refusal::unreachable(596, "Connection refused"));
    }
    Ok(found.clone())
}

/// The far end of a console.
pub(super) async fn serve(mut socket: WebSocket, waiting: Waiting) {
    if waiting.terminal {
        let Some(Ok(first)) = socket.recv().await else { return };
        let wanted = format!("{}:{}\n", waiting.user, waiting.ticket);
        if first.into_data() != wanted.as_bytes() || !waiting.takes_token {
            return;
        }
        if socket.send(Message::Binary("OK".into())).await.is_err() {
            return;
        }
    } else if socket.send(Message::Binary("RFB 003.008\n".into())).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.recv().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.as_bytes().to_vec().into(),
            Message::Close(_) => return,
            _ => continue,
        };
        let echo =
            if waiting.terminal { typed(&bytes).map(|part| part.to_vec().into()) } else { Some(bytes) };
        if let Some(echo) = echo
            && socket.send(Message::Binary(echo)).await.is_err()
        {
            return;
        }
    }
}

/// What was typed: `0:LEN:data`. A new size (`1:…`) and a ping (`2`) are answered by nothing.
fn typed(frame: &[u8]) -> Option<&[u8]> {
    let rest = frame.strip_prefix(b"0:")?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(rest.get(..colon)?).ok()?.parse().ok()?;
    rest.get(colon + 1..)?.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_comes_with_its_length() {
        assert_eq!(typed(b"0:3:a:b"), Some(&b"a:b"[..]));
        assert_eq!(typed(b"0:9:a"), None);
        assert_eq!(typed(b"1:80:24:"), None);
        assert_eq!(typed(b"2"), None);
    }
}
