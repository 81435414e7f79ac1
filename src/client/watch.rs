//! A watch that resumes by itself: one sequence of messages from however many streams it takes.

use std::{fmt, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::Status;

use super::{Failure, failure};
use crate::proto::{WatchSessionRequest, WatchSessionResponse};

/// Delays between two tries without a message in between: from the first, doubled, to the last,
/// with up to as much again by chance, so that many clients do not come back as one.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Longer than this is not waited, whatever the service asks for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// The service's default heartbeat interval, and its longest.
const HEARTBEAT: Duration = Duration::from_secs(30);
const LONGEST_HEARTBEAT: Duration = Duration::from_mins(5);
/// How long to wait for the OK after a terminal message.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// What one stream brings.
pub type Messages = BoxStream<'static, Result<WatchSessionResponse, Status>>;
type Opening = BoxFuture<'static, Result<Messages, Failure>>;

/// A stream that broke, and what happens next.
#[derive(Clone, Debug)]
pub struct Interruption {
    /// How it broke.
    pub failure: Failure,
    /// How long until the next try.
    pub delay: Duration,
    /// How many tries have failed since the last message, this one included.
    pub attempt: u32,
}

/// The messages of a watch, across broken streams.
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
    /// The next message, or the end, is due at the instant.
    Open(Messages, Instant),
    Pausing(Instant),
    Closing(Messages),
    Over,
}

impl ResumingWatch {
    /// A watch whose streams come from `open`, each with the latest resume token in its request.
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

    /// Calls `notify` whenever a stream broke and is about to be resumed.
    #[must_use]
    pub fn on_interruption(mut self, notify: impl FnMut(&Interruption) + Send + 'static) -> Self {
        self.notify = Box::new(notify);
        self
    }

    /// The first broken stream ends the watch.
    #[must_use]
    pub fn without_resuming(mut self) -> Self {
        self.is_resuming = false;
        self
    }

    /// The token that came with the last message; empty before the first, unless the watch was
    /// begun with one.
    pub fn resume_token(&self) -> &str {
        &self.request.resume_token
    }

    /// The next message; `None` after the terminal one; a failure that another try would not
    /// change, and then `None`. May be dropped and called again at any time: no message is lost.
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
                    // Dropped at once, the stream would count as cancelled at the service.
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

    /// Keeps what a later stream needs.
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

    /// Plans the next try; gives the failure back if there is to be none.
    fn interrupt(&mut self, failure: Failure) -> Option<Failure> {
        if !self.is_resuming || !failure.is_worth_resuming() {
            self.state = State::Over;
            return Some(failure);
        }
        self.attempt += 1;
        let backoff = self.delays.next().unwrap_or(LONGEST_DELAY);
        let delay = match failure.retry_after {
            // The service's word counts, but not a second time in a row if it is shorter.
            Some(asked) if self.attempt == 1 => asked,
            Some(asked) => asked.max(backoff),
            None => backoff,
        };
        let delay = delay.min(LONGEST_RETRY_AFTER);
        self.state = State::Pausing(Instant::now() + delay);
        (self.notify)(&Interruption { failure, delay, attempt: self.attempt });
        None
    }

    /// Twice the heartbeat interval and a little: then the stream is dead, whatever the connection
    /// says.
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
