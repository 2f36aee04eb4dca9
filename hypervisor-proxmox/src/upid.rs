//! The id of a Proxmox task, which says where the task runs, what it does and for whom.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hypervisor_core::model::{TaskId, VmId};
use hypervisor_core::{Error, Operation, Result};

/// A task's id: `UPID:node:pid:pstart:starttime:type:id:user@realm!token:`.
///
/// Printed exactly as it was read.
///
/// ```
/// use hypervisor_proxmox::Upid;
/// let upid: Upid = "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:100:root@pam!lab:".parse()?;
/// assert_eq!((upid.kind(), upid.subject()), ("qmcreate", Some("100".to_owned())));
/// assert_eq!((upid.user(), upid.token()), ("root@pam", Some("lab")));
/// assert_eq!(upid.to_string(), "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:100:root@pam!lab:");
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Upid {
    text: Arc<str>,
    node: String,
    pid: u32,
    process_start: u64,
    start: u64,
    kind: String,
    raw_subject: String,
    user: String,
    token: Option<String>,
}

impl Upid {
    /// The id that a server would give to this task. `subject` is the guest or volume that it works on, or empty.
    ///
    /// # Errors
    /// `InvalidInput` where a part cannot stand in an id.
    pub fn new(
        node: &str,
        pid: u32,
        process_start: u64,
        start: u64,
        kind: &str,
        subject: &str,
        user: &str,
    ) -> Result<Self> {
        let subject = escape(subject);
        format!("UPID:{node}:{pid:08X}:{process_start:08X}:{start:08X}:{kind}:{subject}:{user}:").parse()
    }

    /// The node that the task runs on, which is the one to ask about it.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The number of the worker process on that node.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When the process started, in the kernel's ticks.
    #[must_use]
    pub fn process_start(&self) -> u64 {
        self.process_start
    }

    /// When the task started.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.start)
    }

    /// The type of the task in Proxmox's words: `qmcreate`, `vzdump`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What the task works on, unescaped: a VMID, a storage, a file name.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        (!self.raw_subject.is_empty()).then(|| unescape(&self.raw_subject))
    }

    /// Who started it, with the realm.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The API token by which it was started.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// User, realm and token as in the id: `root@pam!lab`.
    #[must_use]
    pub fn owner(&self) -> String {
        match &self.token {
            Some(token) => format!("{}!{token}", self.user),
            None => self.user.clone(),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As the id of the model.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        TaskId::new(Arc::clone(&self.text))
    }

    /// The guest that the task works on.
    #[must_use]
    pub fn vm(&self) -> Option<VmId> {
        guest_of(&self.kind, &self.subject()?)
    }

    /// The operation that the task carries out.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        operation_of(&self.kind)
    }
}

/// The guest in a task's `id` field.
#[must_use]
pub fn guest_of(kind: &str, subject: &str) -> Option<VmId> {
    let works_on_guests = kind.starts_with("qm")
        || kind.starts_with("vz")
        || kind.starts_with("ha")
        || matches!(
            kind,
            "resize"
                | "imgdel"
                | "imgcopy"
                | "vncproxy"
                | "spiceproxy"
                | "move_volume"
                | "push_file"
                | "pull_file"
        );
    // `101@local` names the guest and the storage of a volume.
    let number = subject.split('@').next().unwrap_or_default();
    let number = number.strip_prefix("vm:").or_else(|| number.strip_prefix("ct:")).unwrap_or(number);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (works_on_guests && is_number).then(|| VmId::from(number))
}

/// The operation behind a task's type. `None` where a type has no counterpart in the traits.
#[must_use]
pub fn operation_of(kind: &str) -> Option<Operation> {
    Some(match kind {
        "qmstart" | "vzstart" | "hastart" => Operation::StartVm,
        "qmstop" | "vzstop" | "hastop" => Operation::PowerOffVm,
        "qmshutdown" | "vzshutdown" | "hashutdown" => Operation::ShutdownVm,
        "qmreboot" | "vzreboot" => Operation::RebootVm,
        "qmreset" => Operation::ResetVm,
        "qmpause" | "vzsuspend" => Operation::PauseVm,
        "qmresume" | "vzresume" => Operation::ResumeVm,
        "qmsuspend" => Operation::HibernateVm,
        "qmcreate" | "vzcreate" => Operation::CreateVm,
        "qmdestroy" | "vzdestroy" => Operation::DeleteVm,
        "qmclone" | "vzclone" => Operation::CloneVm,
        "qmigrate" | "vzmigrate" | "hamigrate" => Operation::MigrateVm,
        "qmtemplate" | "vztemplate" => Operation::CreateTemplate,
        "qmconfig" => Operation::UpdateVm,
        "resize" => Operation::ResizeDisk,
        "qmsnapshot" | "vzsnapshot" => Operation::CreateSnapshot,
        "qmrollback" | "vzrollback" => Operation::RevertSnapshot,
        "qmdelsnapshot" | "vzdelsnapshot" => Operation::DeleteSnapshot,
        "vzdump" => Operation::CreateBackup,
        "qmrestore" | "vzrestore" => Operation::RestoreBackup,
        "imgdel" => Operation::DeleteVolume,
        "imgcopy" => Operation::UploadVolume,
        "download" => Operation::CreateVolume,
        "vncproxy" | "spiceproxy" => Operation::GetConsole,
        _ => return None,
    })
}

fn wrong(text: &str, why: &str) -> Error {
    Error::invalid("task", format!("`{}` is no UPID: {why}", text.escape_debug()))
}

