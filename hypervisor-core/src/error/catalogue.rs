//! What each kind of error means, where it mostly comes from, and what to do: for programs that show errors to people, and the source of
//! the catalogue in the documentation.

use super::ErrorKind;

/// One entry of the catalogue.
struct Entry {
    meaning: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

impl ErrorKind {
    /// What happened, as a sentence that is true on every backend.
    ///
    /// ```
    /// use hypervisor_core::ErrorKind;
    /// for kind in ErrorKind::ALL {
    ///     println!("{kind}: {} {} {}", kind.meaning(), kind.likely_cause(), kind.remedy());
    /// }
    /// ```
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.entry().meaning
    }

    /// Where it mostly comes from.
    #[must_use]
    pub const fn likely_cause(self) -> &'static str {
        self.entry().cause
    }

    /// What to do, where [`Error::hint`](super::Error::hint) knows nothing nearer.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.entry().remedy
    }

    const fn entry(self) -> Entry {
        match self {
            Self::NotFound => Entry {
                meaning: "The object that was asked for does not exist.",
                cause: "A name where an id is wanted, another connection than the one that made it, or somebody has deleted it.",
                remedy: "List what there is, and use the id that the list shows.",
            },
            Self::AlreadyExists => Entry {
                meaning: "An object of that name or id exists already.",
                cause: "An earlier try that succeeded, or another program with the same names.",
                remedy: "Use the one that exists, or choose another name; with a client token a create finds its own earlier try.",
            },
            Self::Conflict => Entry {
                meaning: "The object has changed since it was read, is another one than was meant, or another object is in the way.",
                cause: "Somebody else has changed it, an id was used again for another machine, or a name is not unique.",
                remedy: "Read the object again, decide anew, and repeat the change with what was read.",
            },
            Self::Locked => Entry {
                meaning: "Another task holds the object.",
                cause: "A backup, clone, snapshot or migration of it is going on, or a lock was left behind by one that died.",
                remedy: "Wait for that task and try again; the usual layers have tried several times already.",
            },
            Self::InvalidState => Entry {
                meaning: "The object exists, but its present state does not allow this.",
                cause: "A running machine where a stopped one is wanted, or the other way round; snapshots that are in the way.",
                remedy: "Bring it into the state that the message names, or use the option that allows it.",
            },
            Self::InvalidInput => Entry {
                meaning: "An argument is wrong; nothing was sent.",
                cause: "A value out of range, an empty name, options that exclude one another.",
                remedy: "Correct the field that the error names.",
            },
            Self::Unsupported => Entry {
                meaning: "This backend, or this connection, cannot do it.",
                cause: "The backend has no such call, its version is too old, or the credentials lack the privilege.",
                remedy: "Look at the capabilities of the connection for the reason, and at what it can do instead.",
            },
            Self::Unauthenticated => Entry {
                meaning: "The credentials are missing, wrong or expired.",
                cause: "A token that was revoked or mistyped, a password that has changed, a second factor that was not given.",
                remedy: "Check the credentials of the connection, and that they are meant for this server.",
            },
            Self::PermissionDenied => Entry {
                meaning: "The credentials are good, but not enough for this.",
                cause: "A role or permission that the user or token lacks on this object, or a connection that is read-only.",
                remedy: "Have the privilege granted that the message names, on this object and to this user or token.",
            },
            Self::Exhausted => Entry {
                meaning: "A resource ran out: disk space, memory, addresses, a quota.",
                cause: "A pool that is full, a host without memory for one more machine, a limit of the server.",
                remedy: "Free some, ask for less, or use another host or pool.",
            },
            Self::RateLimited => Entry {
                meaning: "The server asks for fewer calls.",
                cause: "More calls in a short time than it allows this client, perhaps by several programs with one token.",
                remedy: "Wait as long as the error says; a budget layer keeps below the limit.",
            },
            Self::Timeout => Entry {
                meaning: "The deadline passed before the answer, or the end of the task, came.",
                cause: "A slow or overloaded server, a guest that does not follow, or a deadline that is too short.",
                remedy: "Where the error names a task, it goes on: wait for it again by its id. Otherwise look at the object before repeating a change.",
            },
            Self::Connect => Entry {
                meaning: "The connection could not be made; nothing was sent.",
                cause: "A server that is down, a wrong host or port, a firewall, a socket that this user may not open, a certificate that is not trusted.",
                remedy: "Check that the server runs and that this machine and user can reach it; then try again.",
            },
            Self::Transport => Entry {
                meaning: "The connection broke after the call may have been sent.",
                cause: "A server that was restarted, a proxy that cut the connection, a network that failed in the middle.",
                remedy: "Look whether it was done before repeating it; what can be repeated safely was repeated.",
            },
            Self::Protocol => Entry {
                meaning: "An answer came but could not be understood.",
                cause: "Another kind of server at this address, a proxy's page of its own, or a version that answers differently.",
                remedy: "Check the address and the version of the server, and look at the object before repeating a change.",
            },
            Self::TaskFailed => Entry {
                meaning: "The call started a task, and the task failed.",
                cause: "What the server says in the message and in the last lines of the task's log.",
                remedy: "Read the task's log, and look at what it left behind before starting it anew.",
            },
            Self::Cancelled => Entry {
                meaning: "The call or its task was cancelled.",
                cause: "Somebody cancelled the task, or the program gave up on it.",
                remedy: "Look at what was done until then, and start it anew if it is still wanted.",
            },
            Self::AgentUnavailable => Entry {
                meaning: "The agent inside the guest does not answer.",
                cause: "It is not installed or not started, the machine has no channel for it, or the guest is still booting.",
                remedy: "Install and start the guest agent, give the machine its channel, or wait until the guest has booted.",
            },
            Self::HostUnreachable => Entry {
                meaning: "The host that has the object cannot be reached, though the backend itself can.",
                cause: "A host of the cluster that is down, cut off or restarting.",
                remedy: "Bring the host back; what is on it is not gone.",
            },
            Self::Config => Entry {
                meaning: "The configuration of the connection is wrong.",
                cause: "A URL with a mistake, a driver that was not compiled in, an environment variable that is missing.",
                remedy: "Correct the URL or setting that the message names.",
            },
            Self::Backend => Entry {
                meaning: "The backend failed for a reason of its own.",
                cause: "What the server says; the code is its own.",
                remedy: "Read the message, look up the code in the backend's documentation and log, and look at the object before repeating a change.",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_sentences_of_its_own() {
        for text in [ErrorKind::meaning, ErrorKind::likely_cause, ErrorKind::remedy] {
            let all: BTreeSet<&str> = ErrorKind::ALL.iter().map(|kind| text(*kind)).collect();
            assert_eq!(all.len(), ErrorKind::ALL.len(), "two kinds say the same");
            assert!(
                all.iter().all(|text| text.ends_with('.') && !text.contains('|')),
                "no sentence, or no table cell"
            );
        }
    }
}
