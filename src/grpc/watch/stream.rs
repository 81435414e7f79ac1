//! The messages of one watch, in time.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use async_stream::stream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::Stream;
use tonic::Status;

use super::{
    frame::{Frame, Parts, encoded_session, next_frame, resume_token},
    told::{News, Told},
};
use crate::{
    clock::Clock,
    feed::{Difference, Reading, Subscription},
    grpc::{
        metric::WatchMetrics, place::WatchPlace, resume_token::Sealer, session::status_to_proto,
        status, value,
    },
    model::{Known, SessionId, Transition},
    proto::{self, watch_session_response::EventType},
    wire,
};

/// How long before the caller's deadline the last heartbeat goes out, at most.
const WARNING: Duration = Duration::from_millis(500);

/// One watch.
pub(super) struct Watch {
    pub sealer: Arc<Sealer>,
    pub clock: Clock,
    pub metrics: WatchMetrics,
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

/// What a watch has to say after a look at the feed.
enum Look {
    /// A message.
    Tell(Frame),
    /// Nothing new.
    Silence,
    /// Nothing new, and the watch is to go on elsewhere.
    Leave,
    /// There will be nothing more.
    End(Arc<wire::Error>),
}

/// The messages, until the watch ends: with OK after a terminal message, else with an error.
pub(super) fn messages(mut watch: Watch) -> impl Stream<Item = Result<Frame, Status>> + Send {
    stream! {
        // Lives as long as the watch: to begin anew after each message costs more.
        let mut alarm = pin!(sleep_until(watch.rotation));
        let mut woken_by = Wake::News;
        loop {
            let mut is_silent = true;
            loop {
                match watch.look() {
                    Look::Tell(frame) => {
                        let is_terminal = frame.is_terminal;
                        is_silent = false;
                        yield Ok(frame);
                        if is_terminal {
                            return;
                        }
                    }
                    Look::Silence => break,
                    Look::Leave => {
                        yield Ok(watch.heartbeat(false));
                        yield Err(status::draining());
                        return;
                    }
                    Look::End(error) => {
                        yield Err(status::of_session(&error, &watch.session));
                        return;
                    }
                }
            }
            match woken_by {
                Wake::News => {}
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
    /// Looks at the feed for what there is to tell; what is returned counts as told.
    fn look(&mut self) -> Look {
        let was_told = self.told.has_begun();
        let now = self.clock.now();
        let view = self.subscription.look();
        let news = self.told.next(&view.state, view.observed_at, now);
        let silence = match &view.state.end {
            Some(error) => Look::End(error.clone()),
            None if view.state.is_closing => Look::Leave,
            None => Look::Silence,
        };
        drop(view);
        let Some(news) = news else { return silence };
        // What a watch begins with may have been known here for long.
        if was_told && let Some(reading) = self.told.reading() {
            match &news {
                News::Next(_) | News::Changed(_) => {
                    self.metrics.record_delivery(reading.observed_at, now);
                }
                News::Snapshot | News::Unchanged | News::Stale(_) => {}
            }
        }
        Look::Tell(self.tell(news))
    }

    fn tell(&mut self, news: News) -> Frame {
        let terminal = self.is_over();
        match news {
            News::Next(reading) => self.next_reading(&reading, terminal),
            News::Changed(difference) => {
                self.speak(EventType::Changed);
                self.metrics.count_transitions(&difference.transitions);
                self.change(&difference, terminal)
            }
            News::Snapshot => {
                self.speak(EventType::Snapshot);
                let session = self.told.reading().map(encoded_session);
                Parts { session, terminal, ..self.parts(EventType::Snapshot) }.into()
            }
            News::Unchanged => self.heartbeat(terminal),
            News::Stale(cause) => self.stale(&cause, terminal),
        }
    }

    /// The change that all are told of who were told of the reading before.
    fn next_reading(&mut self, reading: &Reading, terminal: bool) -> Frame {
        self.speak(EventType::Changed);
        self.metrics.count_transitions(&reading.step.transitions);
        let make = || self.change(&reading.step, terminal);
        match self.told.known() {
            Some(known) => next_frame(reading, &known, terminal, make),
            None => make(),
        }
    }

    fn change(&self, difference: &Difference, terminal: bool) -> Frame {
        let paths = difference.changed_fields.iter().copied().map(str::to_owned).collect();
        Parts {
            session: self.told.reading().map(encoded_session),
            transitions: difference.transitions.iter().map(transition_to_proto).collect(),
            changed_fields: Some(prost_types::FieldMask { paths }),
            terminal,
            ..self.parts(EventType::Changed)
        }
        .into()
    }

    /// A message that says no more than that nothing changed; or, in an outage, that it lasts:
    /// a heartbeat after STALE would tell that it is over.
    fn heartbeat(&mut self, terminal: bool) -> Frame {
        if self.told.is_stale()
            && let Some(cause) = self.subscription.trouble()
        {
            return self.stale(&cause, terminal);
        }
        self.speak(EventType::Heartbeat);
        Parts { terminal, ..self.parts(EventType::Heartbeat) }.into()
    }

    fn stale(&mut self, cause: &wire::Error, terminal: bool) -> Frame {
        self.speak(EventType::Stale);
        let cause = status::to_proto(&status::of_session(cause, &self.session));
        Parts { stale_cause: Some(cause), terminal, ..self.parts(EventType::Stale) }.into()
    }

    fn speak(&mut self, event_type: EventType) {
        self.last_message = Instant::now();
        self.metrics.count_message(event_type);
    }

    /// What every message holds.
    fn parts(&self, event_type: EventType) -> Parts {
        let seal = |known: &Known| self.sealer.seal(&self.session, known);
        let token = |known: Known| match self.told.reading() {
            Some(reading) => resume_token(reading, &known, || seal(&known)),
            None => seal(&known).into(),
        };
        Parts {
            event_type: event_type.into(),
            observed_at: Some(value::timestamp(self.told.observed_at())),
            resume_token: self.told.known().map(token).unwrap_or_default(),
            ..Parts::default()
        }
    }

    /// Waits for the first thing that makes the watch speak.
    async fn wait(&mut self, mut alarm: Pin<&mut Sleep>) -> Wake {
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
                () = self.subscription.changed() => return Wake::News,
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

fn transition_to_proto(transition: &Transition) -> proto::StatusTransition {
    let Transition { from, to, occurred_at, inferred } = *transition;
    proto::StatusTransition {
        from_status: status_to_proto(from).into(),
        to_status: status_to_proto(to).into(),
        occurred_at: occurred_at.map(value::timestamp),
        inferred,
    }
}
