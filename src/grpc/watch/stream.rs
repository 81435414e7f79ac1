//! The messages of one watch, in time.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use async_stream::stream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::{
    frame::{Frame, encoded_session, resume_token},
    told::{News, Told},
};
use crate::{
    clock::Clock,
    feed::{State, Subscription},
    grpc::{
        metric,
        place::WatchPlace,
        resume_token::{Known, Sealer},
        session::status_to_proto,
        status, value,
    },
    model::{SessionId, Transition},
    proto::{self, watch_session_response::EventType},
    rest::{self, Kind},
};

/// How long before the caller's deadline the last heartbeat goes out, at most.
const WARNING: Duration = Duration::from_millis(500);

/// One watch.
pub(super) struct Watch {
    pub sealer: Arc<Sealer>,
    pub clock: Clock,
    pub drain: CancellationToken,
    pub session: SessionId,
    pub subscription: Subscription,
    pub told: Told,
    pub heartbeat_interval: Duration,
    pub follow_after_end: Duration,
    pub last_message: Instant,
    pub rotation: Instant,
    pub deadline: Option<Instant>,
    pub has_warned: bool,
    pub _place: WatchPlace,
}

/// Why a watch wakes up.
enum Wake {
    /// Perhaps there is news.
    News,
    /// It has been silent for long, or its deadline is near.
    Heartbeat,
    /// The session is over, and so is the time to follow it.
    Over,
    /// The stream ends, and the watch is to go on in another.
    End(Status),
    /// The caller's time is over.
    Deadline,
}

/// The messages, until the watch ends: with OK after a terminal message, else with an error.
pub(super) fn messages(mut watch: Watch) -> impl Stream<Item = Result<Frame, Status>> + Send {
    stream! {
        // These two live as long as the watch: to begin anew after each message costs more.
        let mut drained = pin!(watch.drain.clone().cancelled_owned());
        let mut alarm = pin!(sleep_until(watch.rotation));
        let mut woken_by = Wake::News;
        loop {
            let mut is_silent = true;
            let end = loop {
                let (state, observed_at) = watch.subscription.state();
                let Some(frame) = watch.next(&state, observed_at) else { break state.end };
                let is_terminal = frame.terminal;
                is_silent = false;
                yield Ok(frame);
                if is_terminal {
                    return;
                }
            };
            if let Some(error) = end {
                yield Err(status::of_session(&error, &watch.session));
                return;
            }
            match woken_by {
                Wake::News => {}
                Wake::Heartbeat => {
                    if is_silent {
                        yield Ok(watch.heartbeat());
                    }
                }
                Wake::Over => {
                    yield Ok(Frame { terminal: true, ..watch.heartbeat() });
                    return;
                }
                Wake::End(status) => {
                    yield Ok(watch.heartbeat());
                    yield Err(status);
                    return;
                }
                Wake::Deadline => {
                    yield Err(status::deadline_exceeded());
                    return;
                }
            }
            woken_by = watch.wait(drained.as_mut(), alarm.as_mut()).await;
        }
    }
}

impl Watch {
    /// The next message in view of `state`, if there is anything to tell.
    fn next(&mut self, state: &State, observed_at: jiff::Timestamp) -> Option<Frame> {
        let answers = self.subscription.answers();
        let was_told = self.told.has_begun();
        let news = self.told.next(state, observed_at, answers, self.clock.now());
        self.subscription.expect_answer(self.told.is_doubtful());
        let frame = match news? {
            News::Snapshot(reading) => Frame {
                session: Some(encoded_session(&reading)),
                ..self.frame(EventType::Snapshot)
            },
            News::Changed(reading, transitions, changed_fields) => {
                // What a watch begins with may have been known here for long.
                if was_told {
                    metric::record_delivery(reading.observed_at, self.clock.now());
                }
                metric::count_transitions(&transitions);
                Frame {
                    session: Some(encoded_session(&reading)),
                    transitions: transitions.into_iter().map(transition_to_proto).collect(),
                    changed_fields: Some(prost_types::FieldMask {
                        paths: changed_fields.into_iter().map(str::to_owned).collect(),
                    }),
                    ..self.frame(EventType::Changed)
                }
            }
            News::Unchanged => self.frame(EventType::Heartbeat),
            News::Stale(cause) => Frame {
                stale_cause: Some(status::to_proto(&status::of_session(&cause, &self.session))),
                ..self.frame(EventType::Stale)
            },
        };
        Some(Frame { terminal: self.is_over(), ..frame })
    }

    /// A message that says no more than that nothing changed.
    fn heartbeat(&mut self) -> Frame {
        self.frame(EventType::Heartbeat)
    }

    fn frame(&mut self, event_type: EventType) -> Frame {
        self.last_message = Instant::now();
        metric::count_message(event_type);
        let seal = |known: &Known| self.sealer.seal(&self.session, known);
        let token = |known: Known| match self.told.reading() {
            Some(reading) => resume_token(reading, &known, || seal(&known)),
            None => seal(&known).into(),
        };
        Frame {
            event_type: event_type.into(),
            observed_at: Some(value::timestamp(self.told.observed_at())),
            resume_token: self.told.known().map(token).unwrap_or_default(),
            ..Frame::default()
        }
    }

    /// Waits for the first thing that makes the watch speak.
    async fn wait(
        &mut self,
        mut drained: Pin<&mut WaitForCancellationFutureOwned>,
        mut alarm: Pin<&mut Sleep>,
    ) -> Wake {
        let silence = self.last_message + self.heartbeat_interval;
        let warning = self.deadline.filter(|_| !self.has_warned).map(|deadline| {
            let left = deadline.saturating_duration_since(self.last_message);
            deadline.checked_sub(WARNING.min(left / 4)).unwrap_or(deadline)
        });
        let over = self.over_at();
        let ends = [Some(self.rotation), over, self.deadline, warning];
        let next = ends.into_iter().flatten().fold(silence, Instant::min);
        loop {
            // Too early does no harm, and is cheaper than to set it after each message.
            if alarm.deadline() > next || alarm.is_elapsed() {
                alarm.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                () = drained.as_mut() => return Wake::End(status::draining()),
                is_news = self.subscription.changed() => {
                    return if is_news { Wake::News } else { Wake::End(status::of(&poll_lost())) };
                }
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

    fn is_over(&self) -> bool {
        self.over_at().is_some_and(|at| at <= Instant::now())
    }

    /// When the session has been over for as long as it was to be followed.
    fn over_at(&self) -> Option<Instant> {
        let since = self.told.over_since()?;
        let age = Duration::try_from(self.clock.now().duration_since(since)).unwrap_or_default();
        Some(Instant::now() + self.follow_after_end.saturating_sub(age))
    }
}

fn transition_to_proto(transition: Transition) -> proto::StatusTransition {
    let Transition { from, to, occurred_at, inferred } = transition;
    proto::StatusTransition {
        from_status: status_to_proto(from).into(),
        to_status: status_to_proto(to).into(),
        occurred_at: occurred_at.map(value::timestamp),
        inferred,
    }
}

/// The poll broke down, which only a defect of ours can cause. Another watch starts another.
fn poll_lost() -> rest::Error {
    rest::Error::new(Kind::Unavailable)
}
