//! The metrics of watches.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use crate::{model::Transition, proto::watch_session_response::EventType};

const MESSAGES: &str = "gotoassist_watch_messages_total";
const TRANSITIONS: &str = "gotoassist_transitions_total";
const DELIVERY_LAG: &str = "gotoassist_watch_delivery_lag_seconds";

/// Describes the metrics. Has no effect before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(MESSAGES, "Messages sent to watchers, by type of event");
    describe_counter!(
        TRANSITIONS,
        "Status changes sent to watchers, by whether a poll saw them or they were inferred"
    );
    describe_histogram!(
        DELIVERY_LAG,
        Unit::Seconds,
        "Time from the answer of GoToAssist that showed a change to the message for a watcher"
    );
}

/// Handles of the metrics that the messages of watches update. Each metric is looked up only once.
#[derive(Clone, Debug)]
pub(super) struct WatchMetrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    snapshots: Counter,
    changes: Counter,
    heartbeats: Counter,
    stale: Counter,
    seen_transitions: Counter,
    inferred_transitions: Counter,
    delivery_lag: Histogram,
}

impl WatchMetrics {
    pub fn new() -> Self {
        let messages = |event_type| counter!(MESSAGES, "event_type" => event_type);
        let transitions = |is_inferred| counter!(TRANSITIONS, "inferred" => is_inferred);
        Self(Arc::new(Handles {
            snapshots: messages("SNAPSHOT"),
            changes: messages("CHANGED"),
            heartbeats: messages("HEARTBEAT"),
            stale: messages("STALE"),
            seen_transitions: transitions("false"),
            inferred_transitions: transitions("true"),
            delivery_lag: histogram!(DELIVERY_LAG),
        }))
    }

    pub fn count_message(&self, event_type: EventType) {
        let messages = match event_type {
            EventType::Snapshot => &self.0.snapshots,
            EventType::Changed => &self.0.changes,
            EventType::Heartbeat => &self.0.heartbeats,
            EventType::Stale => &self.0.stale,
            // Never sent.
            EventType::Unspecified => return,
        };
        messages.increment(1);
    }

    pub fn count_transitions(&self, transitions: &[Transition]) {
        for transition in transitions {
            let of_its_kind = if transition.inferred {
                &self.0.inferred_transitions
            } else {
                &self.0.seen_transitions
            };
            of_its_kind.increment(1);
        }
    }

    pub fn record_delivery(&self, observed_at: Timestamp, now: Timestamp) {
        let lag = Duration::try_from(now.duration_since(observed_at)).unwrap_or_default();
        self.0.delivery_lag.record(lag);
    }
}
