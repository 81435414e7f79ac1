//! The state of the service at one moment, for the status page. It has no personal data and no
//! whole id.

use std::time::Duration;

use super::failures::Failure;

/// The state of the service at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The program's version.
    pub version: &'static str,
    /// Time since the start.
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
#[derive(Clone, Debug, Default)]
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
    pub last_answer_age: Option<Duration>,
}

/// The fleet that shares the quota.
#[derive(Clone, Copy, Debug, Default)]
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Callbacks {
    /// Callbacks with a right secret since the start.
    pub received: u64,
    /// Time since the latest one. `None` if there was none.
    pub latest_age: Option<Duration>,
}

/// One running poll.
#[derive(Clone, Debug)]
pub struct Poll {
    session: String,
    /// The session's status as the vendor writes it, such as `waiting`.
    pub status: &'static str,
    /// Number of watchers.
    pub watchers: usize,
    /// Time since its last answer. `None` if it had none.
    pub age: Option<Duration>,
}

impl Poll {
    /// A poll of the session `id`. Only the ends of the id are kept.
    pub fn new(id: &str, status: &'static str, watchers: usize, age: Option<Duration>) -> Self {
        Self { session: shortened(id), status, watchers, age }
    }

    /// The shortened id of the session. It identifies the session only to a reader who knows the
    /// whole id.
    pub fn session(&self) -> &str {
        &self.session
    }
}

/// Keeps at most a third of the id and at most four characters, half of them from each end.
fn shortened(id: &str) -> String {
    let length = id.chars().count();
    let shown = (length / 6).min(2);
    let start: String = id.chars().take(shown).collect();
    let end: String = id.chars().skip(length - shown).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_kept_whole() {
        for (id, kept) in [
            ("", "…"),
            ("1234", "…"),
            ("SS-87555", "S…5"),
            ("250040353", "2…3"),
            ("1842200297248054807", "18…07"),
            ("éééééééééééé", "éé…éé"),
        ] {
            assert_eq!(Poll::new(id, "active", 1, None).session(), kept);
        }
    }
}
