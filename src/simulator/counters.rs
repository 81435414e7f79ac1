//! Counts the requests, for tests and for the quota.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

/// The number of requests that are kept one by one.
const RECENT_LIMIT: usize = 1000;

/// The requests since the start, or since the counters were reset.
///
/// All counters are about REST requests, to known and to unknown routes, except `token_requests`
/// and the counters of callbacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Requests.
    pub requests: u64,
    /// Requests for the list of sessions.
    pub list_requests: u64,
    /// Requests by the session id or token in their path.
    pub by_session: BTreeMap<String, u64>,
    /// Requests by their token, or by its principal if the token endpoint issued it. Requests
    /// without a token count as "".
    pub by_credential: BTreeMap<String, u64>,
    /// Requests by the HTTP status of the answer.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests that a rule applied to, including those to the token endpoint.
    pub faults: u64,
    /// The most requests in any window of a second.
    pub max_per_second: usize,
    /// The same for each token, or principal of an issued one.
    pub max_per_second_by_credential: BTreeMap<String, usize>,
    /// Requests without an answer yet.
    pub in_flight: usize,
    /// The most requests at the same time.
    pub max_in_flight: usize,
    /// Requests whose client left before the answer.
    pub cancelled: u64,
    /// Status callbacks that were sent. A callback that was sent twice counts twice.
    pub callbacks_sent: u64,
    /// Status callbacks that were sent but not answered with 2xx in time.
    pub callbacks_failed: u64,
    /// Status callbacks that were not sent, because the settings say so or too many were waiting.
    pub callbacks_lost: u64,
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// The latest requests, oldest first: at most 1000.
    pub recent: VecDeque<Seen>,
    #[serde(skip)]
    window: Window,
    #[serde(skip)]
    windows: HashMap<String, Window>,
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Seconds since the simulator started.
    pub at: f64,
    /// The method.
    pub method: String,
    /// Path and query as sent, still percent-encoded. If the query has an `oauth_token`, this is
    /// only the path.
    pub target: String,
    /// The header fields except `authorization`.
    pub headers: BTreeMap<String, String>,
    /// The token, or the principal of an issued one.
    pub credential: Option<String>,
    /// The HTTP status of the answer. If a fault broke the connection, the status of the right
    /// answer.
    pub status: u16,
}

impl Counters {
    /// How many requests there were for one session.
    pub fn of_session(&self, id: &str) -> u64 {
        self.by_session.get(id).copied().unwrap_or_default()
    }

    /// How many requests came with one token, or with the tokens of one principal.
    pub fn of_credential(&self, name: &str) -> u64 {
        self.by_credential.get(name).copied().unwrap_or_default()
    }

    pub(super) fn count(&mut self, seen: Seen, session_id: Option<&str>) {
        self.requests += 1;
        if let Some(id) = session_id {
            *self.by_session.entry(id.into()).or_default() += 1;
        }
        let credential = seen.credential.clone().unwrap_or_default();
        *self.by_credential.entry(credential.clone()).or_default() += 1;
        *self.by_status.entry(seen.status).or_default() += 1;
        self.max_per_second = self.max_per_second.max(self.window.push());
        let count = self.windows.entry(credential.clone()).or_default().push();
        let max = self.max_per_second_by_credential.entry(credential).or_default();
        *max = count.max(*max);
        self.in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.in_flight);
        self.recent.push_back(seen);
        if self.recent.len() > RECENT_LIMIT {
            self.recent.pop_front();
        }
    }

    /// Sets all to zero, except for the requests in flight.
    pub(super) fn reset(&mut self) {
        *self = Self { in_flight: self.in_flight, ..Self::default() };
    }
}

/// The vendor's quota: requests in any window of a second, for each scope.
#[derive(Debug, Default)]
pub(super) struct Quota(HashMap<String, Window>);

impl Quota {
    /// Whether one more request is allowed; a limit of 0 allows all.
    pub(super) fn admits(&mut self, scope: &str, limit: u32) -> bool {
        if limit == 0 {
            return true;
        }
        let window = self.0.entry(scope.into()).or_default();
        let admits = window.count() < limit as usize;
        if admits {
            window.push();
        }
        admits
    }
}

/// The times of the requests in the last second.
#[derive(Clone, Debug, Default, PartialEq)]
struct Window(VecDeque<Instant>);

impl Window {
    /// The number of requests in the last second.
    fn count(&mut self) -> usize {
        let now = Instant::now();
        while self.0.front().is_some_and(|at| now - *at >= Duration::from_secs(1)) {
            self.0.pop_front();
        }
        self.0.len()
    }

    /// Adds a request now, and returns the number with it.
    fn push(&mut self) -> usize {
        self.0.push_back(Instant::now());
        self.count()
    }
}
