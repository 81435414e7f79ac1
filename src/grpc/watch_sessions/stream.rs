//! The messages of one stream. One task serves all sessions on it, with one timer.

use std::{
    collections::BTreeSet,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    task::coop::poll_proceed,
    time::{Instant, Sleep},
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::{
    entries::{Entries, Member, Stage, Start, Ticket},
    first_reads::{FirstReads, Opened, Progress},
    heartbeat::Heartbeat,
    ready::Ready,
    requests::{Requests, Want},
};
use crate::{
    credential::Credential,
    feed::{Feed, Key},
    grpc::{
        concurrency::StreamPermit,
        status,
        watch::{self, Composer, Next, Watched},
    },
    proto::{
        WatchSessionRequest,
        encoded::{EncodedWatchResponse, WatchSessionsResponseParts as Message},
    },
    traffic::RequestContext,
    wire::{self, Kind},
};

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
    pub following: Option<Message>,
    pub ending: Option<Ending>,
    pub turn: Turn,
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

/// Whose turn it is, so that none of the three can hold up the others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Turn {
    Requests,
    FirstReads,
    News,
}

/// The result of a step.
enum Step {
    Send(Message),
    End(Option<Status>),
    /// Something was done. There may be more to do.
    Work,
    /// There is nothing to do until the task is woken.
    Wait,
}

impl Sessions {
    /// Returns the next message.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Status>>> {
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
                Some(heartbeat) => {
                    Step::Send(Message { heartbeat: Some(heartbeat), ..Message::default() })
                }
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
                // First the whole message is read: it may remove what would be started.
                Turn::FirstReads if self.requests.is_reading() => Step::Wait,
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

    fn read_request(&mut self, cx: &mut Context<'_>) -> Step {
        let was_reading = self.requests.is_reading();
        match self.requests.poll_next(cx) {
            Poll::Ready(None) if self.entries.is_empty() => Step::End(None),
            // Now the first reads can go on.
            Poll::Pending | Poll::Ready(None) if was_reading => Step::Work,
            Poll::Pending | Poll::Ready(None) => Step::Wait,
            Poll::Ready(Some(Ok(Want::Add(request)))) => self.add(&request),
            Poll::Ready(Some(Ok(Want::Remove(session)))) => {
                self.entries.remove_session(&session);
                Step::Work
            }
            Poll::Ready(Some(Ok(Want::Heartbeat { interval, is_first }))) => {
                match watch::heartbeat_interval(Some(interval)) {
                    Ok(interval) if is_first => self.heartbeat.set_interval(interval),
                    Ok(_) => {}
                    Err(refusal) => return self.end(refusal),
                }
                Step::Work
            }
            Poll::Ready(Some(Err(status))) => self.end(status),
        }
    }

    fn end(&mut self, status: Status) -> Step {
        self.ending = Some(Ending::Now(Some(status)));
        Step::Work
    }

    fn add(&mut self, request: &WatchSessionRequest) -> Step {
        match self.admit(request) {
            Ok(Some(ticket)) => {
                self.first_reads.push(ticket);
                Step::Work
            }
            Ok(None) => Step::Work,
            Err(refusal) => Step::Send(ended(&request.session_id, Some(&refusal))),
        }
    }

    /// Adds a session, unless it is on the stream already.
    fn admit(&mut self, request: &WatchSessionRequest) -> Result<Option<Ticket>, Status> {
        let session = watch::session_id(request)?;
        if self.entries.contains(&session) {
            return Ok(None);
        }
        let known = watch::known(&self.composer.resume_tokens, &session, request)?;
        if let Some(interval) = request.heartbeat_interval {
            watch::heartbeat_interval(Some(interval))?;
        }
        let follow_after_end = watch::follow_after_end(request.follow_after_end)?;
        if self.entries.len() >= self.limit {
            return Err(status::too_many_watches("stream"));
        }
        let permit = self.permit.admit(&session)?;
        Ok(Some(self.entries.add(session, Start { known, follow_after_end }, permit)))
    }

