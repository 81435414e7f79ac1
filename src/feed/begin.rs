//! How a watch begins: with an answer that this watcher can be told.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::{
    Ask, Feed, Key, Reply, Shared, Subscription,
    effect::{Effect, Meaning},
    newcomer::Newcomer,
    poll,
    poller::Poller,
};
use crate::{
    model::{Digest, Known, Session, Validator, Verdict},
    trace::Cause,
    traffic::Terms,
    wire,
    wire::{Answer, Kind},
};

/// How many answers a watch asks for before it starts, at most: doubtful ones need a second.
const FIRST_ANSWERS: usize = 4;

impl Feed {
    /// Takes part in the poll of a session, which is started if there is none. `known` is what the
    /// watcher was told in an earlier watch.
    ///
    /// Returns when there is an answer that this watcher can be told: one that is fresh, and not
    /// behind what it knows, nor behind what a unary call was told. If that cannot be had, no poll
    /// is started, and the error is that of the answer.
    pub async fn subscribe(
        &self,
        key: &Key,
        terms: Terms,
        known: Option<&Known>,
    ) -> Result<Subscription, wire::Error> {
        let mut newcomer = Newcomer::new(key, known);
        let running = self.running(key);
        if let Some(poller) = &running
            && poller.is_fresh(newcomer.at_least(poller), &self.shared.settings)
            && let Some(subscription) = self.join(key, poller, &mut newcomer, &terms.cause)
        {
            return Ok(subscription);
        }
        let mut refusal = wire::Error::new(Kind::Malformed);
        for attempt in 0..FIRST_ANSWERS {
            if attempt > 0 {
                sleep(self.shared.settings.confirm_after).await;
            }
            // Who knows the session already needs an answer that is newer.
            let skips_cache = attempt > 0 || known.is_some() || running.is_some();
            let terms = Terms { skips_cache, ..terms.clone() };
            let cause = terms.cause.clone();
            let sent_at = Instant::now();
            let reply = (self.shared.read)(key.clone(), Ask::First(terms)).await;
            match self.begin(key, reply, sent_at, &mut newcomer, &cause) {
                Begun::Subscribed(subscription) => return Ok(subscription),
                Begun::Failed(error) => return Err(error),
                Begun::Doubtful(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// A subscription to a running poll, if the watcher can be told what it knows.
    fn join(
        &self,
        key: &Key,
        poller: &Arc<Poller>,
        newcomer: &mut Newcomer<'_>,
        cause: &Cause,
    ) -> Option<Subscription> {
        let reading = poller.state.borrow().reading.clone();
        let verdict = newcomer.judge_reading(&reading);
        // Under this lock, so that nobody joins a poll which ends since nobody watches it.
        let pollers = self.shared.pollers();
        let running = pollers.by_key.get(&key.index());
        let is_running = running.is_some_and(|running| Arc::ptr_eq(running, poller));
        (verdict == Verdict::Believed && is_running)
            .then(|| Subscription::to(poller, cause.clone()))
    }

    /// Gives the first answer to the poll that is running, or starts one with it.
    fn begin(
        &self,
        key: &Key,
        reply: Reply,
        sent_at: Instant,
        newcomer: &mut Newcomer<'_>,
        cause: &Cause,
    ) -> Begun {
        if let Some(poller) = self.running(key) {
            return self.go_on(key, &poller, reply, sent_at, newcomer, cause);
        }
        let answer = match reply {
            Ok(answer) => answer,
            Err(error) => return Begun::without_answer(error, newcomer),
        };
        let session = &answer.content;
        match newcomer.judge(session, &Digest::of(session)) {
            Verdict::Believed => {}
            Verdict::Disbelieved(disbelief) if !newcomer.is_resumed() => {
                return Begun::Failed(wire::Error::new(Kind::Malformed).caused_by(disbelief));
            }
            Verdict::Doubtful | Verdict::Disbelieved(_) => return Begun::doubtful(None),
        }
        let validator = newcomer.validator();
        match self.start(key, answer.clone(), validator, cause) {
            Ok(subscription) => Begun::Subscribed(subscription),
            // Another watch was quicker.
            Err(poller) => self.go_on(key, &poller, Ok(answer), sent_at, newcomer, cause),
        }
    }

    /// Gives an answer to a running poll, and joins it.
    fn go_on(
        &self,
        key: &Key,
        poller: &Arc<Poller>,
        reply: Reply,
        sent_at: Instant,
        newcomer: &mut Newcomer<'_>,
        cause: &Cause,
    ) -> Begun {
        let trouble = || poller.trouble().map(Arc::unwrap_or_clone);
        match poller.accept(reply, sent_at, &self.shared.settings) {
            Effect::Unchanged | Effect::Changed => {}
            Effect::Doubtful => return Begun::doubtful(trouble()),
            Effect::Failed | Effect::Disbelieved => return Begun::failed(trouble()),
            Effect::Ended => {
                let end = poller.state.borrow().end.clone();
                return Begun::failed(end.map(Arc::unwrap_or_clone));
            }
            Effect::Superseded => match trouble() {
                None => {}
                trouble if poller.is_doubtful() => return Begun::doubtful(trouble),
                trouble => return Begun::failed(trouble),
            },
        }
        match self.join(key, poller, newcomer, cause) {
            Some(subscription) => Begun::Subscribed(subscription),
            None => Begun::doubtful(None),
        }
    }

    /// Starts a poll with an answer, unless one is running.
    fn start(
        &self,
        key: &Key,
        answer: Answer<Arc<Session>>,
        validator: Validator,
        cause: &Cause,
    ) -> Result<Subscription, Arc<Poller>> {
        let Shared { settings, identities, .. } = &*self.shared;
        let mut pollers = self.shared.pollers();
        if let Some(running) = pollers.by_key.get(&key.index())
            && running.state.borrow().end.is_none()
        {
            return Err(running.clone());
        }
        identities.set(key.index(), validator.identity());
        let name = key.session.clone();
        let poller = Poller::new(name, answer, validator, pollers.is_closing, settings);
        let poller = Arc::new(poller);
        let subscription = Subscription::to(&poller, cause.clone());
        pollers.by_key.insert(key.index(), poller.clone());
        drop(pollers);
        poll::start(self.shared.clone(), key.clone(), poller);
        Ok(subscription)
    }
}

/// What an answer means to a watch that is about to begin.
enum Begun {
    Subscribed(Subscription),
    /// It cannot begin.
    Failed(wire::Error),
    /// Another answer has to confirm this one; the error, if there is none.
    Doubtful(wire::Error),
}

impl Begun {
    /// There is no session.
    fn without_answer(error: wire::Error, newcomer: &mut Newcomer<'_>) -> Self {
        match Meaning::of(&error) {
            Meaning::Absent(absence) if !newcomer.is_gone(absence) => Self::Doubtful(error),
            Meaning::Absent(_) | Meaning::Refused | Meaning::Trouble => Self::Failed(error),
        }
    }

    fn failed(error: Option<wire::Error>) -> Self {
        Self::Failed(error.unwrap_or_else(|| wire::Error::new(Kind::Unavailable)))
    }

    fn doubtful(error: Option<wire::Error>) -> Self {
        Self::Doubtful(error.unwrap_or_else(|| wire::Error::new(Kind::Malformed)))
    }
}
