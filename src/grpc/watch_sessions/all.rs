//! `all`: the sessions of the caller's account, which the vendor's list shows.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use crate::{
    credential::Credential,
    feed::{Feed, Found, Roster},
    grpc::{status, value},
    proto::AllSessions,
    wire::Error,
};

/// The vendor keeps sessions for at least this long.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A roster, and what was taken from it.
type Taken = (Roster, Result<Vec<Found>, Error>);

/// The sessions of an account that are found one after the other.
pub(super) struct All {
    found: VecDeque<Found>,
    next: Pin<Box<dyn Future<Output = Taken> + Send>>,
}

impl All {
    /// Begins to look for sessions. `None` if the service does not read the list.
    pub fn new(feed: &Feed, credential: &Credential, from_time: Timestamp) -> Option<Self> {
        let roster = feed.roster(credential, from_time)?;
        Some(Self { found: VecDeque::new(), next: Box::pin(take(roster)) })
    }

    /// Returns the next session that is found. The error says why the list cannot be read any more.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Found, Error>> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Poll::Ready(Ok(found));
            }
            let (roster, found) = ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(take(roster));
            self.found = found?.into();
        }
    }
}

async fn take(mut roster: Roster) -> Taken {
    let found = roster.next().await;
    (roster, found)
}

/// The time from which on sessions are found.
pub(super) fn from_time(asked: &AllSessions, now: Timestamp) -> Result<Timestamp, Status> {
    let Some(from_time) = &asked.from_time else { return Ok(now) };
    let from_time = status::checked("all.from_time", value::time(from_time))?;
    let earliest = now.saturating_sub(LONGEST).unwrap_or(Timestamp::MIN);
    Ok(from_time.clamp(earliest, now))
}