    fn advance_first_reads(&mut self, cx: &mut Context<'_>) -> Step {
        let Self { entries, feed, credential, context, .. } = self;
        let limit = Instant::now() + self.default_deadline;
        let deadline = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        let progress = self.first_reads.advance(cx, |ticket, abort| {
            let entry = entries.get_mut(ticket)?;
            let start = entry.stage.begin_reading(abort)?;
            let key = Key { credential: credential.clone(), session: entry.session.clone() };
            let context = RequestContext { deadline: Some(deadline), ..context.clone() };
            let feed = feed.clone();
            Some(async move {
                let result = feed.subscribe(&key, context, start.known.as_deref()).await;
                Opened { start, result }
            })
        });
        match progress {
            Progress::Opened(ticket, opened) => self.open(ticket, opened),
            Progress::Some => Step::Work,
            Progress::None => Step::Wait,
        }
    }

    /// Begins to tell a session whose first answer has come.
    fn open(&mut self, ticket: Ticket, opened: Opened) -> Step {
        let Some(entry) = self.entries.get_mut(ticket) else { return Step::Work };
        let Opened { start: Start { known, follow_after_end }, result } = opened;
        match result {
            Ok(subscription) => {
                let bell = self.ready.bell(ticket);
                subscription.wake(Waker::from(bell.clone()));
                let session = entry.session.clone();
                let watched = Watched::new(session, subscription, known, follow_after_end);
                let member = Member { watched, bell, repeats_stale: false, is_timed: false };
                entry.stage = Stage::Watched(member);
                self.tell(ticket)
            }
            Err(error) => self.lose(ticket, &error),
        }
    }

    fn tell_next(&mut self) -> Step {
        match self.ready.pop() {
            Some(ticket) => self.tell(ticket),
            None => Step::Wait,
        }
    }

    /// Sends the next message of a session, if there is one.
    fn tell(&mut self, ticket: Ticket) -> Step {
        let Some(member) = self.entries.member_mut(ticket) else { return Step::Work };
        let Member { watched, bell, repeats_stale, is_timed } = member;
        bell.rearm();
        let message = match watched.next(&self.composer) {
            Next::Send(message) => {
                // There may be more, which waits for its turn.
                bell.ring();
                message
            }
            Next::Wait => match watched.over_at(&self.composer) {
                Some(at) if at <= Instant::now() => watched.heartbeat(&self.composer, true),
                over_at => {
                    if let Some(at) = over_at
                        && !mem::replace(is_timed, true)
                    {
                        self.over.insert((at, ticket));
                    }
                    if !mem::take(repeats_stale) || !watched.is_stale() {
                        return Step::Work;
                    }
                    watched.heartbeat(&self.composer, false)
                }
            },
            Next::Drain => {
                self.end_after_heartbeat(status::draining());
                return Step::Work;
            }
            Next::End(error) => return self.lose(ticket, &error),
        };
        self.update(ticket, &message)
    }

    fn update(&mut self, ticket: Ticket, message: &EncodedWatchResponse) -> Step {
        let session = if message.is_terminal {
            let session = self.entries.remove(ticket);
            self.following = session.as_ref().map(|session| ended(session.as_str(), None));
            session
        } else {
            self.entries.get_mut(ticket).map(|entry| entry.session.clone())
        };
        let session_id = session.map(|session| session.as_str().to_owned()).unwrap_or_default();
        Step::Send(Message { session_id, update: Some(message.bytes()), ..Message::default() })
    }

    /// Ends a session, or the stream if the credential is refused.
    fn lose(&mut self, ticket: Ticket, error: &wire::Error) -> Step {
        let Some(entry) = self.entries.get_mut(ticket) else { return Step::Work };
        let status = status::of_session(error, &entry.session);
        if refuses_credential(error) {
            self.ending = Some(Ending::Refused(status));
            return Step::Work;
        }
        match self.entries.remove(ticket) {
            Some(session) => Step::Send(ended(session.as_str(), Some(&status))),
            None => Step::Work,
        }
    }
}

impl Turn {
    fn next(self) -> Self {
        match self {
            Turn::Requests => Turn::FirstReads,
            Turn::FirstReads => Turn::News,
            Turn::News => Turn::Requests,
        }
    }
}

/// Whether the error is about the credential, and so about all sessions of the stream.
fn refuses_credential(error: &wire::Error) -> bool {
    matches!(error.kind, Kind::CredentialRejected | Kind::NoSeat)
}

/// The last message of a session. `None` is OK.
fn ended(session: &str, status: Option<&Status>) -> Message {
    let status = status.map_or_else(tonic_types::Status::default, status::to_proto);
    Message { session_id: session.to_owned(), ended: Some(status), ..Message::default() }
}
