//! The first reads of the sessions on a stream. Few are in flight at a time, so that thousands of
//! sessions that are added at once take their turns at the quota, and other callers take theirs.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use tokio::time::Instant;

use super::entries::{Start, Ticket};
use crate::{feed::Subscription, wire::Error};

/// The most reads in flight. It keeps a connection to the vendor busy at any rate that the vendor
/// allows.
const MOST: usize = 8;

/// The sessions are told in the order in which they were added. A read that takes longer than this
/// does not hold up those behind it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first reads of one stream.
#[derive(Default)]
pub(super) struct FirstReads {
    waiting: VecDeque<Ticket>,
    in_flight: FuturesUnordered<Read>,
    /// The reads that were started and are not told yet, in their order.
    started: VecDeque<(Ticket, Option<Finished>)>,
}

/// A read in flight. Its output is `None` if the session was removed.
type Read = Pin<Box<dyn Future<Output = (Ticket, Option<Opened>)> + Send>>;

/// The result of a read, and when it came.
struct Finished {
    opened: Opened,
    at: Instant,
}

/// The result of a first read.
pub(super) struct Opened {
    pub start: Start,
    pub result: Result<Subscription, Error>,
}

/// What happened with the reads.
pub(super) enum Progress {
    /// A session can be told.
    Opened(Ticket, Opened),
    /// Something else happened. There may be more to do.
    Some,
    /// There is nothing to do until the task is woken.
    None,
}

impl FirstReads {
    /// Adds a session at the end of the queue.
    pub fn push(&mut self, ticket: Ticket) {
        self.waiting.push_back(ticket);
    }

    /// Advances the reads by one step. `start` makes the read of a session, unless the session was
    /// removed.
    pub fn advance<R>(
        &mut self,
        cx: &mut Context<'_>,
        start: impl FnOnce(Ticket, AbortHandle) -> Option<R>,
    ) -> Progress
    where
        R: Future<Output = Opened> + Send + 'static,
    {
        if let Some(place) = self.tellable()
            && let Some((ticket, Some(Finished { opened, .. }))) = self.started.remove(place)
        {
            return Progress::Opened(ticket, opened);
        }
        if self.in_flight.len() < MOST
            && let Some(ticket) = self.waiting.pop_front()
        {
            let (handle, registration) = AbortHandle::new_pair();
            if let Some(read) = start(ticket, handle) {
                let read = Abortable::new(read, registration);
                self.in_flight.push(Box::pin(async move { (ticket, read.await.ok()) }));
                self.started.push_back((ticket, None));
            }
            return Progress::Some;
        }
        match self.in_flight.poll_next_unpin(cx) {
            Poll::Ready(Some((ticket, opened))) => {
                self.finish(ticket, opened);
                Progress::Some
            }
            Poll::Ready(None) | Poll::Pending => Progress::None,
        }
    }

    /// When a session can be told although one before it is not read yet.
    pub fn overdue_at(&self) -> Option<Instant> {
        let finished = self.started.iter().filter_map(|(_, finished)| finished.as_ref());
        finished.map(|finished| finished.at + PATIENCE).min()
    }

    fn finish(&mut self, ticket: Ticket, opened: Option<Opened>) {
        let Some(place) = self.started.iter().position(|(started, _)| *started == ticket) else {
            return;
        };
        match opened {
            Some(opened) => {
                self.started[place].1 = Some(Finished { opened, at: Instant::now() });
            }
            // The session was removed.
            None => drop(self.started.remove(place)),
        }
    }

    /// The first read that can be told.
    fn tellable(&self) -> Option<usize> {
        let is_finished = |place: usize| self.started.get(place).is_some_and(|(_, f)| f.is_some());
        if is_finished(0) {
            return Some(0);
        }
        let at = self.overdue_at().filter(|at| *at <= Instant::now())?;
        self.started.iter().position(|(_, finished)| {
            finished.as_ref().is_some_and(|finished| finished.at + PATIENCE == at)
        })
    }
}
