//! The task that polls one session as long as somebody watches it. The only place in the feed that
//! spawns.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{
    Ask, Key, Poller, Reading, Reply, Shared, metric,
    pace::{jittered, weight},
    settle::{Settle, Verdict},
};
use crate::{
    model::Status,
    rest::{self, Kind, Urgency},
    trace::Cause,
};

/// After a failure the next question comes after so long, then after twice that, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Polls until nobody watches any more, or there is nothing more to learn.
pub(super) fn start(shared: Arc<Shared>, key: Key, poller: Arc<Poller>) {
    tokio::spawn(async move {
        let poll = Poll { shared: &shared, key: &key, poller: &poller };
        tokio::select! {
            biased;
            () = poll.abandoned() => {}
            () = poll.run() => {}
        }
    });
}

struct Poll<'a> {
    shared: &'a Shared,
    key: &'a Key,
    poller: &'a Arc<Poller>,
}

impl Drop for Poll<'_> {
    /// However the poll ends, by panic too, the next watcher must not find it, and those who watch
    /// must hear of it. Under the lock: of a drain they hear before or not at all.
    fn drop(&mut self) {
        let mut pollers = self.shared.pollers();
        self.poller.state.send_if_modified(|state| {
            let is_lost = state.end.is_none() && !state.is_closing;
            if is_lost {
                state.end = Some(Arc::new(rest::Error::new(Kind::Unavailable)));
            }
            is_lost
        });
        if let Entry::Occupied(entry) = pollers.by_key.entry(self.key.index())
            && Arc::ptr_eq(entry.get(), self.poller)
        {
            entry.remove();
        }
    }
}

impl Poll<'_> {
    async fn run(&self) {
        let mut settle = Settle::default();
        let mut asked_at = Instant::now();
        let mut trouble_since = None;
        let mut pause = self.usual_pause();
        loop {
            self.rest(asked_at, pause).await;
            let latest = self.poller.state.borrow().reading.clone();
            let span = self.poller.links.poll();
            let reply = self.ask(&latest, asked_at, trouble_since, span.cause()).await;
            asked_at = Instant::now();
            let verdict = settle.judge(&latest, reply);
            metric::count_poll(&verdict);
            span.end_poll(verdict.name(), verdict.outcome());
            match verdict {
                Verdict::Same(observed_at) => {
                    trouble_since = None;
                    pause = self.usual_pause();
                    self.poller.confirm(observed_at);
                }
                Verdict::News(reading) => {
                    trouble_since = None;
                    pause = self.shared.settings.pace.interval(reading.session.status());
                    self.poller.publish(*reading);
                }
                Verdict::Doubtful => {
                    pause = self.shared.settings.confirm_after;
                    self.poller.count_answer();
                }
                Verdict::Failed(error) => {
                    let since = *trouble_since.get_or_insert(asked_at);
                    if asked_at.duration_since(since) >= self.shared.settings.outage_limit {
                        return self.poller.end(outage(error));
                    }
                    pause = retry_pause(settle.failures(), error.retry_after);
                    if settle.failures() >= self.shared.settings.stale_after {
                        self.poller.trouble(error);
                    }
                }
                Verdict::Over(error) => return self.poller.end(error),
            }
        }
    }

    /// Waits until it is time to ask and there is somebody to ask for.
    async fn rest(&self, asked_at: Instant, pause: Duration) {
        let due = asked_at + jittered(pause);
        let soon = asked_at + self.shared.settings.confirm_after;
        let mut attendance = self.poller.attendance.subscribe();
        tokio::select! {
            biased;
            () = sleep_until(due) => {}
            () = async {
                // The sender is in the poller, so this never fails.
                let _ = attendance.wait_for(|attendance| attendance.expecting > 0).await;
                sleep_until(soon).await;
            } => {}
        }
        let _ = self.poller.attendance.subscribe().wait_for(|there| there.watchers > 0).await;
    }

    /// Asks the vendor; gives up when the outage limit is over.
    async fn ask(
        &self,
        latest: &Reading,
        since: Instant,
        trouble: Option<Instant>,
        cause: Cause,
    ) -> Reply {
        let status = latest.session.status();
        let age = self.shared.clock.now().duration_since(began_at(latest));
        let weight = weight(status, Duration::try_from(age).unwrap_or_default());
        let ask = Ask::Next(Urgency { since, weight }, cause);
        let question = (self.shared.read)(self.key.clone(), ask);
        match trouble {
            None => question.await,
            Some(trouble) => timeout_at(trouble + self.shared.settings.outage_limit, question)
                .await
                .unwrap_or_else(|_| Err(rest::Error::new(Kind::Timeout))),
        }
    }

    fn usual_pause(&self) -> Duration {
        self.shared.settings.pace.interval(self.poller.state.borrow().reading.session.status())
    }

    /// Returns when the last watcher has left and nobody came back in time.
    async fn abandoned(&self) {
        let mut attendance = self.poller.attendance.subscribe();
        loop {
            let _ = attendance.wait_for(|there| there.watchers == 0).await;
            let back = attendance.wait_for(|there| there.watchers > 0);
            if timeout(self.shared.settings.linger, back).await.is_err() {
                // Watchers join under this lock, so nobody can join a poll that is about to go.
                let mut pollers = self.shared.pollers();
                if self.poller.attendance.borrow().watchers == 0 {
                    pollers.by_key.remove(&self.key.index());
                    return;
                }
            }
        }
    }
}

impl Poller {
    fn confirm(&self, observed_at: Timestamp) {
        self.advance(observed_at);
        self.state.send_if_modified(|state| state.trouble.take().is_some());
        self.count_answer();
    }

    fn publish(&self, reading: Reading) {
        let observed_at = reading.observed_at;
        self.state.send_modify(|state| {
            // Within, so that nobody counts the answer for the state before it.
            self.answers.fetch_add(1, Ordering::AcqRel);
            state.reading = Arc::new(reading);
            state.trouble = None;
        });
        // Only now: who looks in between must not take old content for new.
        self.advance(observed_at);
    }

    fn count_answer(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
        self.state.send_if_modified(|_| self.attendance.borrow().expecting > 0);
    }

    fn trouble(&self, error: rest::Error) {
        // Once for an outage: a later cause is no news.
        self.state.send_if_modified(|state| {
            let is_first = state.trouble.is_none();
            state.trouble.get_or_insert_with(|| Arc::new(error));
            is_first
        });
    }

    fn end(&self, error: rest::Error) {
        self.state.send_modify(|state| state.end = Some(Arc::new(error)));
    }
}

fn retry_pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let backoff = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(5));
    backoff.min(LONGEST_RETRY).max(retry_after.unwrap_or_default())
}

/// Whatever the vendor's trouble is, in the end it is not available.
fn outage(mut cause: rest::Error) -> rest::Error {
    cause.kind = Kind::Unavailable;
    cause
}

/// When the session got the status that it has, as far as it tells.
fn began_at(reading: &Reading) -> Timestamp {
    let session = &reading.session;
    let told = match session.status() {
        Status::NotStarted | Status::Unknown => None,
        Status::Waiting => session.started_at,
        Status::Active => session.customer_joined_at,
        Status::Complete | Status::Abandoned => session.ended_at,
    };
    told.map_or(reading.observed_at, |told| told.min(reading.observed_at))
}
