//! The guest agent, as far as tests need one: it keeps files, answers what it is asked, and says it ran what it was told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Guest, Kind};
use super::reply::{Outcome, Refusal, data, done};

/// A command in the guest.
#[derive(Debug, Clone)]
struct Process {
    /// How many more looks find it running.
    looks: u32,
    code: i32,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// What an agent keeps.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    /// Whether there is one in the guest at all.
    pub(super) installed: bool,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    processes: BTreeMap<u64, Process>,
    next_pid: u64,
    frozen: bool,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            installed: true,
            files: [("/etc/hostname".to_owned(), b"guest\n".to_vec())].into(),
            processes: BTreeMap::new(),
            next_pid: 4_242,
            frozen: false,
        }
    }
}

impl Agent {
    /// What a restart of the guest does to it: files stay.
    pub(super) fn restart(&mut self) {
        self.processes.clear();
        self.frozen = false;
    }

    /// What a command prints. A few that tests like are understood.
    fn run(&mut self, command: &[&str], input: Option<&str>) -> Process {
        let mut process = Process { looks: 1, code: 0, out: Vec::new(), err: Vec::new() };
        let name = command.first().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
        let rest = command.get(1..).unwrap_or_default();
        match name {
            "echo" => process.out = format!("{}\n", rest.join(" ")).into_bytes(),
            "true" => {}
            "false" => process.code = 1,
            "cat" if rest.is_empty() => process.out = bytes_of(input.unwrap_or_default()),
            "cat" => match rest.first().and_then(|path| self.files.get(*path)) {
                Some(bytes) => process.out.clone_from(bytes),
                None => {
                    process.code = 1;
                    process.err = b"cat: No such file or directory\n".to_vec();
                }
            },
            "hostname" => process.out = b"guest\n".to_vec(),
            "sleep" => process.looks = 3,
            "sh" | "bash" => self.shell(rest, &mut process),
            _ => {}
        }
        process
    }

    fn shell(&mut self, rest: &[&str], process: &mut Process) {
        let Some(script) = rest.iter().skip_while(|word| **word != "-c").nth(1) else { return };
        for part in script.split(';').map(str::trim) {
            let (words, to_err) = match part.strip_suffix(">&2") {
                Some(words) => (words.trim(), true),
                None => (part, false),
            };
            if let Some(code) = words.strip_prefix("exit ") {
                process.code = code.trim().parse().unwrap_or(0);
                return;
            }
            let words: Vec<&str> =
                words.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
            let mut inner = self.run(&words, None);
            if to_err {
                process.err.append(&mut inner.out);
            }
            process.out.append(&mut inner.out);
            process.err.append(&mut inner.err);
            process.code = inner.code;
        }
    }
}

/// Bytes as the server hands them on: each becomes the character of its number.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The other way round: what the API takes is text in UTF-8.
fn bytes_of(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// Base64 with padding; content of a file write may come so.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

fn privilege(command: &str) -> &'static [&'static str] {
    match command {
        "exec" | "exec-status" | "set-user-password" => &["VM.GuestAgent.Unrestricted"],
        "file-read" => &["VM.GuestAgent.FileRead", "VM.GuestAgent.Unrestricted"],
        "file-write" => &["VM.GuestAgent.FileWrite", "VM.GuestAgent.Unrestricted"],
        "fsfreeze-freeze" | "fsfreeze-thaw" | "fsfreeze-status" | "fstrim" => {
            &["VM.GuestAgent.FileSystemMgmt", "VM.GuestAgent.Unrestricted"]
        }
        "shutdown" | "suspend-disk" | "suspend-hybrid" | "suspend-ram" => {
            &["VM.PowerMgmt", "VM.GuestAgent.Unrestricted"]
        }
        _ => &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"],
    }
}

/// `…/agent/{command}`.
pub(super) fn command(cluster: &mut Cluster, call: &Call, host: &str, vmid: u32, command: &str) -> Outcome {
    let before_9 = cluster.options.release().0 < 9;
    let wanted = if before_9 { &["VM.Monitor"][..] } else { privilege(command) };
    if !before_9 || call.who.user != "root@pam" {
        cluster.need(&call.who, &format!("/vms/{vmid}"), wanted)?;
    }
    let guest = cluster.at_mut(Kind::Qemu, host, vmid).map_err(Refusal::die)?;
    if !guest.has_agent() {
        return Err(Refusal::die("No QEMU guest agent configured"));
    }
    if !guest.is_running() {
        return Err(Refusal::die(format!("VM {vmid} is not running")));
    }
    if !guest.agent.installed {
        return Err(Refusal::die("QEMU guest agent is not running"));
    }
    let result = |value: Value| data(json!({ "result": value }));
    match command {
        "ping" => result(json!({})),
        "info" => result(json!({
            "version": "9.0.0",
            "supported_commands": [{ "enabled": true, "name": "guest-ping", "success-response": true }]
        })),
        "get-osinfo" => result(json!({
            "id": "debian", "name": "Debian GNU/Linux", "kernel-release": "6.12.0", "version": "13 (trixie)",
            "version-id": "13", "pretty-name": "Debian GNU/Linux 13 (trixie)", "machine": "x86_64"
        })),
        "get-host-name" => result(json!({ "host-name": guest.name() })),
        "get-time" => result(json!(1_795_198_385_000_000_000_u64)),
        "get-timezone" => result(json!({ "zone": "UTC", "offset": 0 })),
        "get-fsinfo" => result(json!([{
            "name": "sda1", "mountpoint": "/", "type": "ext4", "total-bytes": 4_294_967_296_u64,
            "used-bytes": 1_073_741_824, "disk": []
        }])),
        "network-get-interfaces" => result(interfaces(guest)),
        "fsfreeze-freeze" => {
            guest.agent.frozen = true;
            result(json!(1))
        }
        "fsfreeze-thaw" => {
            let count = u8::from(std::mem::take(&mut guest.agent.frozen));
            result(json!(count))
        }
        "fsfreeze-status" => result(json!(if guest.agent.frozen { "frozen" } else { "thawed" })),
        "fstrim" => result(json!({ "paths": [] })),
        "shutdown" => {
            super::power::switch_off(cluster, vmid);
            result(json!({}))
        }
        "set-user-password" => result(json!({})),
        "exec" => exec(guest, call),
        "exec-status" => exec_status(guest, call),
        "file-read" => file_read(guest, call),
        "file-write" => file_write(guest, call),
        other => result(json!({ "error": {
            "class": "CommandNotFound", "desc": format!("The command guest-{other} has not been found")
        } })),
    }
}

