//! The table from the server's words to a kind.

use hypervisor_core::{Effect, ErrorKind, Retry};

/// What a text of the server means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meaning {
    /// The kind; `Backend` where the text is not known.
    pub kind: ErrorKind,
    /// The noun and the id of the object that it is about.
    pub target: Option<(String, String)>,
    /// The parameter that it is about.
    pub field: Option<String>,
    /// Whether to try again, where that is not what the kind says.
    pub retry: Option<Retry>,
    /// What to do.
    pub hint: Option<String>,
    /// What is known of the effect, where that is not what the kind says.
    pub effect: Option<Effect>,
}

impl Meaning {
    fn new(kind: ErrorKind) -> Self {
        Self { kind, target: None, field: None, retry: None, hint: None, effect: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn target(mut self, target: Option<(String, String)>) -> Self {
        self.target = target;
        self
    }

    fn field(mut self, field: Option<&str>) -> Self {
        self.field = field.map(str::to_owned);
        self
    }
}

/// Texts whose kind follows from a few words, in the order in which they are looked for.
const WORDS: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::NotFound,
        &["does not exist", "no such ", "unable to find configuration file", "No such file or directory"],
    ),
    (ErrorKind::AlreadyExists, &["already exists", "already defined", "already used", "file exists"]),
    (ErrorKind::Conflict, &["checksum mismatch", "detected modified configuration"]),
    (
        ErrorKind::Exhausted,
        &[
            "No space left on device",
            "not enough free space",
            "not enough space",
            "out of space",
            "insufficient free space",
            "Cannot allocate memory",
            "cannot allocate memory",
            "Disk quota exceeded",
            "unable to find free port",
            "unable to get any free VMID",
        ],
    ),
    (
        ErrorKind::InvalidState,
        &[
            "not running",
            "is running",
            "already running",
            "it's a template",
            "is a template",
            "because it's a template",
            "is still in use",
            "in use by",
            "is not empty",
            "no spice port",
            "is not a template",
            "running container",
            "is paused",
            "is not most recent snapshot",
            "Cannot suspend HA managed",
            "passed-through PCI device",
        ],
    ),
    (
        ErrorKind::Unsupported,
        &[
            "is not supported",
            "not supported",
            "is not available",
            "does not support",
            "can't upload to storage type",
            "can't clone VM to node",
            "can't clone CT to node",
            "can't clone to non-shared storage",
            "not implemented",
            "not possible",
            "unsupported format",
        ],
    ),
    (ErrorKind::Cancelled, &["received interrupt", "interrupted by signal", "aborted by user"]),
    (ErrorKind::Timeout, &["got timeout", "Timeout while", "timed out", "timeout waiting"]),
];

/// Reads a message or the exit text of a task.
#[must_use]
pub fn meaning(text: &str) -> Meaning {
    agent(text).or_else(|| special(text)).unwrap_or_else(|| {
        let known = WORDS.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)));
        let kind = known.map_or(ErrorKind::Backend, |(kind, _)| *kind);
        let meaning = Meaning::new(kind).target(target(text));
        match kind {
            ErrorKind::Conflict => {
                meaning.hint("somebody else has changed it: read it again and repeat the change")
            }
            ErrorKind::InvalidState if text.contains("running - destroy failed") => {
                meaning.hint("power it off first")
            }
            ErrorKind::NotFound if text.starts_with("bridge ") => meaning.hint(
                "the node has no such bridge; the networks of the node are listed under System, Network",
            ),
            _ => meaning,
        }
    })
}

fn agent(text: &str) -> Option<Meaning> {
    let unavailable = |hint: &str| Some(Meaning::new(ErrorKind::AgentUnavailable).hint(hint));
    if text.contains("No QEMU guest agent configured") {
        return unavailable("switch the agent on in the guest's options, and power it off and on");
    }
    if text.contains("QEMU guest agent is not running") {
        return unavailable("start qemu-guest-agent inside the guest");
    }
    if text.contains("qmp command 'guest-") && text.contains("timeout") {
        return unavailable("the agent inside the guest does not answer in time");
    }
    None
}

