//! What the client sends on a stream, read one session at a time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio_stream::Stream as _;
use tonic::{Code, Status, Streaming};

use crate::{
    grpc::status,
    proto::{
        AllSessions, WatchSessionRequest,
        incoming::{
            AddField, AddReader, Malformed, RemoveField, RemoveReader, WatchSessionsRequestParts,
        },
    },
};

/// The client's side of a stream.
pub(super) struct Requests {
    /// `None` once the client has closed its side.
    messages: Option<Streaming<WatchSessionsRequestParts>>,
    reading: Reading,
    /// Whether the first `add` was read.
    has_added: bool,
}

/// The message that is being read.
enum Reading {
    Nothing,
    Add(AddReader),
    Remove(RemoveReader),
}

/// What the client wants.
pub(super) enum Want {
    /// Add a session.
    Add(WatchSessionRequest),
    /// Add the sessions of the account.
    AddAll(AllSessions),
    /// Remove a session.
    Remove(String),
    /// Remove the sessions of the account.
    RemoveAll,
    /// Send heartbeats at this interval. Only the interval in the first `add` counts.
    Heartbeat { interval: prost_types::Duration, is_first: bool },
}

impl Requests {
    pub fn new(messages: Streaming<WatchSessionsRequestParts>) -> Self {
        Self { messages: Some(messages), reading: Reading::Nothing, has_added: false }
    }

    /// Whether a message is half read. The next part of it is there already.
    pub fn is_reading(&self) -> bool {
        match self.reading {
            Reading::Nothing => false,
            Reading::Add(_) | Reading::Remove(_) => true,
        }
    }

    /// Returns what the client wants next, or `None` when it has closed its side.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Want, Status>>> {
        loop {
            match self.next_want() {
                Ok(Some(want)) => return Poll::Ready(Some(Ok(want))),
                Ok(None) => {}
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
            let Some(messages) = &mut self.messages else { return Poll::Ready(None) };
            match Pin::new(messages).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(parts))) => self.reading = Reading::begin(parts)?,
                Poll::Ready(Some(Err(status))) => {
                    return Poll::Ready(Some(Err(unreadable(&status))));
                }
                Poll::Ready(None) => self.messages = None,
            }
        }
    }

    /// Returns the next part of the message that is being read, or `None` if there is none.
    fn next_want(&mut self) -> Result<Option<Want>, Status> {
        let malformed = |_: Malformed| status::message_malformed();
        let want = match &mut self.reading {
            Reading::Nothing => None,
            Reading::Add(reader) => match reader.read().map_err(malformed)? {
                Some(AddField::Session(session)) => Some(Want::Add(session)),
                Some(AddField::All(all)) => Some(Want::AddAll(all)),
                Some(AddField::HeartbeatInterval(interval)) => {
                    Some(Want::Heartbeat { interval, is_first: !self.has_added })
                }
                None => {
                    self.has_added = true;
                    None
                }
            },
            Reading::Remove(reader) => reader.read().map_err(malformed)?.map(|field| match field {
                RemoveField::Session(session) => Want::Remove(session),
                RemoveField::All => Want::RemoveAll,
            }),
        };
        if want.is_none() {
            self.reading = Reading::Nothing;
        }
        Ok(want)
    }
}

impl Reading {
    fn begin(parts: WatchSessionsRequestParts) -> Result<Self, Status> {
        let WatchSessionsRequestParts { add, remove } = parts;
        let add = add.map(|bytes| Self::Add(AddReader::new(bytes)));
        add.or_else(|| remove.map(|bytes| Self::Remove(RemoveReader::new(bytes))))
            .ok_or_else(|| status::invalid("action", "must be `add` or `remove`"))
    }
}

/// The request cannot be read. Returns our own error in place of tonic's, which has no details.
fn unreadable(error: &Status) -> Status {
    match error.code() {
        Code::OutOfRange => status::message_too_large(),
        Code::Internal => status::message_malformed(),
        // The client has reset the stream or disconnected, so nobody gets this.
        _ => Status::cancelled("the client has left"),
    }
}
