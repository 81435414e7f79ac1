//! The task that polls a session while it is watched. No other module of the feed spawns tasks.

use std::{future::pending, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    metric,
    poll_interval::{stretched, weight},
    poll_result::PollResult,
    poller::{Poller, Sender},
    registry::Registry,
    request::{Ask, BoxedReply, Key, Reply},
    revision::Revision,
};
use crate::{
    fleet::polls::{Event, Published},
    model::{Identity, Status},
    trace::Span,
    traffic::Urgency,
    wire::{Error, Kind},
};

/// Polls until no watcher is left or the poll ends.
pub(super) fn start(registry: Arc<Registry>, key: Key, poller: Arc<Poller>) {
    tokio::spawn(async move {
        let poll = Poll { registry: &registry, key: &key, poller: &poller };
        tokio::select! {
            biased;
            () = poll.abandoned() => {}
            () = poll.run() => {}
        }
    });
}

struct Poll<'a> {
    registry: &'a Registry,
    key: &'a Key,
    poller: &'a Arc<Poller>,
}

/// An in-flight request.
struct Request {
    sent_at: Instant,
    reply: BoxedReply,
    span: Span,
}

impl Drop for Poll<'_> {
    /// Runs whichever way the poll ends, even by a panic. New watchers must not find an ended poll,
    /// and its watchers must learn that it ended. If the feed is closing, the watchers know
    /// already: [`Feed::close`](super::Feed::close) told them under the same lock.
    fn drop(&mut self) {
        let mut polls = self.registry.polls.lock();
        self.poller.state.send_if_modified(|state| {
            let is_lost = state.end.is_none() && !state.is_closing;
            if is_lost {
                state.end = Some(Arc::new(Error::new(Kind::Unavailable)));
            }
            is_lost
        });
        self.registry.remove(&mut polls, self.key, self.poller);
    }
}

impl Poll<'_> {
    async fn run(&self) {
        let mut request: Option<Request> = None;
        let mut identity = None;
        let (settings, Key { credential, session }) = (&self.registry.settings, self.key);
        let mut shared = settings.fleet.join(credential, session, self.poller.outbox.as_ref());
        loop {
            if let Some(request) = self.poller.take_request() {
                shared.hint(request);
            }
            let schedule = self.poller.schedule(settings);
            let due_at = if shared.may_ask() { schedule.request } else { schedule.overdue };
            tokio::select! {
                biased;
                reply = reply(request.as_mut()) => {
                    let Some(Request { sent_at, span, .. }) = request.take() else { continue };
                    let result = self.poller.accept(reply, sent_at, Sender::Own, settings);
                    metric::count_poll(result);
                    span.end_poll(result.name(), result.outcome());
                    if result == PollResult::Ended {
                        return;
                    }
                    self.identify(&mut identity);
                }
                () = at(schedule.end) => return self.poller.end_outage(),
                () = at(schedule.staleness) => self.poller.tell_stale(),
                () = self.poller.rescheduled.notified() => {
                    if self.poller.state.borrow().end.is_some() {
                        return;
                    }
                }
                () = self.is_due(due_at), if request.is_none() => {
                    request = Some(self.ask(schedule.replied_at));
                }
                // The last one, so that no flood of messages keeps the others back.
                event = shared.next() => match event {
                    Event::Reply(Published { reply, sent_at }) => {
                        let result = self.poller.accept(reply, sent_at, Sender::Other, settings);
                        if result == PollResult::Ended {
                            return;
                        }
                        self.identify(&mut identity);
                    }
                    Event::Hint(request) => self.poller.serve(&request, settings),
                    Event::Role => {}
                },
            }
        }
    }

    /// Notes the identity of the session. It changes only once, with the first answer that has an id.
    fn identify(&self, identity: &mut Option<Identity>) {
        let latest = self.poller.identity();
        if latest != *identity {
            *identity = latest;
            self.registry.identify(self.key, self.poller, latest);
        }
    }

    /// Waits until the next request is due and there is a watcher.
    async fn is_due(&self, due_at: Instant) {
        sleep_until(due_at).await;
        let mut subscribers = self.poller.subscribers.subscribe();
        // This never fails because the poller owns the sender.
        let _ = subscribers.wait_for(|count| *count > 0).await;
    }

    fn ask(&self, since: Instant) -> Request {
        let latest = self.poller.state.borrow().revision.clone();
        let age = self.registry.clock.now().duration_since(status_since(&latest));
        let weight = weight(latest.session.status(), Duration::try_from(age).unwrap_or_default());
        let span = self.poller.links.poll();
        let weight = stretched(weight, self.poller.stretch());
        let urgency = Urgency { since, weight, hint: self.poller.hint.clone() };
        let ask = Ask::Next(urgency, span.cause());
        let reply = (self.registry.read)(self.key.clone(), ask);
        Request { sent_at: Instant::now(), reply, span }
    }

    /// Waits until the last watcher has left and none has come back within the linger time. Then
    /// removes the poll.
    async fn abandoned(&self) {
        let mut subscribers = self.poller.subscribers.subscribe();
        loop {
            let _ = subscribers.wait_for(|count| *count == 0).await;
            let back = subscribers.wait_for(|count| *count > 0);
            if timeout(self.registry.settings.linger, back).await.is_err() {
                // Watchers join under this lock, so no watcher can join a poll that is being
                // removed.
                let mut polls = self.registry.polls.lock();
                if *self.poller.subscribers.borrow() == 0 {
                    self.registry.remove(&mut polls, self.key, self.poller);
                    return;
                }
            }
        }
    }
}

async fn reply(request: Option<&mut Request>) -> Reply {
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

/// When the session entered its status, according to the vendor's timestamps. Without a timestamp,
/// the time of the revision.
fn status_since(revision: &Revision) -> Timestamp {
    let session = &revision.session;
    let time = match session.status() {
        Status::NotStarted | Status::Unknown => None,
        Status::Waiting => session.started_at,
        Status::Active => session.customer_joined_at,
        Status::Complete | Status::Abandoned => session.ended_at,
    };
    time.map_or(revision.observed_at, |time| time.to_timestamp().min(revision.observed_at))
}
