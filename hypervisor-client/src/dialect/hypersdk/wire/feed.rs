//! What the daemon says over its WebSocket: text frames `{"type", "timestamp", "data"}`, each with a line end.

use std::fmt;

use hypervisor_core::Result;
use hypervisor_core::http::decode;
use serde::Deserialize;
use serde_json::Value;

use super::job::{Job, JobStatus};
use super::soft;

answers! {
    /// How many jobs there are.
    #[derive(Default, PartialEq, Eq)]
    JobCounts {
        may {
            /// All of them.
            total_jobs: u64,
            /// Those at work.
            running_jobs: u64,
            /// Those that ended well.
            completed_jobs: u64,
            /// Those that failed.
            failed_jobs: u64,
        }
    }

    /// The daemon's own load, and the latest of its jobs.
    #[derive(Default)]
    DaemonLoad {
        may {
            /// Jobs at work.
            jobs_active: u64,
            /// Jobs that wait.
            jobs_pending: u64,
            /// Jobs that ended well.
            jobs_completed: u64,
            /// Jobs that failed.
            jobs_failed: u64,
            /// Jobs that were cancelled.
            jobs_cancelled: u64,
            /// The memory that it takes, in bytes.
            memory_usage: u64,
            /// `healthy` or what is wrong.
            system_health: String,
            /// The latest jobs.
            recent_jobs: Vec<RecentJob>,
        }
    }

    /// A job in few words.
    RecentJob {
        must {
            /// Its id.
            id: String,
        }
        may {
            /// Its name.
            name: String,
            /// How far it is.
            status: Option<JobStatus>,
            /// How much is done, 0 to 100.
            progress: f64,
            /// Why it failed.
            error_msg: String,
        }
    }
}

impl soft::Soft for Option<JobStatus> {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let word = String::read(deserializer)?;
        Ok((!word.is_empty()).then(|| JobStatus::parse(&word)))
    }
}

/// One frame.
#[derive(Clone)]
#[non_exhaustive]
pub enum FeedFrame {
    /// How many jobs there are; comes once, first.
    Status(JobCounts),
    /// The jobs; comes once, after that.
    Jobs(Vec<Job>),
    /// The daemon's load, about once a second.
    Load(Box<DaemonLoad>),
    /// A type that this version does not know, with its data as it came.
    Other {
        /// The type.
        kind: String,
        /// The data.
        data: Value,
    },
}

/// Of what is not known the type alone is shown: a job's definition has passwords.
impl fmt::Debug for FeedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(counts) => f.debug_tuple("Status").field(counts).finish(),
            Self::Jobs(jobs) => f.debug_tuple("Jobs").field(jobs).finish(),
            Self::Load(load) => f.debug_tuple("Load").field(load).finish(),
            Self::Other { kind, .. } => f.debug_struct("Other").field("kind", kind).finish_non_exhaustive(),
        }
    }
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type", default, deserialize_with = "soft::field")]
    kind: String,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Jobs {
    #[serde(default, deserialize_with = "soft::field")]
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Raw {
    raw: DaemonLoad,
}

impl FeedFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// `Protocol` for what is none, or has not what its type promises.
    pub fn parse(text: &str) -> Result<Self> {
        fn data<T: serde::de::DeserializeOwned>(data: &Value) -> Result<T> {
            // The detour keeps the place in the document for the error.
            decode(data.to_string().as_bytes())
        }
        let frame: Frame = decode(text.as_bytes())?;
        Ok(match frame.kind.as_str() {
            "status" => Self::Status(data(&frame.data)?),
            "jobs" => Self::Jobs(data::<Jobs>(&frame.data)?.jobs),
            "metrics" => Self::Load(Box::new(data::<Raw>(&frame.data)?.raw)),
            _ => Self::Other { kind: frame.kind, data: frame.data },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn recorded_frames_are_read() {
        let status = r#"{"type":"status","timestamp":"2026-11-20T17:52:26.865008763Z","data":{"completed_jobs":0,"failed_jobs":5,"running_jobs":0,"total_jobs":5}}"#;
        let FeedFrame::Status(counts) = FeedFrame::parse(&format!("{status}\n")).unwrap() else { panic!() };
        assert_eq!((counts.total_jobs, counts.failed_jobs), (5, 5));
        let jobs = r#"{"type":"jobs","data":{"jobs":[{"definition":{"id":"j","vcenter":{"server":"v","username":"u","password":"hunter2"}},"error":"no","progress":null,"status":"failed"}]}}"#;
        let frame = FeedFrame::parse(jobs).unwrap();
        assert!(!format!("{frame:?}").contains("hunter2"));
        let FeedFrame::Jobs(jobs) = frame else { panic!() };
        assert_eq!(jobs[0].status, JobStatus::Failed);
        let load = r#"{"type":"metrics","data":{"raw":{"alerts":[],"jobs_failed":5,"memory_usage":3444896,"recent_jobs":[{"id":"j","name":"export-1","status":"running","progress":12.5}],"system_health":"healthy"}}}"#;
        let FeedFrame::Load(load) = FeedFrame::parse(load).unwrap() else { panic!() };
        assert_eq!((load.jobs_failed, load.memory_usage), (5, 3_444_896));
        assert_eq!(
            (load.recent_jobs[0].status.clone(), load.recent_jobs[0].progress),
            (Some(JobStatus::Running), 12.5)
        );
        let other = FeedFrame::parse(r#"{"type":"job_update","data":{"password":"hunter2"}}"#).unwrap();
        assert!(matches!(&other, FeedFrame::Other { kind, .. } if kind == "job_update"));
        assert!(!format!("{other:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_frame_is_told_with_its_place() {
        for (text, place) in [
            ("status", ""),
            (r#"{"type":"jobs","data":{"jobs":[{"status":"failed"}]}}"#, "jobs[0]"),
            (r#"{"type":"metrics","data":{}}"#, "raw"),
        ] {
            let error = FeedFrame::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert!(error.message().contains(place), "{text}: {error}");
        }
        assert!(
            matches!(FeedFrame::parse(r#"{"type":"jobs","data":{"jobs":null}}"#), Ok(FeedFrame::Jobs(jobs)) if jobs.is_empty())
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}", kind in "(status|jobs|metrics|x)", data in "(null|1|\\{\\}|\\{\"jobs\":[0-9]\\}|\\{\"raw\":\\[\\]\\})") {
            drop((FeedFrame::parse(&text), FeedFrame::parse(&format!("{{\"type\":\"{kind}\",\"data\":{data}}}"))));
        }
    }
}
