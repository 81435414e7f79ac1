//! A watch that resumes by itself. It gives one sequence of messages from any number of streams.

use std::{fmt, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::Status;

use super::{Failure, failure};
use crate::proto::{WatchSessionRequest, WatchSessionResponse};

/// The shortest and the longest backoff before the next try. The backoff doubles after each try
/// that brings no message. A random time, at most as long as the backoff, is added to it, so that
/// many clients do not return together.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Longest wait, even if the service asks for more.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// The service's default heartbeat interval, and its longest one.
const HEARTBEAT: Duration = Duration::from_secs(30);
const LONGEST_HEARTBEAT: Duration = Duration::from_mins(5);
/// How long to wait for OK after a terminal message.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// The messages of one stream.
pub type Messages = BoxStream<'static, Result<WatchSessionResponse, Status>>;
type Opening = BoxFuture<'static, Result<Messages, Failure>>;

/// A broken stream, and the next try.
#[derive(Clone, Debug)]
pub struct Interruption {
    /// Why it broke.
    pub failure: Failure,
    /// Time until the next try.
    pub delay: Duration,
    /// Failed tries since the last message, including this one.
    pub attempt: u32,
}

/// The messages of a watch, across all its streams.
pub struct ResumingWatch {
    request: WatchSessionRequest,
    open: Box<dyn FnMut(WatchSessionRequest) -> Opening + Send>,
    notify: Box<dyn FnMut(&Interruption) + Send>,
    is_resuming: bool,
    state: State,
    delays: ExponentialBackoff,
    attempt: u32,
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
        Self {
            request,
            open: Box::new(open),
            notify: Box::new(|_| ()),
            is_resuming: true,
            state: State::Closed,
            delays: delays(),
            attempt: 0,
        }
    }

    /// Calls `notify` whenever a stream has broken, before the next try.
    #[must_use]
    pub fn on_interruption(mut self, notify: impl FnMut(&Interruption) + Send + 'static) -> Self {
        self.notify = Box::new(notify);
        self
    }

    /// Ends the watch when a stream breaks.
    #[must_use]
    pub fn without_resuming(mut self) -> Self {
        self.is_resuming = false;
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
            if let Some(failure) = self.interrupt(end) {
                return Some(Err(failure));
            }
        }
    }

    /// Stores what the next stream needs.
    fn note(&mut self, message: &WatchSessionResponse) {
        if !message.resume_token.is_empty() {
            self.request.resume_token.clone_from(&message.resume_token);
        }
        self.attempt = 0;
        self.delays = delays();
        let due = Instant::now() + self.longest_silence();
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Open(messages, _) if message.terminal => State::Closing(messages),
            State::Open(messages, _) => State::Open(messages, due),
            other @ (State::Closed | State::Pausing(_) | State::Closing(_) | State::Over) => other,
        };
    }

    /// Schedules the next try, or returns the failure if there is none.
    fn interrupt(&mut self, failure: Failure) -> Option<Failure> {
        if !self.is_resuming || !failure.is_worth_resuming() {
            self.state = State::Over;
            return Some(failure);
        }
        self.attempt += 1;
        let backoff = self.delays.next().unwrap_or(LONGEST_DELAY);
        let delay = match failure.retry_after {
            // After the first failure, the delay from the service replaces the backoff. After more
            // failures, the longer of the two counts.
            Some(asked) if self.attempt == 1 => asked,
            Some(asked) => asked.max(backoff),
            None => backoff,
        };
        let delay = delay.min(LONGEST_RETRY_AFTER);
        self.state = State::Pausing(Instant::now() + delay);
        (self.notify)(&Interruption { failure, delay, attempt: self.attempt });
        None
    }

    /// Twice the heartbeat interval and a margin. After this time without a message, the stream
    /// counts as dead.
    fn longest_silence(&self) -> Duration {
        let asked = self.request.heartbeat_interval.and_then(|asked| asked.try_into().ok());
        let heartbeat = match asked {
            None | Some(Duration::ZERO) => HEARTBEAT,
            Some(interval) => LONGEST_HEARTBEAT.min(interval),
        };
        heartbeat * 2 + Duration::from_secs(10)
    }
}

impl fmt::Debug for ResumingWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumingWatch").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LONGEST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}