fn interfaces(guest: &Guest) -> Value {
    let address = |ip: String, kind: &str, prefix: u8| json!({ "ip-address": ip, "ip-address-type": kind, "prefix": prefix });
    let mut rows = vec![json!({
        "name": "lo", "hardware-address": "00:00:00:00:00:00",
        "ip-addresses": [address("127.0.0.1".into(), "ipv4", 8), address("::1".into(), "ipv6", 128)]
    })];
    for ((_, mac), number) in guest.macs().into_iter().zip(0_u32..) {
        let (high, low) = (guest.vmid / 250 % 250, guest.vmid % 250 + 2);
        rows.push(json!({
            "name": format!("eth{number}"), "hardware-address": mac.to_lowercase(),
            "ip-addresses": [address(format!("10.{}.{high}.{low}", 100 + number), "ipv4", 24)],
            "statistics": { "rx-bytes": 1_000, "tx-bytes": 500, "rx-packets": 10, "tx-packets": 5 }
        }));
    }
    rows.into()
}

/// `GET /nodes/{node}/lxc/{vmid}/interfaces`.
pub(super) fn container_interfaces(cluster: &Cluster, call: &Call, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(Kind::Lxc, host, vmid).map_err(Refusal::die)?;
    if !guest.is_running() {
        return data(Value::Null);
    }
    let rows = guest.macs().into_iter().zip(0_u32..).map(|((_, mac), number)| {
        let (high, low) = (guest.vmid / 250 % 250, guest.vmid % 250 + 2);
        let ip = format!("10.{}.{high}.{low}", 100 + number);
        json!({
            "name": format!("eth{number}"), "hwaddr": mac.to_lowercase(), "hardware-address": mac.to_lowercase(),
            "inet": format!("{ip}/24"),
            "ip-addresses": [{ "ip-address": ip, "ip-address-type": "inet", "prefix": "24" }]
        })
    });
    data(rows.collect::<Vec<_>>())
}

fn exec(guest: &mut Guest, call: &Call) -> Outcome {
    let command = call.params.all("command");
    let process = guest.agent.run(&command, call.get("input-data"));
    let pid = guest.agent.next_pid;
    guest.agent.next_pid += 1;
    guest.agent.processes.insert(pid, process);
    data(json!({ "pid": pid }))
}

fn exec_status(guest: &mut Guest, call: &Call) -> Outcome {
    let pid = call.params.number("pid").unwrap_or(0);
    let Some(process) = guest.agent.processes.get_mut(&pid) else {
        return Err(Refusal::die(format!("Agent error: PID {pid} does not exist")));
    };
    if process.looks > 0 {
        process.looks -= 1;
        return data(json!({ "exited": 0 }));
    }
    let mut row = json!({ "exited": 1, "exitcode": process.code });
    if let Some(row) = row.as_object_mut() {
        for (key, bytes) in [("out-data", &process.out), ("err-data", &process.err)] {
            if !bytes.is_empty() {
                row.insert(key.into(), latin(bytes).into());
            }
        }
    }
    // The agent forgets a process whose end it has told.
    guest.agent.processes.remove(&pid);
    data(row)
}

fn file_read(guest: &Guest, call: &Call) -> Outcome {
    let path = call.params.needed("file")?;
    let Some(bytes) = guest.agent.files.get(path) else {
        return Err(Refusal::die(format!(
            "Agent error: failed to open file '{path}' (mode: 'r'): No such file or directory"
        )));
    };
    data(json!({ "content": latin(bytes), "bytes-read": bytes.len() }))
}

fn file_write(guest: &mut Guest, call: &Call) -> Outcome {
    let path = call.params.needed("file")?.to_owned();
    let content = call.params.needed("content")?;
    // With `encode=0` the content is base64 already.
    let bytes = if call.get("encode") == Some("0") {
        unbase64(content).ok_or_else(|| Refusal::die("Agent error: Invalid base64"))?
    } else {
        bytes_of(content)
    };
    guest.agent.files.insert(path, bytes);
    done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(unbase64("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(unbase64("/wA="), Some(vec![255, 0]));
        assert_eq!(unbase64("*"), None);
    }
}
