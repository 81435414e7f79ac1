//! The state of the service at one moment, for the status page and as JSON. It has no personal data
//! and no id of a session.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::failures::Failure;

/// The state of the service at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Whether the service accepts new calls.
    pub is_ready: bool,
    /// The program's version.
    pub version: &'static str,
    /// Time since the start.
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    pub uptime: Duration,
    /// Open connections to callers.
    pub connections: usize,
    /// Open watches.
    pub watchers: usize,
    /// The vendor, as the service sees it.
    pub upstream: Upstream,
    /// The fleet. `None` for a process on its own.
    pub fleet: Option<Fleet>,
    /// The vendor's callbacks. `None` if there is no endpoint for them.
    pub callbacks: Option<Callbacks>,
    /// The running polls.
    pub polls: Vec<Poll>,
    /// How many of them the vendor's list of sessions shows.
    pub listed_polls: usize,
    /// The failed calls by reason, latest first.
    pub failures: Vec<Failure>,
}

/// The vendor, as the service sees it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Upstream {
    /// Whether the vendor answers.
    pub is_serving: bool,
    /// Most requests per second that the service sends.
    pub requests_per_second: f64,
    /// Requests sent since the start.
    pub requests: u64,
    /// Failed requests since the start.
    pub failed_requests: u64,
    /// Requests that wait for quota.
    pub waiting: usize,
    /// Time since the last good answer. `None` if there was none.
    #[serde(rename = "last_answer_age_seconds", serialize_with = "optional_seconds")]
    pub last_answer_age: Option<Duration>,
}

/// The fleet that shares the quota.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Fleet {
    /// Whether Redis answers in time.
    pub is_joined: bool,
    /// The replicas, including the silent ones.
    pub replicas: usize,
    /// The replicas whose share is kept free, because they do not call.
    pub silent: usize,
    /// The requests per second of this replica while Redis does not answer.
    pub share: f64,
}

/// The vendor's callbacks.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Callbacks {
    /// Callbacks with a right secret since the start.
    pub received: u64,
    /// Time since the latest one. `None` if there was none.
    #[serde(rename = "latest_age_seconds", serialize_with = "optional_seconds")]
    pub latest_age: Option<Duration>,
}

/// One running poll.
#[derive(Clone, Debug, Serialize)]
pub struct Poll {
    /// The digest of the session's id, as in the log and in errors.
    pub session_digest: String,
    /// The session's status as the vendor writes it, such as `waiting`, or `unknown`.
    pub status: &'static str,
    /// Number of watchers.
    pub watchers: usize,
    /// Whether the session had no good answer of late.
    pub is_stale: bool,
    /// Time since its last answer.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Duration,
}

/// Writes seconds, to the millisecond.
pub(super) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[expect(clippy::ref_option, reason = "serde requires this signature")]
fn optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
