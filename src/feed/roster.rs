//! The sessions of an account that are open, or begin later. The vendor's list shows them.

use std::{collections::HashMap, fmt, mem, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::poll_result::ErrorClass;
use crate::{
    model::{ListedSession, SessionId, UtcTime},
    wire::Error,
};

/// A session is remembered for this long after the list showed it for the last time.
const MEMORY: SignedDuration = SignedDuration::from_hours(48);

/// The first and the longest pause after the list could not be read.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// A subscription to the sessions of an account. While it exists, the list is read however few
/// sessions are polled.
pub struct Roster(pub(super) Arc<Entries>);

/// What the list has shown for one roster.
pub(super) struct Entries {
    /// Sessions that began since then are in the roster, also if they are over.
    pub since: Timestamp,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The sessions that were found, by id and by token, and when the list showed them last.
    known: HashMap<SessionId, Timestamp>,
    /// The sessions that were found and not yet taken.
    found: Vec<SessionId>,
    /// Why the list cannot be read any more.
    end: Option<Error>,
}

/// A session that the list shows.
pub(super) struct Found {
    /// The id, or the token of a session without an id.
    session: SessionId,
    /// The token, if the session also has an id.
    token: Option<SessionId>,
    is_over: bool,
    started_at: Option<Timestamp>,
}

impl Roster {
    /// Waits for sessions that were not found before, by id, or by token if they have no id yet. A
    /// session that was found by its token is not found again by its id. The error says why the
    /// list cannot be read.
    pub async fn next(&mut self) -> Result<Vec<SessionId>, Error> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut state = self.0.state.lock();
                if !state.found.is_empty() {
                    return Ok(mem::take(&mut state.found));
                }
                if let Some(error) = &state.end {
                    return Err(error.clone());
                }
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("since", &self.0.since).finish_non_exhaustive()
    }
}

impl Entries {
    pub fn new(since: Timestamp) -> Self {
        Self { since, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds the sessions of one reading of the list.
    pub fn offer(&self, sessions: &[Found], now: Timestamp) {
        let mut state = self.state.lock();
        for Found { session, token, is_over, started_at } in sessions {
            if *is_over && started_at.is_none_or(|started_at| started_at < self.since) {
                continue;
            }
            // Not `any`, which would end at the first name.
            let names = [Some(session), token.as_ref()].into_iter().flatten();
            let known = names.filter(|name| state.known.insert((*name).clone(), now).is_some());
            if known.count() == 0 {
                state.found.push(session.clone());
            }
        }
        state.known.retain(|_, seen_at| now.duration_since(*seen_at) < MEMORY);
        drop(state);
        self.changed.notify_one();
    }

    /// Notes that the list could not be read. Returns whether that is final.
    pub fn fail(&self, error: &Error) {
        match ErrorClass::of(error) {
            ErrorClass::Transient => {}
            ErrorClass::Absent(_) | ErrorClass::Refused => {
                self.state.lock().end.get_or_insert_with(|| error.clone());
                self.changed.notify_one();
            }
        }
    }
}

impl Found {
    /// The session of an element, if the element names it. `None` also if it was over before
    /// `since`.
    pub fn of(element: &ListedSession, since: Timestamp) -> Option<Self> {
        let session = &element.session;
        let started_at = session.started_at.map(UtcTime::to_timestamp);
        let is_over = session.status().is_final();
        if is_over && started_at.is_none_or(|started_at| started_at < since) {
            return None;
        }
        let id: Option<SessionId> = session.session_id.parse().ok();
        let token = element.start_token.as_deref().and_then(|token| token.parse().ok());
        let (session, token) = match (id, token) {
            (Some(id), token) => (id.clone(), token.filter(|token| *token != id)),
            (None, Some(token)) => (token, None),
            (None, None) => return None,
        };
        Some(Self { session, token, is_over, started_at })
    }
}

/// The pause after this many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    first.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Session, wire::Kind};

    fn listed(id: &str, token: &str, status: &str, started_at: i64) -> Option<Found> {
        let session = Session {
            session_id: id.to_owned(),
            upstream_status: status.to_owned(),
            started_at: UtcTime::from_nanoseconds(i128::from(started_at) * 1_000_000_000),
            ..Session::default()
        };
        let start_token = Some(token.to_owned()).filter(|token| !token.is_empty());
        Found::of(&ListedSession { session, start_token }, at(100))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn taken(roster: &mut Roster) -> Vec<String> {
        let found = roster.next().await.unwrap();
        found.iter().map(|session| session.as_str().to_owned()).collect()
    }

    #[tokio::test]
    async fn each_session_is_found_once_whether_by_its_token_or_its_id() {
        let mut roster = Roster(Arc::new(Entries::new(at(100))));
        let offer = |sessions: [Option<Found>; 4], second| {
            let sessions: Vec<_> = sessions.into_iter().flatten().collect();
            roster.0.offer(&sessions, at(second));
        };
        let early = [
            listed("", "t1", "notStarted", 0),
            listed("2", "t2", "active", 50),
            listed("3", "3", "waiting", 50),
            listed("4", "", "complete", 120),
        ];
        offer(early, 130);
        let later = [
            listed("1", "t1", "waiting", 140),
            listed("2", "t2", "complete", 50),
            listed("", "", "waiting", 140),
            listed("5", "t5", "waiting", 141),
        ];
        offer(later, 142);
        assert_eq!(taken(&mut roster).await, ["t1", "2", "3", "4", "5"]);
    }

    #[tokio::test]
    async fn a_refused_list_ends_a_roster_and_a_failing_one_does_not() {
        let mut roster = Roster(Arc::new(Entries::new(at(100))));
        roster.0.fail(&Error::new(Kind::Unavailable));
        roster.0.offer(&[listed("1", "", "active", 90).unwrap()], at(110));
        assert_eq!(taken(&mut roster).await, ["1"]);
        roster.0.fail(&Error::new(Kind::CredentialRejected));
        let error = roster.next().await.unwrap_err();
        assert_eq!(error.kind, Kind::CredentialRejected);
    }
}
