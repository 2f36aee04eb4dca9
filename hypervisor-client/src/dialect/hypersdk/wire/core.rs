//! The daemon itself.

use std::collections::BTreeMap;
use std::time::SystemTime;

use secrecy::SecretString;

use super::soft;

answers! {
    /// Whether the daemon is well.
    Health {
        must {
            /// `healthy`.
            status: String,
        }
        may {
            /// Its clock.
            timestamp: Option<SystemTime>,
        }
    }

    /// What the daemon is at work on.
    DaemonStatus {
        must {
            /// Its version.
            version: String,
        }
        may {
            /// How long it has been up, as Go prints it: `3m29.119140218s`.
            uptime: String,
            /// Its jobs.
            total_jobs: u64,
            /// Those at work.
            running_jobs: u64,
            /// Those that ended well.
            completed_jobs: u64,
            /// Those that failed.
            failed_jobs: u64,
            /// Those that were cancelled.
            cancelled_jobs: u64,
        }
    }

    /// The ways in which the daemon can export a machine of vSphere.
    ExportMethods {
        may {
            /// By name.
            capabilities: BTreeMap<String, ExportMethod>,
            /// The one that is used unless a job says otherwise.
            default_method: String,
        }
    }

    /// A way to export.
    ExportMethod {
        may {
            /// Its name: `ctl`, `govc`, `ovftool`, `web`.
            method: String,
            /// Whether the host has it.
            available: bool,
            /// The version of the tool.
            version: String,
            /// Where the tool lies on the host.
            path: String,
            /// The lowest is tried first.
            priority: u32,
        }
    }

    /// A session. The daemon as shipped asks for none.
    Session {
        must {
            /// What is sent as a bearer token.
            token: Option<SecretString>,
        }
        may {
            /// The user.
            username: String,
            /// When it ends.
            expires_at: Option<SystemTime>,
        }
    }
}

impl soft::Soft for BTreeMap<String, ExportMethod> {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(<Option<Self> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
    }
}
