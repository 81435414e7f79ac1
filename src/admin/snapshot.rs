//! The state of the service at one moment, for the status page. No personal data, no id whole.

use std::time::Duration;

use super::failures::Failure;

/// The state of the service at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The program's version.
    pub version: &'static str,
    /// Since the start.
    pub uptime: Duration,
    /// Open connections of callers.
    pub connections: usize,
    /// Open watches.
    pub watchers: usize,
    /// The vendor, as the service sees it.
    pub upstream: Upstream,
    /// The running polls.
    pub polls: Vec<Poll>,
    /// How calls failed, the latest first.
    pub failures: Vec<Failure>,
}

/// The vendor, as the service sees it.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// Whether it answers.
    pub is_serving: bool,
    /// Requests a second that the service allows itself.
    pub requests_per_second: f64,
    /// Requests sent since the start.
    pub requests: u64,
    /// Those of them that failed.
    pub failed_requests: u64,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Since the latest good answer; none if there was none.
    pub last_answer_age: Option<Duration>,
}

/// One running poll.
#[derive(Clone, Debug)]
pub struct Poll {
    session: String,
    /// The session's status as the vendor writes it, such as `waiting`.
    pub status: &'static str,
    /// How many watches it serves.
    pub watchers: usize,
    /// Since its latest answer; none if it has had none.
    pub age: Option<Duration>,
}

impl Poll {
    /// A poll of the session `id`, of which only the ends are kept.
    pub fn new(id: &str, status: &'static str, watchers: usize, age: Option<Duration>) -> Self {
        Self { session: shortened(id), status, watchers, age }
    }

    /// The session's id, shortened so that it names nothing to those who do not know it.
    pub fn session(&self) -> &str {
        &self.session
    }
}

/// A third of the id at most, and four characters at most, half of them from each end.
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
