//! The sessions of an account that are open, or begin later. The vendor's list shows them.

use std::{collections::HashMap, fmt, mem, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::poll_result::ErrorClass;
use crate::{
    model::{ListedSession, SessionId, UtcTime},
    wire::{Error, Kind},
};

/// A session is remembered for this long after the list showed it for the last time.
const MEMORY: SignedDuration = SignedDuration::from_hours(48);

/// The first and the longest pause after the list could not be read.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// A subscription to the sessions of an account. While it exists, the list is read however few
/// sessions are polled.
pub struct Roster(pub(super) Arc<Entries>);

/// What the list has shown for one roster.
pub(super) struct Entries {
    /// Sessions that ended since then are in the roster too.
    pub since: Timestamp,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The sessions that were found, by id and by token, and when the list showed them last.
    known: HashMap<SessionId, Timestamp>,
    /// The sessions that were found and not yet taken.
    found: Vec<Found>,
    /// Whether the list was read once. From then on, it need not cover what was before.
    was_read: bool,
    /// Since when the list cannot be read.
    failing_since: Option<Instant>,
    /// Why the list cannot be read any more.
    end: Option<Error>,
}

/// A session that the list shows.
#[derive(Clone)]
pub struct Found {
    /// The id, or the token of a session without an id.
    pub session: SessionId,
    /// The token, if the session also has an id.
    pub token: Option<SessionId>,
    over: Option<Over>,
}

/// The session is over.
#[derive(Clone, Copy)]
struct Over {
    /// When it ended. If the list does not show that, when it began.
    at: Option<Timestamp>,
}

impl Roster {
    /// Waits for sessions that were not found before, by id, or by token if they have no id yet. A
    /// session that was found by its token is not found again by its id. The error says why the
    /// list cannot be read.
    pub async fn next(&mut self) -> Result<Vec<Found>, Error> {
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
        state.was_read = true;
        state.failing_since = None;
        for found in sessions {
            if found.was_over_before(self.since) {
                continue;
            }
            let mut is_known = false;
            for name in found.names() {
                if let Some(seen_at) = state.known.get_mut(name) {
                    *seen_at = now;
                    is_known = true;
                } else {
                    state.known.insert(name.clone(), now);
                }
            }
            if !is_known {
                state.found.push(found.clone());
            }
        }
        state.known.retain(|_, seen_at| now.duration_since(*seen_at) < MEMORY);
        drop(state);
        self.changed.notify_one();
    }

    /// The list must cover the time from then on, and always that since `earliest`.
    pub fn window_from(&self, earliest: Timestamp) -> Timestamp {
        if self.state.lock().was_read { earliest } else { earliest.min(self.since) }
    }

    /// Notes that the list could not be read. That is final if the list is refused, or fails for
    /// longer than `outage_limit`.
    pub fn fail(&self, error: &Error, outage_limit: Duration) {
        let mut state = self.state.lock();
        let failing_since = *state.failing_since.get_or_insert_with(Instant::now);
        let is_final = match ErrorClass::of(error) {
            ErrorClass::Transient => {
                error.kind == Kind::MethodNotSupported || failing_since.elapsed() >= outage_limit
            }
            ErrorClass::Absent(_) | ErrorClass::Refused => true,
        };
        if is_final {
            state.end.get_or_insert_with(|| error.clone());
            drop(state);
            self.changed.notify_one();
        }
    }
}

impl Found {
    /// The session of an element, if the element names it. `None` also if it was over before
    /// `since`.
    pub fn of(element: &ListedSession, since: Timestamp) -> Option<Self> {
        let session = &element.session;
        let over = session.status().is_final().then(|| Over {
            at: session.ended_at.or(session.started_at).map(UtcTime::to_timestamp),
        });
        let id: Option<SessionId> = session.session_id.parse().ok();
        let token = element.start_token.as_deref().and_then(|token| token.parse().ok());
        let (session, token) = match (id, token) {
            (Some(id), token) => (id.clone(), token.filter(|token| *token != id)),
            (None, Some(token)) => (token, None),
            (None, None) => return None,
        };
        let found = Self { session, token, over };
        (!found.was_over_before(since)).then_some(found)
    }

    /// The id and the token.
    pub fn names(&self) -> impl Iterator<Item = &SessionId> {
        [Some(&self.session), self.token.as_ref()].into_iter().flatten()
    }

    fn was_over_before(&self, since: Timestamp) -> bool {
        self.over.is_some_and(|over| over.at.is_none_or(|at| at < since))
    }
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
        found.iter().map(|found| found.session.as_str().to_owned()).collect()
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

    #[tokio::test(start_paused = true)]
    async fn a_refused_list_ends_a_roster_and_one_that_fails_for_long() {
        let limit = Duration::from_mins(1);
        let begin = || Roster(Arc::new(Entries::new(at(100))));
        let mut roster = begin();
        roster.0.fail(&Error::new(Kind::Unavailable), limit);
        tokio::time::advance(limit).await;
        roster.0.offer(&[listed("1", "", "active", 90).unwrap()], at(110));
        roster.0.fail(&Error::new(Kind::Unavailable), limit);
        assert_eq!(taken(&mut roster).await, ["1"]);
        tokio::time::advance(limit).await;
        roster.0.fail(&Error::new(Kind::Timeout), limit);
        assert_eq!(roster.next().await.err().unwrap().kind, Kind::Timeout);

        for refusal in [Kind::CredentialRejected, Kind::NotFound, Kind::MethodNotSupported] {
            let mut roster = begin();
            roster.0.fail(&Error::new(refusal), limit);
            assert_eq!(roster.next().await.err().unwrap().kind, refusal);
        }
    }

    #[test]
    fn the_first_reading_covers_the_time_since_the_beginning() {
        let entries = Entries::new(at(100));
        assert_eq!(entries.window_from(at(500)), at(100));
        entries.offer(&[], at(600));
        assert_eq!(entries.window_from(at(500)), at(500));
    }

    #[test]
    fn a_session_that_is_over_counts_by_its_end() {
        let over = |started_at, ended_at: Option<i64>| {
            let time = |second: i64| UtcTime::from_nanoseconds(i128::from(second) * 1_000_000_000);
            let session = Session {
                session_id: "1".to_owned(),
                upstream_status: "complete".to_owned(),
                started_at: time(started_at),
                ended_at: ended_at.and_then(time),
                ..Session::default()
            };
            Found::of(&ListedSession { session, start_token: None }, at(100)).is_some()
        };
        assert!(over(50, Some(100)), "it was open then");
        assert!(!over(50, Some(99)));
        assert!(!over(50, None));
        assert!(over(100, None));
    }
}
