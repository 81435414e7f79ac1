//! What is sent of the sessions on a stream: first reads, news and ends.

use std::{
    mem,
    task::{Context, Waker},
};

use tokio::time::Instant;
use tonic::Status;

use super::{BATCH_INTERVAL, Batch, Ending, Sessions, Step};
use crate::{
    feed::Key,
    grpc::{
        status,
        watch::{Next, Watched},
        watch_sessions::{
            entries::{Member, Stage, Start, Ticket},
            first_reads::{Opened, Progress},
        },
    },
    proto::encoded::{EncodedWatchResponse, WatchSessionsResponseParts as Message},
    traffic::RequestContext,
    wire::{self, Kind},
};

impl Sessions {
    pub(super) fn advance_first_reads(&mut self, cx: &mut Context<'_>) -> Step {
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

    pub(super) fn tell_next(&mut self) -> Step {
        if let Batch::ClosedUntil(at) = self.batch
            && at > Instant::now()
        {
            return Step::Wait;
        }
        if let Some(ticket) = self.ready.pop() {
            self.batch = Batch::Open;
            return self.tell(ticket);
        }
        if let Batch::Open = self.batch {
            self.batch = Batch::ClosedUntil(Instant::now() + BATCH_INTERVAL);
        }
        Step::Wait
    }

    /// When the news that waits can be sent.
    pub(super) fn batch_at(&self) -> Option<Instant> {
        match self.batch {
            Batch::ClosedUntil(at) if !self.ready.is_empty() => Some(at),
            Batch::ClosedUntil(_) | Batch::Open => None,
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
        let status = self.composer.status(error, &entry.session);
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

/// Whether the error is about the credential, and so about all sessions of the stream.
pub(super) fn refuses_credential(error: &wire::Error) -> bool {
    matches!(error.kind, Kind::CredentialRejected | Kind::NoSeat)
}

/// The last message of a session. `None` is OK.
pub(super) fn ended(session: &str, status: Option<&Status>) -> Message {
    let status = status.map_or_else(tonic_types::Status::default, status::to_proto);
    Message { session_id: session.to_owned(), ended: Some(status), ..Message::default() }
}
