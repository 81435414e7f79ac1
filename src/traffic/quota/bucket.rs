//! One quota and those who wait for it. No task of its own: one of those who wait keeps the time.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Class, LONGEST_SILENCE, Settings, Snapshot, exhausted, held,
    pace::Pace,
    queue::{Queue, Ticket},
};
use crate::{credential::CredentialId, wire::Error};

/// How long those who wait trust in the timekeeper before they look whether it is late.
const TRUST: Duration = Duration::from_secs(2);

/// How late a timekeeper may be.
const LATE: Duration = Duration::from_millis(100);

/// One quota.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: f64,
    queue_limit: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    queue: Queue<Waiting>,
    /// When the next one is to be called.
    due_at: Instant,
    /// Whoever holds it sleeps until then and calls the next; the others only wait to be called, or
    /// to hold it.
    timekeeper: Arc<tokio::sync::Mutex<()>>,
}

/// One who waits in the queue.
#[derive(Debug)]
struct Waiting {
    /// Until when it waits; nothing for a watch and for a call without a deadline.
    deadline: Option<Instant>,
    is_watch: bool,
    call: oneshot::Sender<Call>,
}

/// What a waiting one is told: when it was admitted, or why not.
type Call = Result<Instant, Error>;

/// A place in the queue; left by dropping it.
struct Place<'a> {
    bucket: &'a Bucket,
    caller: CredentialId,
    ticket: Ticket,
    turn: oneshot::Receiver<Call>,
}

impl Bucket {
    pub(super) fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        let pace = Pace::new(settings.rps, settings.burst, now);
        let timekeeper = Arc::default();
        let state = State { pace, queue: Queue::new(), due_at: now, timekeeper };
        Self { limit: settings.rps, queue_limit: settings.queue_limit, state: Mutex::new(state) }
    }

    pub(super) async fn admit(
        &self,
        caller: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let deadline = match class {
            Class::Unary => deadline,
            Class::Watch(_) => None,
        };
        let Some(mut place) = self.join(caller, class, deadline)? else { return Ok(()) };
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            call = &mut place.turn => match call {
                Ok(call) => call.map(drop),
                // The sender goes only with a call; should that ever change, ask again later.
                Err(_) => Err(exhausted(Duration::from_secs(1))),
            },
            never = self.keep_time() => match never {},
            () = over => Err(self.too_late(caller)),
        }
    }

    pub(super) fn slow_down(&self, retry_after: Option<Duration>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.pace.slow_down(retry_after, now);
        state.refuse_hopeless(now);
    }

    pub(super) fn speed_up(&self) {
        self.state.lock().pace.speed_up(Instant::now());
    }

    pub(super) fn is_idle(&self) -> bool {
        let mut state = self.state.lock();
        state.queue.is_empty() && state.pace.is_idle(Instant::now())
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        let now = Instant::now();
        Snapshot {
            rate: state.pace.rate(),
            limit: self.limit,
            used: state.pace.used(now),
            waiting_unary: state.queue.waiting_unary(),
            waiting_watches: state.queue.waiting_watches(),
            pause: state.pace.pause(now),
        }
    }

    /// Admits at once (`None`), gives a place in the queue, or refuses.
    fn join(
        &self,
        caller: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Option<Place<'_>>, Error> {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.queue.is_empty() && state.pace.ready_at(now) <= now {
            state.pace.take(now);
            return Ok(None);
        }
        let (call, turn) = oneshot::channel();
        let waiting = Waiting { deadline, is_watch: matches!(class, Class::Watch(_)), call };
        if waiting.is_hopeless(state.pace.pause(now), now) {
            return Err(held(state.pace.pause(now)));
        }
        let ticket = match class {
            Class::Unary => {
                state.check(caller, deadline, self.queue_limit, now)?;
                state.queue.join_unary(caller, waiting)
            }
            Class::Watch(urgency) => state.queue.join_watch(urgency, waiting),
        };
        state.call_next(now);
        Ok(Some(Place { bucket: self, caller, ticket, turn }))
    }

    async fn keep_time(&self) -> Infallible {
        let _timekeeper = self.time_to_keep().await;
        loop {
            let next = self.state.lock().call_next(Instant::now());
            match next {
                Some(ready_at) => sleep_until(ready_at).await,
                // It called itself, too, and is about to go.
                None => pending().await,
            }
        }
    }

    /// Waits to be the timekeeper. Puts the present one out of office if that is late: nobody may
    /// be polling it, and a future that is kept but left alone must not stop the others.
    async fn time_to_keep(&self) -> OwnedMutexGuard<()> {
        loop {
            let office = Arc::clone(&self.state.lock().timekeeper);
            if let Ok(timekeeper) = timeout(TRUST, Arc::clone(&office).lock_owned()).await {
                return timekeeper;
            }
            let mut state = self.state.lock();
            if state.is_late(Instant::now()) && Arc::ptr_eq(&state.timekeeper, &office) {
                state.timekeeper = Arc::default();
            }
        }
    }

    fn too_late(&self, caller: CredentialId) -> Error {
        let mut state = self.state.lock();
        let now = Instant::now();
        let turn = state.turn_of(caller, now).duration_since(now);
        if state.pace.pause(now).is_zero() { exhausted(turn) } else { held(turn) }
    }
}

