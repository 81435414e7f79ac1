//! Reads the vendor's list for the credentials that watch many sessions. One request for the list
//! tells the statuses of all sessions, so those that have changed are polled first.
//!
//! The list is only a hint. A list that is out of date, wrong or incomplete costs requests, and never
//! a message.

mod cost;
mod reliability;

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tracing::info;

use super::{
    account::Account,
    metric,
    poll_interval::doubled,
    poller::Observation,
    registry::Registry,
    request::{List, ListAsk},
    roster::{self, Found},
};
use crate::{
    credential::CredentialId,
    model::{ListWindow, ListedSession, SessionId, UtcTime},
    traffic::{Hint, Urgency},
    wire::Error,
};
use cost::Cost;

pub(super) use reliability::Reliability;

/// With fewer polls, no list can pay.
const FEWEST_POLLS: usize = 2;

/// How often to check whether the list would pay.
const CHECK: Duration = Duration::from_secs(5);

/// The list covers the sessions that started within this time. Older ones are polled as if there
/// were no list, since the list has every session since then, also those that nobody watches.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// The vendor's times and ours may differ by this.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// The first and the longest pause after the list failed. The pause doubles with each failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(30));

/// After so many sessions, other tasks get a turn.
const SLICE: usize = 500;

/// Starts to sweep for an account, if it has enough polls and nobody does it yet.
pub(super) fn start_if_due(registry: &Arc<Registry>, account: &mut Account) {
    let is_running = account.sweeper.strong_count() > 0;
    if registry.list.is_some() && !is_running && is_due(account) {
        let wake = Arc::new(Notify::new());
        account.sweeper = Arc::downgrade(&wake);
        let credential = account.credential.id();
        let sweeper = Sweeper { registry: registry.clone(), credential, wake };
        tokio::spawn(async move { sweeper.run().await });
    }
}

fn is_due(account: &Account) -> bool {
    account.polls.len() >= FEWEST_POLLS || account.rosters().next().is_some()
}

/// Sweeps for one credential until it has too few polls and no roster.
struct Sweeper {
    registry: Arc<Registry>,
    credential: CredentialId,
    /// Notified when there is a new roster. The account refers to it, so that it has one sweeper.
    wake: Arc<Notify>,
}

/// Why the list gave no hints.
enum Failure {
    Unanswered(Error),
    /// Hardly any of its hints came true.
    Unreliable,
}

impl Failure {
    /// The name in metrics and logs.
    fn name(&self) -> &'static str {
        match self {
            Self::Unanswered(error) => error.kind.name(),
            Self::Unreliable => metric::UNRELIABLE,
        }
    }
}

impl Sweeper {
    async fn run(&self) {
        let Some(list) = &self.registry.list else { return };
        let (mut cost, mut failures) = (Cost::UNKNOWN, 0);
        let mut asked_at = Instant::now();
        // A roster waits for its first sessions.
        let mut due_at = asked_at;
        loop {
            tokio::select! {
                () = sleep_until(due_at) => {}
                () = self.wake.notified() => sleep_until(due_at.min(asked_at + cost.interval())).await,
            }
            let Some(account) = self.account() else { return };
            let plan = Plan::new(&account, &self.registry, cost.interval());
            let has_roster = account.rosters().next().is_some();
            if !has_roster && !cost.pays(plan.rate, self.registry.settings.list_advantage) {
                self.uncover(&account);
                cost.forget_a_little();
                due_at = Instant::now() + CHECK;
                continue;
            }
            let began_at = Instant::now();
            let urgency = Urgency { since: asked_at, weight: plan.weight, hint: Hint::default() };
            let ask =
                ListAsk { credential: account.credential.clone(), window: plan.window, urgency };
            let result = self.sweep(list, ask, &account, cost.interval()).await;
            asked_at = began_at;
            let pause = match result {
                Ok(bytes) => {
                    metric::count_sweep(metric::SWEPT);
                    failures = 0;
                    cost = Cost::of(bytes, began_at.elapsed());
                    cost.interval()
                }
                Err(failure) => {
                    metric::count_sweep(failure.name());
                    if failures == 0 {
                        info!(
                            reason = failure.name(),
                            "GoToAssist's list of sessions gives no hints; each session is polled"
                        );
                    }
                    self.uncover(&account);
                    account.reliability.forget_hints();
                    failures += 1;
                    doubled(if has_roster { roster::BACKOFF } else { BACKOFF }, failures)
                }
            };
            due_at = Instant::now() + pause;
        }
    }

