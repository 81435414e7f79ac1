//! The stream of messages of one watch, with its timers.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use async_stream::stream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::Status;

use super::{
    warning_at,
    watched::{Composer, Next, Watched},
};
use crate::{
    grpc::{concurrency::WatchPermit, status},
    proto::encoded::EncodedWatchResponse,
};

/// One watch.
pub(super) struct Watch {
    pub composer: Composer,
    pub watched: Watched,
    pub heartbeat_interval: Duration,
    pub last_message: Instant,
    pub rotation: Instant,
    pub deadline: Option<Instant>,
    pub has_warned: bool,
    pub _permit: WatchPermit,
}

/// Why a watch wakes up.
enum Wake {
    /// There may be an update.
    Update,
    /// No message was sent for the heartbeat interval, or the deadline is near.
    Heartbeat,
    /// The session is over, and the time to follow it has passed.
    Over,
    /// The stream ends, and the watch should continue in another one.
    End(Status),
    /// The caller's deadline has passed.
    Deadline,
}

/// Returns the messages of a watch. The stream ends with OK after a terminal message, or with an
/// error.
pub(super) fn messages(
    mut watch: Watch,
) -> impl Stream<Item = Result<EncodedWatchResponse, Status>> + Send {
    stream! {
        // One timer serves the whole watch, because a new timer for each message would cost more.
        let mut alarm = pin!(sleep_until(watch.rotation));
        let mut woken_by = Wake::Update;
        loop {
            let mut is_silent = true;
            loop {
                match watch.next() {
                    Next::Send(message) => {
                        let is_terminal = message.is_terminal;
                        is_silent = false;
                        yield Ok(message);
                        if is_terminal {
                            return;
                        }
                    }
                    Next::Wait => break,
                    Next::Drain => {
                        yield Ok(watch.heartbeat(false));
                        yield Err(status::draining());
                        return;
                    }
                    Next::End(error) => {
                        yield Err(watch.composer.status(&error, watch.watched.session()));
                        return;
                    }
                }
            }
            match woken_by {
                Wake::Update => {}
                Wake::Heartbeat => {
                    if is_silent {
                        yield Ok(watch.heartbeat(false));
                    }
                }
                Wake::Over => {
                    yield Ok(watch.heartbeat(true));
                    return;
                }
                Wake::End(status) => {
                    yield Ok(watch.heartbeat(false));
                    yield Err(status);
                    return;
                }
                Wake::Deadline => {
                    yield Err(status::deadline_exceeded());
                    return;
                }
            }
            woken_by = watch.wait(alarm.as_mut()).await;
        }
    }
}

impl Watch {
    fn next(&mut self) -> Next {
        let next = self.watched.next(&self.composer);
        if matches!(next, Next::Send(_)) {
            self.last_message = Instant::now();
        }
        next
    }

    fn heartbeat(&mut self, terminal: bool) -> EncodedWatchResponse {
        self.last_message = Instant::now();
        self.watched.heartbeat(&self.composer, terminal)
    }

    /// Waits until the watch may have something to send.
    async fn wait(&mut self, mut alarm: Pin<&mut Sleep>) -> Wake {
        let silence = self.last_message + self.heartbeat_interval;
        let warning = self.deadline.filter(|_| !self.has_warned);
        let warning = warning.map(|deadline| warning_at(deadline, self.last_message));
        let over = self.watched.over_at(&self.composer);
        let ends = [Some(self.rotation), over, self.deadline, warning];
        let next = ends.into_iter().flatten().fold(silence, Instant::min);
        loop {
            // An early alarm is harmless. It is cheaper than resetting the timer after each
            // message.
            if alarm.deadline() > next || alarm.is_elapsed() {
                alarm.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                () = self.watched.subscription().changed() => return Wake::Update,
                () = alarm.as_mut() => if next <= Instant::now() { break },
            }
        }
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= next);
        if has_come(self.deadline) {
            Wake::Deadline
        } else if has_come(over) {
            Wake::Over
        } else if has_come(Some(self.rotation)) {
            Wake::End(status::stream_rotated())
        } else {
            self.has_warned |= has_come(warning);
            Wake::Heartbeat
        }
    }
}
