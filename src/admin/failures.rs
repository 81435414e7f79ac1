//! Counts recent failed calls by reason, for the status page. The metrics have the permanent
//! counts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// The greatest number of entries. Reasons and causes are constants, and there are fewer of them,
/// so the limit is only a safeguard.
const MAX_REASONS: usize = 64;

/// The failed calls by reason. All clones share them.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    by_reason: Arc<Mutex<BTreeMap<Key, Known>>>,
}

/// A reason and its cause, if it has one.
type Key = (String, Option<String>);

#[derive(Clone, Copy, Debug)]
struct Known {
    code: &'static str,
    count: u64,
    last: Instant,
}

/// How often calls failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The stable reason of the error, such as `UPSTREAM_TIMEOUT`.
    pub reason: String,
    /// The cause of a failed connection to the vendor, if that is the reason.
    pub cause: Option<String>,
    /// The name of the status code, such as `UNAVAILABLE`.
    pub code: &'static str,
    /// How many calls, since the start.
    pub count: u64,
    /// The time since the last one.
    #[serde(rename = "age_seconds", serialize_with = "super::snapshot::seconds")]
    pub age: Duration,
}

impl Failures {
    /// Counts a failed call.
    pub fn record(&self, reason: &str, cause: Option<&str>, code: &'static str) {
        let key = (reason.to_owned(), cause.map(str::to_owned));
        let mut by_reason = self.by_reason.lock();
        let now = Instant::now();
        if let Some(known) = by_reason.get_mut(&key) {
            *known = Known { code, count: known.count + 1, last: now };
        } else if by_reason.len() < MAX_REASONS {
            by_reason.insert(key, Known { code, count: 1, last: now });
        }
    }

    /// All reasons, the latest first.
    pub fn latest(&self) -> Vec<Failure> {
        let by_reason = self.by_reason.lock();
        let failures =
            by_reason.iter().map(|((reason, cause), &Known { code, count, last })| Failure {
                reason: reason.clone(),
                cause: cause.clone(),
                code,
                count,
                age: last.elapsed(),
            });
        let mut failures: Vec<_> = failures.collect();
        failures.sort_by_key(|failure| failure.age);
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_latest_reason_comes_first() {
        let failures = Failures::default();
        failures.record("A", None, "INTERNAL");
        tokio::time::advance(Duration::from_secs(5)).await;
        failures.record("B", Some("dns"), "UNAVAILABLE");
        failures.record("B", Some("dns"), "UNAVAILABLE");
        tokio::time::advance(Duration::from_secs(1)).await;
        failures.record("B", Some("reset"), "UNAVAILABLE");
        tokio::time::advance(Duration::from_secs(1)).await;

        let latest = failures.latest();
        let shown: Vec<_> = latest
            .iter()
            .map(|failure| (&*failure.reason, failure.cause.as_deref(), failure.count))
            .collect();
        let expected = [("B", Some("reset"), 1), ("B", Some("dns"), 2), ("A", None, 1)];
        assert_eq!(shown, expected);
        assert_eq!(latest[1].age.as_secs(), 2);
    }

    #[test]
    fn reasons_without_end_take_no_memory_without_end() {
        let failures = Failures::default();
        for number in 0..1000 {
            failures.record(&number.to_string(), None, "UNKNOWN");
        }
        assert_eq!(failures.latest().len(), MAX_REASONS);
    }
}
