//! One quota, the requests that wait for it, and the dispatcher, which is the task that admits
//! them.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    class::Class,
    queue::{Queue, Ticket},
    refusal::{exhausted, paused},
    settings::Settings,
    snapshot::Snapshot,
};
use crate::{
    credential::CredentialId,
    fleet::{Fleet, Permit, budget::Budget},
    wire::Error,
};

/// While the vendor wants a pause, a watch waits only if the pause ends within this time. Otherwise
/// it gets an error.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// One quota.
pub(super) struct Bucket {
    settings: Settings,
    shared: Arc<Shared>,
    /// Started when the first request has to wait, because a runtime surely exists then. Ends with
    /// the bucket.
    dispatcher: Mutex<Option<AbortOnDropHandle<()>>>,
    /// The task that gets permits for a replica of a fleet. Ends with the bucket.
    _member: Option<AbortOnDropHandle<()>>,
}

/// What the dispatcher shares with the waiting requests.
struct Shared {
    state: Mutex<State>,
    /// Tells the dispatcher to look at the state again.
    changed: Arc<Notify>,
}

struct State {
    budget: Budget,
    queue: Queue<Waiting>,
}

/// A waiting request.
struct Waiting {
    /// When it stops waiting. `None` for a watch and for a call without a deadline.
    deadline: Option<Instant>,
    is_watch: bool,
    admission: oneshot::Sender<Admission>,
}

/// When the request was admitted and its permit, or why not.
type Admission = Result<(Instant, Permit), Error>;

/// What becomes of a request.
enum Joined<'a> {
    Admitted(Permit),
    Waits(Place<'a>),
}

/// A place in the queue. Dropping it leaves the queue.
struct Place<'a> {
    shared: &'a Shared,
    caller: CredentialId,
    ticket: Ticket,
    admission: oneshot::Receiver<Admission>,
}

impl Bucket {
    pub(super) fn new(settings: &Settings, fleet: &Fleet) -> Self {
        let (budget, start) = fleet.budget(settings.rps, settings.burst);
        let state = Mutex::new(State { budget, queue: Queue::new() });
        let shared = Arc::new(Shared { state, changed: Arc::default() });
        let member = start.map(|start| {
            let (waiting, changed) = (Arc::downgrade(&shared), shared.changed.clone());
            let demand = move || waiting.upgrade().map(|shared| shared.state.lock().queue.demand());
            start.begin(move || demand().unwrap_or_default(), changed)
        });
        Self { settings: *settings, shared, dispatcher: Mutex::default(), _member: member }
    }

