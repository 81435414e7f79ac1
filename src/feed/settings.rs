//! The settings of the feed.

use std::time::Duration;

use super::poll_interval::PollIntervals;
use crate::{fleet::polls::SharedPolls, model::Status};

/// How polls behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a session is polled while there is quota to spare.
    pub intervals: PollIntervals,
    /// How long a poll waits before it asks again to confirm a status that went back, or a 404.
    pub confirm_after: Duration,
    /// After how many failures in a row the watchers learn that the session is stale. They learn it
    /// earlier if there has been no good answer for long.
    pub stale_after: u32,
    /// How long the vendor may fail before the watches end.
    pub outage_limit: Duration,
    /// How long a poll continues after its last watcher left, so that a watcher can reconnect.
    pub linger: Duration,
    /// The vendor's list is read only if it saves this many times what it costs.
    pub list_advantage: f64,
    /// The polls that the replicas share.
    pub fleet: SharedPolls,
}

impl Settings {
    /// How long an answer with this status is fresh enough for a new watch to begin with. `gap` is the
    /// recent time between answers.
    pub(super) fn fresh_for(&self, status: Status, gap: Duration) -> Duration {
        2 * self.intervals.of(status).max(gap)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            intervals: PollIntervals::default(),
            // Long enough for the vendor's servers to agree with each other.
            confirm_after: Duration::from_secs(1),
            // One or two failures are normal.
            stale_after: 3,
            outage_limit: Duration::from_mins(15),
            linger: Duration::from_secs(2),
            list_advantage: 2.0,
            fleet: SharedPolls::default(),
        }
    }
}