impl Waiting {
    /// Whether the vendor's pause lasts longer than this one may wait.
    fn is_hopeless(&self, pause: Duration, now: Instant) -> bool {
        if self.is_watch {
            pause > LONGEST_SILENCE
        } else {
            !pause.is_zero() && self.deadline.is_some_and(|deadline| now + pause >= deadline)
        }
    }
}

impl State {
    /// Calls those whose turn it is. Returns when the next may go, if anybody is left.
    fn call_next(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let ready_at = self.pace.ready_at(now);
            if ready_at > now {
                self.due_at = ready_at;
                return (!self.queue.is_empty()).then_some(ready_at);
            }
            let waiting = self.queue.next(now)?;
            // One who has gone has left the queue; still, nothing is counted that is not sent.
            if waiting.call.send(Ok(now)).is_ok() {
                self.pace.take(now);
            }
        }
    }

    /// Refuses those who wait in vain for the vendor's pause to end.
    fn refuse_hopeless(&mut self, now: Instant) {
        let pause = self.pace.pause(now);
        for waiting in self.queue.take(|waiting| waiting.is_hopeless(pause, now)) {
            // Should it have gone meanwhile, all the better.
            let _ = waiting.call.send(Err(held(pause)));
        }
    }

    /// Whether somebody should have been called before now.
    fn is_late(&self, now: Instant) -> bool {
        !self.queue.is_empty() && now.duration_since(self.due_at) > LATE
    }

    /// Whether one more unary call may wait: its turn comes in time, and there is room.
    fn check(
        &mut self,
        caller: CredentialId,
        deadline: Option<Instant>,
        limit: usize,
        now: Instant,
    ) -> Result<(), Error> {
        let turn = self.turn_of(caller, now);
        let refused = || exhausted(turn.duration_since(now));
        if deadline.is_some_and(|deadline| turn >= deadline) {
            return Err(refused());
        }
        if self.queue.waiting_unary() >= limit {
            let longest = self.queue.make_room(caller).ok_or_else(refused)?;
            // Should it have gone meanwhile, all the better.
            drop(longest.call.send(Err(refused())));
        }
        Ok(())
    }

    fn turn_of(&mut self, caller: CredentialId, now: Instant) -> Instant {
        self.pace.foresee(self.queue.ahead_of(caller) + 1, now)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.bucket.state.lock();
        if state.queue.leave(self.caller, self.ticket).is_some() {
            return;
        }
        // Called but gone before it heard: the request is never sent.
        if let Ok(Ok(admitted_at)) = self.turn.try_recv() {
            let now = Instant::now();
            state.pace.give_back(admitted_at, now);
            state.call_next(now);
        }
    }
}