    pub(super) async fn admit(
        &self,
        caller: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Permit, Error> {
        let deadline = match &class {
            Class::Unary => deadline,
            Class::Watch(_) => None,
        };
        let mut place = match self.join(caller, class, deadline)? {
            Joined::Admitted(permit) => return Ok(permit),
            Joined::Waits(place) => place,
        };
        self.wake_dispatcher();
        let admission = &mut place.admission;
        let admission = match deadline {
            Some(deadline) => timeout_at(deadline, admission).await,
            None => Ok(admission.await),
        };
        match admission {
            Ok(Ok(admission)) => admission.map(|(_, permit)| permit),
            // The dispatcher answers every request, so this should not happen.
            Ok(Err(_)) => Err(exhausted(Duration::from_secs(1))),
            Err(_) => Err(self.shared.state.lock().too_late(caller, Instant::now())),
        }
    }

    pub(super) fn slow_down(&self, retry_after: Option<Duration>) {
        let mut state = self.shared.state.lock();
        let now = Instant::now();
        state.budget.slow_down(retry_after, now);
        state.refuse_hopeless(now);
    }

    pub(super) fn speed_up(&self) {
        self.shared.state.lock().budget.speed_up(Instant::now());
    }

    /// Whether a new bucket would behave the same.
    pub(super) fn is_idle(&self) -> bool {
        let mut state = self.shared.state.lock();
        state.queue.is_empty() && state.budget.is_idle(Instant::now())
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.shared.state.lock();
        let now = Instant::now();
        Snapshot {
            rate: state.budget.rate(),
            limit: self.settings.rps,
            used: state.budget.used(now),
            waiting_unary: state.queue.waiting_unary(),
            waiting_watches: state.queue.waiting_watches(),
            pause: state.budget.pause(now),
        }
    }

    /// Admits the request at once, puts it into the queue, or refuses it.
    fn join(
        &self,
        caller: CredentialId,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Joined<'_>, Error> {
        let mut state = self.shared.state.lock();
        let now = Instant::now();
        if state.queue.is_empty() && state.budget.ready_at(now) <= now {
            let permit = state.budget.take(now);
            if let Class::Watch(urgency) = &class {
                urgency.hint.take();
            }
            return Ok(Joined::Admitted(permit));
        }
        let (sender, admission) = oneshot::channel();
        let is_watch = matches!(class, Class::Watch(_));
        let waiting = Waiting { deadline, is_watch, admission: sender };
        if waiting.is_hopeless(state.budget.pause(now), now) {
            return Err(paused(state.budget.pause(now)));
        }
        let ticket = match class {
            Class::Unary => {
                state.check(caller, deadline, self.settings.queue_limit, now)?;
                state.queue.join_unary(caller, waiting)
            }
            Class::Watch(urgency) => state.queue.join_watch(urgency, waiting),
        };
        Ok(Joined::Waits(Place { shared: &self.shared, caller, ticket, admission }))
    }

    /// Wakes the dispatcher. Starts it if there is none, or if it ended with its runtime.
    fn wake_dispatcher(&self) {
        let mut dispatcher = self.dispatcher.lock();
        if dispatcher.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let shared = self.shared.clone();
            let task = tokio::spawn(async move { shared.dispatch().await });
            *dispatcher = Some(AbortOnDropHandle::new(task));
        }
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// Admits the waiting requests, each as soon as the pace allows it.
    async fn dispatch(&self) {
        loop {
            let next = self.state.lock().admit_ready(Instant::now());
            let changed = self.changed.notified();
            match next {
                Some(ready_at) => drop(timeout_at(ready_at, changed).await),
                None => changed.await,
            }
        }
    }
}

impl Waiting {
    /// Whether the vendor's pause lasts longer than this request may wait.
    fn is_hopeless(&self, pause: Duration, now: Instant) -> bool {
        if self.is_watch {
            pause > LONGEST_SILENCE
        } else {
            !pause.is_zero() && self.deadline.is_some_and(|deadline| now + pause >= deadline)
        }
    }
}

impl State {
    /// Admits the requests that may be sent now. Returns when the next one may be sent, if any is
    /// left.
    fn admit_ready(&mut self, now: Instant) -> Option<Instant> {
        while !self.queue.is_empty() {
            let ready_at = self.budget.ready_at(now);
            if ready_at > now {
                return Some(ready_at);
            }
            // A request that was dropped has left the queue, so this succeeds. If it fails anyway,
            // nothing was sent, and nothing is counted.
            let next = self.queue.next(now)?;
            let permit = self.budget.take(now);
            if next.admission.send(Ok((now, permit))).is_err() {
                self.budget.give_back(now, now);
            }
        }
        None
    }

    /// Refuses the requests that cannot wait for the end of the vendor's pause.
    fn refuse_hopeless(&mut self, now: Instant) {
        let pause = self.budget.pause(now);
        for waiting in self.queue.take(|waiting| waiting.is_hopeless(pause, now)) {
            let _ = waiting.admission.send(Err(paused(pause)));
        }
    }

    /// Checks that one more unary call may wait: its turn must come before its deadline, and the
    /// queue must have room.
    fn check(
        &mut self,
        caller: CredentialId,
        deadline: Option<Instant>,
        limit: usize,
        now: Instant,
    ) -> Result<(), Error> {
        let turn = self.turn_of(caller, now);
        let refusal = || exhausted(turn.duration_since(now));
        if deadline.is_some_and(|deadline| turn >= deadline) {
            return Err(refusal());
        }
        if self.queue.waiting_unary() >= limit {
            let displaced = self.queue.make_room(caller).ok_or_else(refusal)?;
            let _ = displaced.admission.send(Err(refusal()));
        }
        Ok(())
    }

    /// Returns the error for a call whose deadline passed before its turn.
    fn too_late(&mut self, caller: CredentialId, now: Instant) -> Error {
        let turn = self.turn_of(caller, now).duration_since(now);
        if self.budget.pause(now).is_zero() { exhausted(turn) } else { paused(turn) }
    }

    fn turn_of(&mut self, caller: CredentialId, now: Instant) -> Instant {
        self.budget.predict(self.queue.ahead_of(caller) + 1, now)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if state.queue.leave(self.caller, self.ticket).is_none()
            && let Ok(Ok((admitted_at, _))) = self.admission.try_recv()
        {
            // The request was admitted, but it was dropped before it received the admission. It is
            // never sent.
            state.budget.give_back(admitted_at, Instant::now());
            self.shared.changed.notify_one();
        }
    }
}
