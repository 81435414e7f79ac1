//! The messages of one stream. One task serves all sessions on it, with one timer.

mod membership;
mod news;

use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::coop::poll_proceed,
    time::{Instant, Sleep},
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::{
    all::All,
    entries::{Entries, Ticket},
    first_reads::FirstReads,
    heartbeat::Heartbeat,
    ready::Ready,
    requests::Requests,
};
use crate::{
    credential::Credential,
    feed::Feed,
    grpc::{concurrency::StreamPermit, status, watch::Composer},
    proto::encoded::WatchSessionsResponseParts,
    traffic::RequestContext,
};
use news::ended;

/// The news of a stream is sent at most this often, so that a busy stream sends what has come
/// meanwhile with one system call. A change after a quiet time does not wait.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// One stream.
pub(super) struct Sessions {
    pub composer: Composer,
    pub feed: Feed,
    pub credential: Credential,
    pub permit: StreamPermit,
    /// The greatest number of sessions.
    pub limit: usize,
    /// The context of the first reads, without their deadline.
    pub context: RequestContext,
    pub default_deadline: Duration,
    pub requests: Requests,
    pub entries: Entries,
    /// The sessions of the account, if the client wants them.
    pub all: Option<All>,
    /// Where to continue to remove the sessions that `all` has found.
    pub removing_from: Option<Ticket>,
    pub first_reads: FirstReads,
    pub ready: Ready,
    /// When the time to follow a session after its end will have passed.
    pub over: BTreeSet<(Instant, Ticket)>,
    pub heartbeat: Heartbeat,
    pub timer: Pin<Box<Sleep>>,
    pub rotation: Instant,
    pub deadline: Option<Instant>,
    pub drain: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What to send before everything else.
    pub following: Option<WatchSessionsResponseParts>,
    pub ending: Option<Ending>,
    pub turn: Turn,
    pub batch: Batch,
}

/// When news is sent.
pub(super) enum Batch {
    /// News is being sent.
    Open,
    /// The next news waits until then.
    ClosedUntil(Instant),
}

/// How the stream ends.
pub(super) enum Ending {
    /// With this status, after a heartbeat.
    Planned(Status),
    /// With this status, after each session has got it.
    Refused(Status),
    /// At once. `None` is OK.
    Now(Option<Status>),
}

/// Whose turn it is, so that none of the four can hold up the others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Turn {
    Requests,
    Found,
    FirstReads,
    News,
}

/// The result of a step.
enum Step {
    Send(WatchSessionsResponseParts),
    End(Option<Status>),
    /// Something was done. There may be more to do.
    Work,
    /// There is nothing to do until the task is woken.
    Wait,
}

impl Sessions {
    /// Returns the next message.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<WatchSessionsResponseParts, Status>>> {
        self.ready.register(cx.waker());
        self.check(cx);
        loop {
            // A task that tells thousands of sessions in a row lets others run in between.
            let budget = ready!(poll_proceed(cx));
            let step = self.step(cx);
            match step {
                Step::Send(message) => {
                    budget.made_progress();
                    return Poll::Ready(Some(Ok(message)));
                }
                Step::End(status) => return Poll::Ready(status.map(Err)),
                Step::Work => budget.made_progress(),
                Step::Wait => {
                    if self.sleep(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.check(cx);
                }
            }
        }
    }

    /// Checks whether something is due or the stream must end.
    fn check(&mut self, cx: &mut Context<'_>) {
        if self.ending.is_none() && self.drain.as_mut().poll(cx).is_ready() {
            self.end_after_heartbeat(status::draining());
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.ending = Some(Ending::Now(Some(status::deadline_exceeded())));
        }
        if self.ending.is_none() && self.rotation <= now {
            self.end_after_heartbeat(status::stream_rotated());
        }
        self.heartbeat.check(now);
        while let Some((at, ticket)) = self.over.first().copied()
            && at <= now
        {
            self.over.pop_first();
            if let Some(member) = self.entries.member_mut(ticket) {
                member.is_timed = false;
                member.bell.ring();
            }
        }
    }

    /// Whether a request is half done.
    fn is_obeying(&self) -> bool {
        self.requests.is_reading() || self.removing_from.is_some()
    }

    fn end_after_heartbeat(&mut self, status: Status) {
        self.ending = Some(Ending::Planned(status));
        self.heartbeat.begin();
    }

    /// Waits until something is due. Registers the task.
    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let next = [
            Some(self.rotation),
            Some(self.heartbeat.due_at()),
            self.deadline,
            self.over.first().map(|(at, _)| *at),
            self.first_reads.overdue_at(),
            self.batch_at(),
        ];
        let next = next.into_iter().flatten().fold(self.rotation, Instant::min);
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Step {
        if let Some(message) = self.following.take() {
            return Step::Send(message);
        }
        if let Some(Ending::Now(status)) = &mut self.ending {
            return Step::End(status.take());
        }
        if self.heartbeat.is_begun() {
            return match self.heartbeat.advance(&mut self.entries) {
                Some(heartbeat) => Step::Send(WatchSessionsResponseParts {
                    heartbeat: Some(heartbeat),
                    ..WatchSessionsResponseParts::default()
                }),
                None => Step::Work,
            };
        }
        match &self.ending {
            Some(Ending::Planned(status)) => return Step::End(Some(status.clone())),
            Some(Ending::Refused(status)) => {
                return match self.entries.pop_first() {
                    Some(session) => Step::Send(ended(session.as_str(), Some(status))),
                    None => Step::End(Some(status.clone())),
                };
            }
            Some(Ending::Now(_)) | None => {}
        }
        let first = self.turn;
        loop {
            let turn = self.turn;
            self.turn = turn.next();
            let step = match turn {
                Turn::Requests => self.read_request(cx),
                // First the whole message is read: it may remove what would be started, and it may
                // add with its resume token what would be found.
                Turn::Found | Turn::FirstReads if self.is_obeying() => Step::Wait,
                Turn::Found => self.find(cx),
                Turn::FirstReads => self.advance_first_reads(cx),
                Turn::News => self.tell_next(),
            };
            match step {
                Step::Wait if self.turn == first => return Step::Wait,
                Step::Wait => {}
                Step::Send(_) | Step::End(_) | Step::Work => return step,
            }
        }
    }
}

impl Turn {
    fn next(self) -> Self {
        match self {
            Turn::Requests => Turn::Found,
            Turn::Found => Turn::FirstReads,
            Turn::FirstReads => Turn::News,
            Turn::News => Turn::Requests,
        }
    }
}
