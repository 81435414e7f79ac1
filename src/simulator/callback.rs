//! Sends the status callbacks. The callback URL of a session gets a POST when the customer joins
//! and when the session ends. If a callback does not arrive, it is only counted.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Uri, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{body, chance::is_chosen, control::Control, life::Life, world::World};
use crate::config::simulate::CallbackBody;

/// The most callbacks in flight.
const CONCURRENCY: usize = 64;
/// The most callbacks in flight or waiting. Further callbacks are lost.
const WAITING_LIMIT: usize = 10_000;
/// The longest time for one callback.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The planned transitions and callbacks, sorted by time and then by the order of planning.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    transitions: BTreeMap<(Instant, u64), Transition>,
    outbox: BTreeMap<(Instant, u64), Callback>,
    count: u64,
}

/// A step of a session that causes a callback.
#[derive(Debug)]
struct Transition {
    id: String,
    /// The number of the life, since another life with the same id may have replaced it.
    life: u64,
    step: usize,
}

/// A callback that can be sent.
#[derive(Clone, Debug)]
pub(super) struct Callback {
    url: Uri,
    content_type: &'static str,
    body: String,
}

impl Schedule {
    /// Returns a new number, for an entry of the schedule or for a life.
    pub(super) fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Plans the transitions of a life, or only those that happen later than `after`.
    fn plan(&mut self, life: &Life, after: Option<Instant>) {
        let is_later = |at: Instant| after.is_none_or(|after| at > after);
        for (at, step) in life.callback_steps().filter(|(at, _)| is_later(*at)) {
            let transition = Transition { id: life.script.id.clone(), life: life.number, step };
            let number = self.next_number();
            self.transitions.insert((at, number), transition);
        }
    }

    /// The time of the next transition or callback.
    fn next(&self) -> Option<Instant> {
        let first = [self.transitions.keys().next(), self.outbox.keys().next()];
        first.into_iter().flatten().map(|(at, _)| *at).min()
    }
}

/// Removes and returns the first entry, if its time has come.
fn pop<T>(entries: &mut BTreeMap<(Instant, u64), T>, now: Instant) -> Option<(Instant, T)> {
    let first = entries.first_entry().filter(|entry| entry.key().0 <= now)?;
    let ((at, _), entry) = first.remove_entry();
    Some((at, entry))
}

impl World {
    /// Plans the callbacks of a session that has just been added, if it has a URL for them.
    pub(super) fn plan_callbacks(&mut self, id: &str) {
        let Some(life) = self.sessions.get(id) else { return };
        if self.settings.callbacks.url.is_some()
            || life.script.session_status_callback_url.is_some()
        {
            self.schedule.plan(life, None);
        }
    }

    /// Plans all future callbacks again, because the general URL has changed.
    pub(super) fn replan_callbacks(&mut self) {
        self.schedule.transitions.clear();
        let now = Instant::now();
        let is_general = self.settings.callbacks.url.is_some();
        for life in self.sessions.values() {
            if is_general || life.script.session_status_callback_url.is_some() {
                self.schedule.plan(life, Some(now));
            }
        }
    }

    /// Creates the callbacks about the transitions until now.
    pub(super) fn collect_callbacks(&mut self) {
        let now = Instant::now();
        let settings = self.settings.callbacks.clone();
        let delay = Duration::try_from_secs_f64(settings.delay).unwrap_or_default();
        while let Some((at, transition)) = pop(&mut self.schedule.transitions, now) {
            let Some(callback) = self.callback(&transition) else { continue };
            // Each callback of a session is chosen on its own.
            let what = |what: &str| format!("{what} {}", transition.step);
            if is_chosen(self.seed, &what("lost"), &transition.id, settings.loss) {
                self.counters.callbacks_lost += 1;
                continue;
            }
            let Some(at) = at.checked_add(delay) else { continue };
            if is_chosen(self.seed, &what("sent twice"), &transition.id, settings.doubled) {
                let number = self.schedule.next_number();
                self.schedule.outbox.insert((at, number), callback.clone());
            }
            let number = self.schedule.next_number();
            self.schedule.outbox.insert((at, number), callback);
        }
    }

    /// The callbacks to send now, and when to ask again.
    pub(super) fn due_callbacks(&mut self) -> (Vec<Callback>, Option<Instant>) {
        self.collect_callbacks();
        let now = Instant::now();
        let ready = std::iter::from_fn(|| pop(&mut self.schedule.outbox, now));
        let ready = ready.map(|(_, callback)| callback).collect();
        (ready, self.schedule.next())
    }

    /// The callback about a transition; `None` if its session was removed, or has no URL any more.
    fn callback(&self, transition: &Transition) -> Option<Callback> {
        let life =
            self.sessions.get(&transition.id).filter(|life| life.number == transition.life)?;
        let Life { script, since_time, start_token, .. } = life;
        let settings = &self.settings.callbacks;
        let url = script.session_status_callback_url.as_ref().or(settings.url.as_ref())?;
        let moment = script.after(script.steps.get(..=transition.step)?)?;
        let shape = script.shape.or(self.settings.shape);
        let mut object = body::session(script, &moment, shape, *since_time, self.request_count);
        object.make_callback(start_token, settings.ids, settings.order);
        let (content_type, body) = match settings.body {
            CallbackBody::Json => ("application/json;charset=UTF-8", object.text(shape)),
            CallbackBody::Form => ("application/x-www-form-urlencoded", object.form(shape)),
        };
        Some(Callback { url: url.uri().clone(), content_type, body })
    }
}

/// Sends the callbacks of a simulator, for as long as the future is polled.
pub(super) async fn send_all(control: Control) -> Infallible {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let mut sending = JoinSet::new();
    loop {
        // This is a separate statement, so that the lock is released before the next await.
        let (ready, next) = control.world().due_callbacks();
        for callback in ready {
            if sending.len() < WAITING_LIMIT {
                sending.spawn(send(callback, client.clone(), permits.clone(), control.clone()));
            } else {
                control.count(|counters| counters.callbacks_lost += 1);
            }
        }
        control.count(|_| ());
        tokio::select! {
            () = control.replanned() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            Some(_) = sending.join_next() => {}
        }
    }
}

/// Sends one callback. The receiver's failures are counted, and have no other effect.
async fn send(
    callback: Callback,
    client: Client<HttpConnector, Body>,
    permits: Arc<Semaphore>,
    control: Control,
) {
    let Ok(_permit) = permits.acquire().await else { return };
    let request = Request::post(callback.url)
        .header(CONTENT_TYPE, callback.content_type)
        .body(Body::from(callback.body));
    let Ok(request) = request else { return };
    control.count(|counters| counters.callbacks_sent += 1);
    let answer = timeout(TIME_LIMIT, client.request(request)).await;
    if !answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success())) {
        control.count(|counters| counters.callbacks_failed += 1);
    }
}
