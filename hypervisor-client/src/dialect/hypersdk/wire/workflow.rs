//! The workflow daemon that runs beside: manifests in, converted machines out.

use std::time::SystemTime;

use super::soft;

answers! {
    /// What the workflow daemon is at work on.
    WorkflowStatus {
        may {
            /// `manifest` or `disk`.
            mode: String,
            /// Whether it runs.
            running: bool,
            /// Manifests that wait.
            queue_depth: u64,
            /// Those at work.
            active_jobs: u64,
            /// Those that ended well today.
            processed_today: u64,
            /// Those that failed today.
            failed_today: u64,
            /// How many are worked on at a time.
            max_workers: u64,
            /// How long it has been up, in seconds.
            uptime_seconds: f64,
        }
    }

    /// A job of the workflow daemon.
    WorkflowJob {
        may {
            /// Its id.
            id: String,
            /// Its name.
            name: String,
            /// How far it is.
            status: String,
            /// What it is doing.
            stage: String,
            /// How much of it is done, 0 to 100.
            progress: f64,
            /// When it began.
            started_at: Option<SystemTime>,
            /// For how long it has been at work, in seconds.
            elapsed_seconds: u64,
            /// Why it failed.
            error: String,
        }
    }

    /// Whether a manifest is good.
    ManifestCheck {
        may {
            /// Whether it is.
            valid: bool,
            /// What is wrong with it.
            errors: Vec<String>,
        }
    }
}
