//! `WatchSessions`: many sessions on one stream.
//!
//! A stream is one task with one timer, whatever the number of its sessions. A session is a small
//! entry: what was sent of it ([`Watched`](super::watch::Watched), the same as for `WatchSession`),
//! its subscription to the poll, and a bell. A change of the session rings the bell, which puts the
//! session into the queue of the stream. The stream takes one session after the other from the
//! queue and sends what is newest, when the client can take it. So a slow client costs no memory.

mod all;
mod entries;
mod first_reads;
mod heartbeat;
mod ready;
mod requests;
mod stream;

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, deadline::Deadline, watch::Cut};
use crate::proto::{
    encoded::WatchSessionsResponseParts as Message, incoming::WatchSessionsRequestParts,
};
use entries::Entries;
use first_reads::FirstReads;
use heartbeat::Heartbeat;
use ready::Ready;
use requests::Requests;
use stream::{Batch, Sessions, Turn};

/// The messages of one stream.
pub type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

pub(super) fn watch(
    service: &Service,
    request: Request<Streaming<WatchSessionsRequestParts>>,
) -> Result<Response<Messages>, Status> {
    let credential = service.credential(&request)?;
    let permit = service.watches.admit_stream(&credential)?;
    let rotation = Instant::now() + service.watches.random_age();
    let deadline = request.extensions().get().map(|Deadline(at)| *at);
    let sessions = Sessions {
        composer: service.watches.composer(service),
        feed: service.feed.clone(),
        credential,
        permit,
        limit: service.watches.max_per_stream(),
        context: service.request_context(&request),
        default_deadline: service.default_deadline,
        entries: Entries::default(),
        all: None,
        removing_from: None,
        first_reads: FirstReads::default(),
        ready: Ready::default(),
        over: BTreeSet::new(),
        heartbeat: Heartbeat::new(deadline),
        timer: Box::pin(sleep_until(rotation)),
        rotation,
        deadline,
        drain: Box::pin(service.watches.drained()),
        following: None,
        ending: None,
        turn: Turn::Requests,
        batch: Batch::ClosedUntil(Instant::now()),
        requests: Requests::new(request.into_inner()),
    };
    let shared = Arc::new(Mutex::new(Some(Box::new(sessions))));
    let owner = Arc::downgrade(&shared);
    let messages = service.watches.observe(owner, SharedSessions(shared));
    Ok(Response::new(Box::pin(messages)))
}

/// The sessions of a stream, which the slow-consumer detector can take away from it.
struct SharedSessions(Arc<Mutex<Option<Box<Sessions>>>>);

impl Stream for SharedSessions {
    type Item = Result<Message, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().as_mut().map_or(Poll::Ready(None), |sessions| sessions.poll_next(cx))
    }
}

impl Cut for Mutex<Option<Box<Sessions>>> {
    fn cut(&self) {
        let sessions = self.lock().take();
        drop(sessions);
    }
}
