//! Which sessions are on a stream: what the client wants, and what `all` finds.

use std::{
    ops::ControlFlow,
    task::{Context, Poll},
    time::Duration,
};

use tonic::Status;

use super::{
    Ending, Sessions, Step,
    news::{ended, refuses_credential},
};
use crate::{
    feed::Found,
    grpc::{
        status, watch,
        watch_sessions::{
            all::{self, All},
            entries::{Start, Ticket},
            requests::Want,
        },
    },
    model::SessionId,
    proto::{AllSessions, WatchSessionRequest},
    wire,
};

/// How many sessions are looked at in one step.
const STEP: usize = 64;

impl Sessions {
    pub(super) fn read_request(&mut self, cx: &mut Context<'_>) -> Step {
        if let Some(from) = self.removing_from {
            return self.remove_found(from);
        }
        let was_reading = self.requests.is_reading();
        match self.requests.poll_next(cx) {
            Poll::Ready(None) if self.entries.is_empty() && self.all.is_none() => Step::End(None),
            // Now the first reads can go on.
            Poll::Pending | Poll::Ready(None) if was_reading => Step::Work,
            Poll::Pending | Poll::Ready(None) => Step::Wait,
            Poll::Ready(Some(Ok(want))) => {
                self.obey(want).unwrap_or_else(|refusal| self.end(refusal))
            }
            Poll::Ready(Some(Err(status))) => self.end(status),
        }
    }

    /// Does what the client wants. An error ends the stream.
    fn obey(&mut self, want: Want) -> Result<Step, Status> {
        match want {
            Want::Add(request) => return Ok(self.add(&request)),
            Want::AddAll(asked) => return self.add_all(&asked),
            Want::Remove(session) => self.entries.remove_session(&session),
            Want::RemoveAll => {
                self.all = None;
                self.removing_from = Some(0);
            }
            Want::Heartbeat { interval, is_first } => {
                let interval = watch::heartbeat_interval(Some(interval))?;
                if is_first {
                    self.heartbeat.set_interval(interval);
                }
            }
        }
        Ok(Step::Work)
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
        if let Some(entry) = self.entries.named(&session) {
            // It stays if `all` is removed.
            entry.is_found = false;
            return Ok(None);
        }
        let known = watch::known(&self.composer.resume_tokens, &session, request)?;
        if let Some(interval) = request.heartbeat_interval {
            watch::heartbeat_interval(Some(interval))?;
        }
        let follow_after_end = watch::follow_after_end(request.follow_after_end)?;
        self.admit_session(session, Start { known, follow_after_end }).map(Some)
    }

    fn admit_session(&mut self, session: SessionId, start: Start) -> Result<Ticket, Status> {
        if self.entries.len() >= self.limit {
            return Err(status::too_many_watches("stream"));
        }
        let permit = self.permit.admit(&session)?;
        Ok(self.entries.add(session, start, permit))
    }

    fn add_all(&mut self, asked: &AllSessions) -> Result<Step, Status> {
        let from_time = all::from_time(asked, self.composer.clock.now())?;
        if self.all.is_some() {
            return Ok(Step::Work);
        }
        self.all = All::new(&self.feed, &self.credential, from_time);
        Ok(match self.all {
            Some(_) => Step::Work,
            None => Step::Send(ended("", Some(&status::session_list_off()))),
        })
    }

    /// Adds the next session that `all` finds.
    pub(super) fn find(&mut self, cx: &mut Context<'_>) -> Step {
        let Some(all) = &mut self.all else { return Step::Wait };
        match all.poll_next(cx) {
            Poll::Ready(Ok(found)) => self.add_found(found),
            Poll::Ready(Err(error)) => self.lose_all(&error),
            Poll::Pending => Step::Wait,
        }
    }

    fn add_found(&mut self, found: Found) -> Step {
        if found.names().any(|name| self.entries.has_had(name)) {
            return Step::Work;
        }
        let session = found.session;
        let start = Start { known: None, follow_after_end: Duration::ZERO };
        match self.admit_session(session.clone(), start) {
            Ok(ticket) => {
                if let Some(entry) = self.entries.get_mut(ticket) {
                    entry.is_found = true;
                }
                self.first_reads.push(ticket);
                Step::Work
            }
            Err(refusal) => Step::Send(ended(session.as_str(), Some(&refusal))),
        }
    }

    /// Ends `all`, or the stream if the credential is refused.
    fn lose_all(&mut self, error: &wire::Error) -> Step {
        self.all = None;
        let status = status::of_session_list(error);
        if refuses_credential(error) {
            self.ending = Some(Ending::Refused(status));
            return Step::Work;
        }
        Step::Send(ended("", Some(&status)))
    }

    /// Removes the next of the sessions that `all` has found.
    fn remove_found(&mut self, from: Ticket) -> Step {
        self.removing_from = match self.entries.remove_found(from, STEP) {
            ControlFlow::Continue(next) => Some(next),
            ControlFlow::Break(()) => None,
        };
        Step::Work
    }
}
