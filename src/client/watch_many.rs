//! A watch of many sessions that resumes by itself. It gives one sequence of messages from any
//! number of streams.

mod sessions;

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tonic::Status;

use super::{
    Failure, Interruption, failure,
    retry::{Resumption, longest_silence},
};
use crate::proto::{AllSessions, WatchSessionRequest, WatchSessionsRequest, WatchSessionsResponse};
use sessions::{Note, Sessions};

/// How long to wait for OK after the last session has ended.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// What the client sends on one stream.
pub type Requests = UnboundedReceiver<WatchSessionsRequest>;
/// The messages of one stream.
pub type Messages = BoxStream<'static, Result<WatchSessionsResponse, Status>>;
type Opening = BoxFuture<'static, Result<Messages, Failure>>;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchMany {
    /// These sessions. Each may have a resume token.
    pub sessions: Vec<WatchSessionRequest>,
    /// The sessions of the account too, as the vendor's list shows them. Set `from_time`, at best to
    /// the time now: without it, sessions that come and go before the first message are lost if the
    /// first stream breaks.
    pub all: Option<AllSessions>,
    /// How often the service sends a heartbeat. Its default is 30 seconds.
    pub heartbeat_interval: Option<prost_types::Duration>,
}

/// The messages of a watch of many sessions, across all its streams.
pub struct ResumingWatches {
    sessions: Sessions,
    silence: Duration,
    open: Box<dyn FnMut(Requests) -> Opening + Send>,
    resumption: Resumption,
    state: State,
}

enum State {
    Closed,
    Open(Stream),
    Pausing(Instant),
    /// The client's side is closed, and the stream must end now.
    Closing(Messages),
    Over,
}

struct Stream {
    requests: UnboundedSender<WatchSessionsRequest>,
    messages: Messages,
    /// The next message is due then.
    due: Instant,
}

impl ResumingWatches {
    /// Creates a watch that gets its streams from `open`.
    pub fn new(watch: WatchMany, open: impl FnMut(Requests) -> Opening + Send + 'static) -> Self {
        Self {
            silence: longest_silence(watch.heartbeat_interval),
            sessions: Sessions::new(watch),
            open: Box::new(open),
            resumption: Resumption::new(),
            state: State::Closed,
        }
    }

    /// Calls `notify` whenever a stream has broken, or a session has ended that is added again.
    #[must_use]
    pub fn on_interruption(mut self, notify: impl FnMut(&Interruption) + Send + 'static) -> Self {
        self.resumption.notify = Box::new(notify);
        self
    }

    /// Ends the watch when a stream breaks, and a session when it ends, for whatever reason.
    #[must_use]
    pub fn without_resuming(mut self) -> Self {
        self.resumption.is_on = false;
        self
    }

    /// The resume token of each session that is not over.
    pub fn resume_tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sessions.resume_tokens()
    }

    /// Waits for the next message that tells something new: an update, a heartbeat, or the end of a
    /// session that is not added again.
    ///
    /// Returns `None` after the end of the last session. Returns a failure that a retry cannot
    /// change, and then `None`. This is cancel safe: dropping the future loses no message.
    pub async fn next(&mut self) -> Option<Result<WatchSessionsResponse, Failure>> {
        loop {
            let end = match &mut self.state {
                State::Closed if self.sessions.is_over() => return None,
                State::Closed => match self.begin().await {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                State::Open(stream) => {
                    let due_at = self.sessions.due_at().map_or(stream.due, |at| at.min(stream.due));
                    match timeout_at(due_at, stream.messages.next()).await {
                        Ok(Some(Ok(message))) => match self.note(message) {
                            Ok(Some(message)) => return Some(Ok(message)),
                            Ok(None) => continue,
                            Err(failure) => {
                                self.state = State::Over;
                                return Some(Err(failure));
                            }
                        },
                        Ok(Some(Err(status))) => status.into(),
                        Ok(None) => failure::ended_early(),
                        Err(_) if Instant::now() < stream.due => {
                            stream.send(self.sessions.take_due(Instant::now()));
                            continue;
                        }
                        Err(_) => failure::silent(self.silence),
                    }
                }
                State::Pausing(until) => {
                    sleep_until(*until).await;
                    self.state = State::Closed;
                    continue;
                }
                State::Closing(messages) => {
                    // If the stream were dropped now, the service would count it as cancelled.
                    let rest = async { while let Some(Ok(_)) = messages.next().await {} };
                    let _ = timeout(CLOSING_LIMIT, rest).await;
                    self.state = State::Over;
                    return None;
                }
                State::Over => return None,
            };
            match self.resumption.after(end) {
                Ok(begins_at) => self.state = State::Pausing(begins_at),
                Err(failure) => {
                    self.state = State::Over;
                    return Some(Err(failure));
                }
            }
        }
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        let (requests, receiver) = unbounded_channel();
        let messages = (self.open)(receiver).await?;
        let stream = Stream { requests, messages, due: Instant::now() + self.silence };
        stream.send(self.sessions.begin_stream());
        self.state = State::Open(stream);
        Ok(())
    }

    /// Stores what the next stream needs. Returns the message if it tells something new.
    fn note(
        &mut self,
        message: WatchSessionsResponse,
    ) -> Result<Option<WatchSessionsResponse>, Failure> {
        if let State::Open(stream) = &mut self.state {
            stream.due = Instant::now() + self.silence;
        }
        self.resumption.note_message();
        let note = self.sessions.note(&message, self.resumption.is_on);
        if self.sessions.is_over() {
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Open(stream) => State::Closing(stream.messages),
                other @ (State::Closed | State::Pausing(_) | State::Closing(_) | State::Over) => {
                    other
                }
            };
        }
        match note {
            Note::News => Ok(Some(message)),
            Note::Known => Ok(None),
            Note::Interrupted(interruption) => {
                (self.resumption.notify)(&interruption);
                Ok(None)
            }
            Note::AllEnded(failure) => Err(failure),
        }
    }
}

impl Stream {
    /// Sends these requests. If the stream has ended, its next message says so.
    fn send(&self, requests: Vec<WatchSessionsRequest>) {
        for request in requests {
            let _ = self.requests.send(request);
        }
    }
}

impl fmt::Debug for ResumingWatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumingWatches")
            .field("attempt", &self.resumption.attempt())
            .finish_non_exhaustive()
    }
}