    /// The account as it is now. `None` if this sweeper must end.
    fn account(&self) -> Option<Account> {
        let mut polls = self.registry.polls.lock();
        let account = polls.by_credential.get_mut(&self.credential)?;
        if !account.sweeper.ptr_eq(&Arc::downgrade(&self.wake)) {
            return None;
        }
        if is_due(account) {
            return Some(account.clone());
        }
        // Under the same lock, so that the next poll or roster starts another sweeper.
        account.sweeper = std::sync::Weak::new();
        self.uncover(account);
        if account.polls.is_empty() {
            polls.by_credential.remove(&self.credential);
        }
        None
    }

    /// Reads the list once. Returns its size in bytes.
    async fn sweep(
        &self,
        list: &List,
        ask: ListAsk,
        account: &Account,
        interval: Duration,
    ) -> Result<usize, Failure> {
        let observations = Arc::<Mutex<HashMap<SessionId, Observation>>>::default();
        let found = Arc::<Mutex<Vec<Found>>>::default();
        let rosters: Vec<_> = account.rosters().collect();
        let since = rosters.iter().map(|roster| roster.since).min();
        let (polls, observed, finds) = (account.clone(), observations.clone(), found.clone());
        let keep = move |element: ListedSession| {
            observe(&polls, &element, &mut observed.lock());
            finds.lock().extend(since.and_then(|since| Found::of(&element, since)));
        };
        let bytes = match list(ask, Box::new(keep)).await {
            Ok(bytes) => bytes,
            Err(error) => {
                for roster in &rosters {
                    roster.fail(&error, self.registry.settings.outage_limit);
                }
                return Err(Failure::Unanswered(error));
            }
        };
        for roster in &rosters {
            roster.offer(&found.lock(), self.registry.clock.now());
        }
        if account.reliability.is_useless() {
            return Err(Failure::Unreliable);
        }
        let observations = mem::take(&mut *observations.lock());
        let (stretch, settings) = (account.reliability.stretch(), &self.registry.settings);
        // The list must fail several times in a row before it covers a session no more.
        let until = Instant::now() + 4 * interval.max(CHECK);
        for (place, (session, poller)) in account.polls.iter().enumerate() {
            match observations.get(session) {
                Some(observation) => observation.apply(until, stretch, settings),
                None => poller.uncover(settings),
            }
            if place % SLICE == SLICE - 1 {
                yield_now().await;
            }
        }
        Ok(bytes)
    }

    fn uncover(&self, account: &Account) {
        for poller in account.polls.values() {
            poller.uncover(&self.registry.settings);
        }
    }
}

/// Compares an element of the list with the polls of its session. A list may show a session twice.
fn observe(
    account: &Account,
    element: &ListedSession,
    observations: &mut HashMap<SessionId, Observation>,
) {
    let names = [Some(element.session.session_id.as_str()), element.start_token.as_deref()];
    for (session, poller) in names.into_iter().flatten().flat_map(|name| account.named(name)) {
        let observation = Observation::new(poller, element);
        match observations.get_mut(session) {
            Some(earlier) => earlier.add(&observation),
            None => drop(observations.insert(session.clone(), observation)),
        }
    }
}

/// What the list would tell, and the time that it must cover.
struct Plan {
    /// The requests a second that single polls take to be as fresh.
    rate: f64,
    /// How much the list would tell.
    weight: f64,
    window: ListWindow,
}

impl Plan {
    /// `interval` is the time between two readings of the list.
    fn new(account: &Account, registry: &Registry, interval: Duration) -> Self {
        let now = registry.clock.now();
        let earliest = now - LONGEST_WINDOW;
        let window = ListWindow { from: now, to: now + MARGIN };
        let mut plan = Self { rate: 0.0, weight: 0.0, window };
        for poller in account.polls.values() {
            let revision = poller.state.borrow().revision.clone();
            let status = revision.session.status();
            let started_at = revision.session.started_at.map(UtcTime::to_timestamp);
            let started_at = started_at.unwrap_or(revision.observed_at);
            if started_at >= earliest && !status.is_final() {
                let poll = registry.settings.intervals.of(status).max(interval);
                plan.rate += 1.0 / poll.as_secs_f64();
                plan.weight += 1.0;
                plan.window.from = plan.window.from.min(started_at);
            }
        }
        // An open session may have begun long before its roster.
        let roster = account.rosters().map(|roster| roster.window_from(earliest)).min();
        plan.window.from = plan.window.from.min(roster.unwrap_or(now)) - MARGIN;
        plan
    }
}
