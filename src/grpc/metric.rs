//! The metrics of watches: their names, and what each tells an operator.

use std::time::Duration;

use jiff::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::{model::Transition, proto::watch_session_response::EventType};

const MESSAGES: &str = "gotoassist_watch_messages_total";
const TRANSITIONS: &str = "gotoassist_transitions_total";
const DELIVERY_LAG: &str = "gotoassist_watch_delivery_lag_seconds";

/// Gives each its help text. Does nothing before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(MESSAGES, "Messages of watches, by type of event");
    describe_counter!(
        TRANSITIONS,
        "Status changes told to watchers, by whether polling saw them or they were inferred"
    );
    describe_histogram!(
        DELIVERY_LAG,
        Unit::Seconds,
        "Time from GoToAssist's answer that showed a change to the message for a watcher"
    );
}

pub(super) fn count_message(event_type: EventType) {
    let name = event_type.as_str_name();
    let name = name.strip_prefix("EVENT_TYPE_").unwrap_or(name);
    counter!(MESSAGES, "event_type" => name).increment(1);
}

pub(super) fn count_transitions(transitions: &[Transition]) {
    for transition in transitions {
        let is_inferred = if transition.inferred { "true" } else { "false" };
        counter!(TRANSITIONS, "inferred" => is_inferred).increment(1);
    }
}

pub(super) fn record_delivery(observed_at: Timestamp, now: Timestamp) {
    let lag = Duration::try_from(now.duration_since(observed_at)).unwrap_or_default();
    histogram!(DELIVERY_LAG).record(lag);
}