impl FromStr for Upid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The subject may hold colons, so the parts before it are taken from the left and the user from the right.
        let rest = text.strip_prefix("UPID:").ok_or_else(|| wrong(text, "it does not begin with UPID:"))?;
        let rest = rest.strip_suffix(':').ok_or_else(|| wrong(text, "it does not end with a colon"))?;
        let mut parts = rest.splitn(6, ':');
        let mut next =
            |name: &str| parts.next().ok_or_else(|| wrong(text, &format!("the {name} is missing")));
        let (node, pid, process_start) = (next("node")?, next("pid")?, next("process start")?);
        let (start, kind, tail) = (next("start time")?, next("type")?, next("subject")?);
        let (raw_subject, owner) = tail.rsplit_once(':').ok_or_else(|| wrong(text, "the user is missing"))?;
        // The node becomes a part of a path.
        if node.is_empty()
            || !node.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        {
            return Err(wrong(text, "the node is no host name"));
        }
        if kind.is_empty()
            || owner.is_empty()
            || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/')
        {
            return Err(wrong(text, "a part is empty or has characters that no id has"));
        }
        let (user, token) = match owner.split_once('!') {
            Some((user, token)) => (user, Some(token.to_owned())),
            None => (owner, None),
        };
        Ok(Self {
            text: text.into(),
            node: node.to_owned(),
            pid: u32::try_from(hex(text, pid, "pid")?).map_err(|_| wrong(text, "the pid is too large"))?,
            process_start: hex(text, process_start, "process start")?,
            start: hex(text, start, "start time")?,
            kind: kind.to_owned(),
            raw_subject: raw_subject.to_owned(),
            user: user.to_owned(),
            token,
        })
    }
}

fn hex(text: &str, part: &str, name: &str) -> Result<u64> {
    // `from_str_radix` would also take a sign; the limit keeps every time within what the clock can count.
    let fits = (8..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = fits.then(|| u64::from_str_radix(part, 16).ok()).flatten();
    number.ok_or_else(|| wrong(text, &format!("the {name} is not eight or nine hex digits")))
}

/// Bytes that cannot stand in an id are written like systemd does, `\x3a`.
fn escape(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn unescape(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<&TaskId> for Upid {
    type Error = Error;

    fn try_from(task: &TaskId) -> Result<Self> {
        task.as_str().parse()
    }
}

impl From<&Upid> for TaskId {
    fn from(upid: &Upid) -> Self {
        upid.task_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_upid_is_refused_by_name() {
        for wrong in [
            "",
            "foo",
            "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:100:root@pam",
            "UPID::00000173:000327F6:6B008B60:qmcreate:100:root@pam:",
            "UPID:../x:00000173:000327F6:6B008B60:qmcreate:100:root@pam:",
            "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:100/../:root@pam:",
            "UPID:pve1:+0000173:000327F6:6B008B60:qmcreate:100:root@pam:",
            "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:root@pam:",
            "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:100::",
            "UPID:pve1:1FFFFFFFF:000327F6:6B008B60:qmcreate:100:root@pam:",
        ] {
            let error = wrong.parse::<Upid>().unwrap_err();
            assert!(error.fields().contains_key("task"), "{wrong}");
        }
    }

    #[test]
    fn subjects_may_be_empty_escaped_or_hold_colons() {
        let upid: Upid = "UPID:pve1:000005A0:0003D828:6B008D23:imgcopy::root@pam!lab:".parse().unwrap();
        assert_eq!((upid.subject(), upid.vm()), (None, None));
        assert_eq!(upid.operation(), Some(Operation::UploadVolume));
        let upid: Upid =
            r"UPID:pve1:00000594:10003D71C:6B008D20:imgdel:101@local\x2dzfs:a@pve:".parse().unwrap();
        assert_eq!(upid.subject().unwrap(), "101@local-zfs");
        assert_eq!(upid.vm().unwrap().as_str(), "101");
        assert_eq!(upid.process_start(), 0x1_0003_D71C);
        let upid: Upid = "UPID:pve1:00000594:0003D71C:6B008D20:hastart:vm:101:a@pve:".parse().unwrap();
        assert_eq!((upid.subject().unwrap().as_str(), upid.vm().unwrap().as_str()), ("vm:101", "101"));
    }

    #[test]
    fn tasks_that_work_on_no_guest_name_none() {
        assert_eq!(guest_of("srvreload", "100"), None);
        assert_eq!(guest_of("download", "100"), None);
        assert_eq!(guest_of("qmstart", "f.iso"), None);
        assert_eq!(operation_of("srvreload"), None);
    }

    proptest! {
        #[test]
        fn made_ids_parse_back(
            pid in any::<u32>(), pstart in 0_u64..=0xF_FFFF_FFFF, start in any::<u32>(),
            subject in "[^\\p{Cc}]{0,12}", token in proptest::option::of("[a-z][a-z0-9.-]{1,8}")
        ) {
            let user = token.as_ref().map_or("root@pam".to_owned(), |token| format!("root@pam!{token}"));
            let made = Upid::new("pve1", pid, pstart, start.into(), "qmstart", &subject, &user).unwrap();
            prop_assert_eq!(made.to_string().parse::<Upid>().unwrap(), made.clone());
            prop_assert_eq!(made.subject().unwrap_or_default(), subject);
            prop_assert_eq!(made.owner(), user);
            prop_assert_eq!((made.pid(), made.process_start()), (pid, pstart));
        }

        #[test]
        fn no_text_panics_and_what_parses_prints_the_same(text in "(UPID:)?[ -~]{0,60}:?") {
            if let Ok(upid) = text.parse::<Upid>() {
                prop_assert_eq!(upid.to_string(), text);
            }
        }
    }
}
