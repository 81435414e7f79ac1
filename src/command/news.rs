//! The messages of watches as text: what is new about a session.

use super::{output::DIM, status};
use crate::{
    client::Failure,
    proto::{
        WatchSessionResponse, WatchSessionsResponse, watch_session_response::EventType,
        watch_sessions_response::Body,
    },
};

/// A message as one line, or `None` if it tells nothing new.
pub fn line(message: &WatchSessionsResponse) -> Option<String> {
    let (news, at) = match message.body.as_ref()? {
        Body::Update(update) => (of_update(update)?, update.observed_at.as_ref()),
        Body::Ended(status) if status.code == 0 => return None,
        Body::Ended(status) => (Failure::from(status).to_string(), None),
        Body::Heartbeat(_) => return None,
    };
    let at = at.map_or_else(|| " ".repeat(9), time_of_day);
    Some(format!("{DIM}{at}{DIM:#}  {}  {news}", message.session_id))
}

/// What an update tells, or `None` if it tells nothing new.
pub fn of_update(update: &WatchSessionResponse) -> Option<String> {
    let session = update.session.as_ref();
    let news = match update.event_type() {
        EventType::Snapshot => session.map(|session| status::name(session.status()))?,
        EventType::Changed => {
            let steps = update.transitions.iter().map(status::transition);
            let steps = steps.collect::<Vec<_>>().join(", ");
            let fields = fields(update);
            [steps, fields]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("  ")
        }
        EventType::Stale => {
            let cause = update.stale_cause.as_ref();
            cause.map_or_else(|| "stale".to_owned(), |cause| format!("stale: {}", cause.message))
        }
        EventType::Heartbeat | EventType::Unspecified => return None,
    };
    Some(news)
}

/// The changed fields without the status, because the transitions show it.
fn fields(update: &WatchSessionResponse) -> String {
    let paths = update.changed_fields.iter().flat_map(|mask| &mask.paths).map(String::as_str);
    let others = paths.filter(|path| !matches!(*path, "status" | "upstream_status"));
    let others = others.collect::<Vec<_>>().join(", ");
    if others.is_empty() { others } else { format!("{DIM}{others}{DIM:#}") }
}

/// The time of day in UTC, such as `06:00:03Z`.
pub fn time_of_day(time: &prost_types::Timestamp) -> String {
    let seconds = time.seconds.rem_euclid(24 * 60 * 60);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}Z")
}