fn special(text: &str) -> Option<Meaning> {
    if text.contains("no quorum") || (text.contains("/etc/pve/") && text.contains("Permission denied")) {
        // Without a quorum the cluster's file system is read-only, and some calls report just that.
        let mut meaning = Meaning::new(ErrorKind::InvalidState).hint(
            "too few nodes of the cluster see one another, so nothing can be changed; bring nodes back",
        );
        meaning.effect = Some(Effect::None);
        return Some(meaning);
    }
    if let Some(lock) = lock_holder(text) {
        let meaning = Meaning::new(ErrorKind::Locked);
        return Some(match lock {
            "suspended" => no_retry(meaning.hint("it is hibernated: starting it removes the lock")),
            lock => meaning.hint(format!("a `{lock}` task holds it; if none runs any more, root can remove the lock with `qm unlock` or `pct unlock`")),
        });
    }
    if text.contains("can't lock file")
        || text.contains("got lock request timeout")
        || text.contains("got lock timeout")
    {
        return Some(
            Meaning::new(ErrorKind::Locked)
                .hint("another task is at work on it; the server has already waited"),
        );
    }
    if text.starts_with("hostname lookup") || text.contains("no such cluster node") {
        return Some(
            Meaning::new(ErrorKind::NotFound)
                .target(quoted(text).map(|node| ("host".to_owned(), node.to_owned()))),
        );
    }
    if text.contains("nly root can ") || text.contains("nly root may ") {
        return Some(
            Meaning::new(ErrorKind::PermissionDenied)
                .hint("only root@pam with its password can do this; not even a token of root@pam can"),
        );
    }
    if text.contains("protection mode enabled") || text.contains("protected volume") {
        return Some(
            Meaning::new(ErrorKind::InvalidState).hint("it is protected: remove the protection first"),
        );
    }
    if text.starts_with("download failed") {
        // What follows are the words of a tool about files of its own.
        return Some(Meaning::new(ErrorKind::Backend));
    }
    if text.contains("shrinking disks is not supported") {
        return Some(Meaning::new(ErrorKind::Unsupported).field(Some("size")));
    }
    invalid(text)
}

fn no_retry(mut meaning: Meaning) -> Meaning {
    meaning.retry = Some(Retry::Never);
    meaning
}

/// Wrong parameters that come as status 500.
fn invalid(text: &str) -> Option<Meaning> {
    let field = if text.contains("(reserved name)") {
        Some("snapname")
    } else if text.contains("missing value for required option") || text.contains("unable to parse value of")
    {
        quoted(text)
    } else if text.contains("wrong field name") {
        Some("filename")
    } else if text.contains("no options specified") || text.contains("at character offset") {
        None
    } else {
        return None;
    };
    Some(Meaning::new(ErrorKind::InvalidInput).field(field))
}

/// Who holds a guest: `backup` in `VM is locked (backup)`.
#[must_use]
fn lock_holder(text: &str) -> Option<&str> {
    let (before, after) = text.split_once(" is locked (")?;
    (before.ends_with("VM") || before.ends_with("CT"))
        .then(|| after.split_once(')'))
        .flatten()
        .map(|(lock, _)| lock)
}

fn quoted(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('\'')?;
    rest.split_once('\'').map(|(inner, _)| inner)
}

/// The object that a text is about: the last of `noun 'id'` before the words that say what is wrong.
fn target(text: &str) -> Option<(String, String)> {
    if let Some(file) = quoted(text).filter(|file| file.ends_with(".conf")) {
        let id = file.rsplit('/').next()?.strip_suffix(".conf")?;
        return id.bytes().all(|byte| byte.is_ascii_digit()).then(|| ("vm".to_owned(), id.to_owned()));
    }
    const NOUNS: &[(&str, &str)] = &[
        ("storage ID '", "pool"),
        ("storage '", "pool"),
        ("pool '", "group"),
        ("snapshot name '", "snapshot"),
        ("snapshot '", "snapshot"),
        ("volume '", "volume"),
        ("bridge '", "network"),
        ("role '", "role"),
        ("user '", "user"),
        ("token '", "token"),
    ];
    for (words, noun) in NOUNS {
        if let Some((id, _)) = text.split_once(words).and_then(|(_, rest)| rest.split_once('\'')) {
            return Some(((*noun).to_owned(), id.to_owned()));
        }
    }
    for (words, noun) in [("VM ", "vm"), ("CT ", "vm"), ("PID ", "process")] {
        for (_, rest) in text.match_indices(words).map(|(at, _)| text.split_at(at)) {
            let digits: String = rest.chars().skip(words.len()).take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() {
                return Some((noun.to_owned(), digits));
            }
        }
    }
    None
}
