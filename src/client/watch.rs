//! A watch that resumes by itself. It gives one sequence of messages from any number of streams.

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::Status;

use super::{
    Failure, Interruption, failure,
    retry::{Resumption, longest_silence},
};
use crate::proto::{WatchSessionRequest, WatchSessionResponse};

/// How long to wait for OK after a terminal message.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// The messages of one stream.
pub type Messages = BoxStream<'static, Result<WatchSessionResponse, Status>>;
type Opening = BoxFuture<'static, Result<Messages, Failure>>;

/// The messages of a watch, across all its streams.
pub struct ResumingWatch {
    request: WatchSessionRequest,
    open: Box<dyn FnMut(WatchSessionRequest) -> Opening + Send>,
    resumption: Resumption,
    state: State,
}

enum State {
    Closed,
    /// The next message, or the end of the stream, is due at this instant.
    Open(Messages, Instant),
    Pausing(Instant),
    Closing(Messages),
    Over,
}

impl ResumingWatch {
    /// Creates a watch that gets its streams from `open`. Each request carries the latest resume
    /// token.
    pub fn new(
        request: WatchSessionRequest,
        open: impl FnMut(WatchSessionRequest) -> Opening + Send + 'static,
    ) -> Self {
        Self { request, open: Box::new(open), resumption: Resumption::new(), state: State::Closed }
    }

    /// Calls `notify` whenever a stream has broken, before the next try.
    #[must_use]
    pub fn on_interruption(mut self, notify: impl FnMut(&Interruption) + Send + 'static) -> Self {
        self.resumption.notify = Box::new(notify);
        self
    }

    /// Ends the watch when a stream breaks.
    #[must_use]
    pub fn without_resuming(mut self) -> Self {
        self.resumption.is_on = false;
        self
    }

    /// The resume token of the last message. Before the first message it is the token with which
    /// the watch was started, or empty.
    pub fn resume_token(&self) -> &str {
        &self.request.resume_token
    }

    /// Waits for the next message. Returns `None` after the terminal message. Returns a failure
    /// that a retry cannot change, and then `None`. This is cancel safe: dropping the future loses
    /// no message.
    pub async fn next(&mut self) -> Option<Result<WatchSessionResponse, Failure>> {
        loop {
            let end = match &mut self.state {
                State::Closed => match (self.open)(self.request.clone()).await {
                    Ok(messages) => {
                        let due = Instant::now() + self.longest_silence();
                        self.state = State::Open(messages, due);
                        continue;
                    }
                    Err(failure) => failure,
                },
                State::Open(messages, due) => match timeout_at(*due, messages.next()).await {
                    Ok(Some(Ok(message))) => {
                        self.note(&message);
                        return Some(Ok(message));
                    }
                    Ok(Some(Err(status))) => status.into(),
                    Ok(None) => failure::ended_early(),
                    Err(_) => failure::silent(self.longest_silence()),
                },
                State::Pausing(until) => {
                    sleep_until(*until).await;
                    self.state = State::Closed;
                    continue;
                }
                State::Closing(messages) => {
                    // If the stream were dropped now, the service would count it as cancelled.
                    let _ = timeout(CLOSING_LIMIT, messages.next()).await;
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

    /// Stores what the next stream needs.
    fn note(&mut self, message: &WatchSessionResponse) {
        if !message.resume_token.is_empty() {
            self.request.resume_token.clone_from(&message.resume_token);
        }
        self.resumption.note_message();
        let due = Instant::now() + self.longest_silence();
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Open(messages, _) if message.terminal => State::Closing(messages),
            State::Open(messages, _) => State::Open(messages, due),
            other @ (State::Closed | State::Pausing(_) | State::Closing(_) | State::Over) => other,
        };
    }

    fn longest_silence(&self) -> Duration {
        longest_silence(self.request.heartbeat_interval)
    }
}

impl fmt::Debug for ResumingWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumingWatch")
            .field("attempt", &self.resumption.attempt())
            .finish_non_exhaustive()
    }
}
