//! The task that polls one session as long as somebody watches it. The only place in the feed that
//! spawns.

use std::{collections::hash_map::Entry, future::pending, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Ask, BoxedReply, Key, Reading, Shared, effect::Effect, metric, pace::weight, poller::Poller,
};
use crate::{model::Status, trace::Span, traffic::Urgency, wire, wire::Kind};

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

/// A request under way.
struct Request {
    sent_at: Instant,
    reply: BoxedReply,
    span: Span,
}

impl Drop for Poll<'_> {
    /// However the poll ends, by panic too, the next watcher must not find it, and those who watch
    /// must hear of it. Under the lock: of a drain they hear before or not at all.
    fn drop(&mut self) {
        let mut pollers = self.shared.pollers();
        self.poller.state.send_if_modified(|state| {
            let is_lost = state.end.is_none() && !state.is_closing;
            if is_lost {
                state.end = Some(Arc::new(wire::Error::new(Kind::Unavailable)));
            }
            is_lost
        });
        if let Entry::Occupied(entry) = pollers.by_key.entry(self.key.index())
            && Arc::ptr_eq(entry.get(), self.poller)
        {
            entry.remove();
            self.shared.identities.forget(&self.key.index());
        }
    }
}

impl Poll<'_> {
    async fn run(&self) {
        let mut request: Option<Request> = None;
        loop {
            let schedule = self.poller.schedule(&self.shared.settings);
            tokio::select! {
                biased;
                reply = reply(request.as_mut()) => {
                    let Some(Request { sent_at, span, .. }) = request.take() else { continue };
                    let effect = self.poller.accept(reply, sent_at, &self.shared.settings);
                    metric::count_poll(effect);
                    span.end_poll(effect.name(), effect.outcome());
                    if effect == Effect::Ended {
                        return;
                    }
                    self.shared.identities.set(self.key.index(), self.poller.identity());
                }
                () = at(schedule.end) => return self.poller.end_outage(),
                () = at(schedule.staleness) => self.poller.tell_stale(),
                () = self.poller.rescheduled.notified() => {
                    if self.poller.state.borrow().end.is_some() {
                        return;
                    }
                }
                () = self.is_due(schedule.request), if request.is_none() => {
                    request = Some(self.ask(schedule.answer));
                }
            }
        }
    }

    /// Returns when it is time to ask and there is somebody to ask for.
    async fn is_due(&self, due_at: Instant) {
        sleep_until(due_at).await;
        let mut subscribers = self.poller.subscribers.subscribe();
        // The sender is in the poller, so this never fails.
        let _ = subscribers.wait_for(|count| *count > 0).await;
    }

    fn ask(&self, since: Instant) -> Request {
        let latest = self.poller.state.borrow().reading.clone();
        let age = self.shared.clock.now().duration_since(began_at(&latest));
        let status = latest.session.status();
        let weight = weight(status, Duration::try_from(age).unwrap_or_default());
        let span = self.poller.links.poll();
        let ask = Ask::Next(Urgency { since, weight }, span.cause());
        let reply = (self.shared.read)(self.key.clone(), ask);
        Request { sent_at: Instant::now(), reply, span }
    }

    /// Returns when the last watcher has left and nobody came back in time.
    async fn abandoned(&self) {
        let mut subscribers = self.poller.subscribers.subscribe();
        loop {
            let _ = subscribers.wait_for(|count| *count == 0).await;
            let back = subscribers.wait_for(|count| *count > 0);
            if timeout(self.shared.settings.linger, back).await.is_err() {
                // Watchers join under this lock, so nobody can join a poll that is about to go.
                let mut pollers = self.shared.pollers();
                if *self.poller.subscribers.borrow() == 0 {
                    pollers.by_key.remove(&self.key.index());
                    self.shared.identities.forget(&self.key.index());
                    return;
                }
            }
        }
    }
}

async fn reply(request: Option<&mut Request>) -> super::Reply {
    match request {
        Some(request) => request.reply.as_mut().await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
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
    told.map_or(reading.observed_at, |told| told.to_timestamp().min(reading.observed_at))
}
