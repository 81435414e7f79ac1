//! Subscribes a new watcher, beginning with an answer that is new enough for it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    poll,
    poll_result::{ErrorClass, PollResult},
    poller::{Poller, Sender},
    registry::Registry,
    request::{Ask, Key, Reply},
    revision::Revision,
    subscription::Subscription,
    sweep,
};
use crate::{
    fleet::polls::Published,
    model::{Baseline, Digest, History, Known, Session, Validation, Validator},
    trace::Cause,
    traffic::RequestContext,
    wire::{Answer, Error, Kind},
};

/// The most answers that a watch asks for before it starts. An unconfirmed answer needs a second
/// one.
const MAX_FIRST_ANSWERS: usize = 4;

/// A watcher that has no subscription yet.
pub(super) struct NewSubscription<'a> {
    registry: &'a Arc<Registry>,
    key: &'a Key,
    /// What the watcher knows from an earlier watch. It may know more than this server has seen, if
    /// another server told it.
    known: Option<(&'a Known, History)>,
    validator: Validator,
    cause: Cause,
}

/// Why a reply did not start the watch.
enum NotStarted {
    /// The watch fails.
    Failed(Error),
    /// A second answer may start the watch. If none does, the watch fails with this error.
    Unconfirmed(Error),
}

impl NotStarted {
    fn failed(error: Option<Error>) -> Self {
        Self::Failed(error.unwrap_or_else(|| Error::new(Kind::Unavailable)))
    }

    fn unconfirmed(error: Option<Error>) -> Self {
        Self::Unconfirmed(error.unwrap_or_else(|| Error::new(Kind::Malformed)))
    }
}

impl<'a> NewSubscription<'a> {
    pub fn new(
        registry: &'a Arc<Registry>,
        key: &'a Key,
        known: Option<&'a Known>,
        cause: Cause,
    ) -> Self {
        let validator = Validator::new(&key.session, known.map(|known| &known.digest));
        let known = known.map(|known| (known, History::starting_from(known.progress)));
        Self { registry, key, known, validator, cause }
    }

    /// Subscribes to a running poll, or asks the vendor and starts one.
    pub async fn start(mut self, context: RequestContext) -> Result<Subscription, Error> {
        let running = self.registry.running(self.key);
        if let Some(poller) = &running
            && poller.is_fresh(self.min_observed_at(poller), &self.registry.settings)
            && let Some(subscription) = self.join(poller)
        {
            return Ok(subscription);
        }
        if running.is_none()
            && let Some(subscription) = self.start_with_published().await
        {
            return Ok(subscription);
        }
        let mut latest = Error::new(Kind::Malformed);
        for attempt in 0..MAX_FIRST_ANSWERS {
            if attempt > 0 {
                sleep(self.registry.settings.confirm_after).await;
            }
            // If the watcher or a poll knows the session, a cached answer could be older than that.
            let skips_cache = attempt > 0 || self.known.is_some() || running.is_some();
            let context = RequestContext { skips_cache, ..context.clone() };
            let sent_at = Instant::now();
            let reply = (self.registry.read)(self.key.clone(), Ask::First(context)).await;
            match self.start_with(reply, sent_at) {
                Ok(subscription) => return Ok(subscription),
                Err(NotStarted::Failed(error)) => return Err(error),
                Err(NotStarted::Unconfirmed(error)) => latest = error,
            }
        }
        Err(latest)
    }

    /// Starts the watch with the latest reply of another replica's poll, if it is fresh.
    async fn start_with_published(&mut self) -> Option<Subscription> {
        let (registry, Key { credential, session }) = (self.registry, self.key);
        let published = registry.settings.fleet.latest(credential, session).await?;
        let Published { reply: Ok(answer), sent_at } = published else { return None };
        let max_age = registry.settings.fresh_for(answer.content.status(), Duration::ZERO);
        let is_fresh = registry.age(answer.observed_at) <= max_age;
        let digest = Digest::of(&answer.content);
        let is_new_enough = self.known.as_ref().is_none_or(|(known, _)| {
            known.digest.content == digest.content || answer.observed_at >= known.observed_at
        });
        if !is_fresh
            || !is_new_enough
            || self.validate(&answer.content, &digest) != Validation::Accepted
        {
            return None;
        }
        match self.start_poll(&answer, sent_at) {
            Ok((_, subscription)) => Some(subscription),
            Err(poller) => self.join(&poller),
        }
    }

    /// How new the answer of a running poll must be. If the watcher already has the same content,
    /// an older answer is enough.
    fn min_observed_at(&self, poller: &Poller) -> Option<Timestamp> {
        let (known, _) = self.known.as_ref()?;
        let is_known = poller.state.borrow().revision.digest.content == known.digest.content;
        (!is_known).then_some(known.observed_at)
    }

    /// Subscribes to a running poll, if its revision is valid for the watcher.
    fn join(&mut self, poller: &Arc<Poller>) -> Option<Subscription> {
        let revision = poller.state.borrow().revision.clone();
        let Revision { session, digest, .. } = &*revision;
        // The poll has validated the revision. Only a watcher that knows the session must validate
        // it again.
        if self.known.is_some() && self.validate(session, digest) != Validation::Accepted {
            return None;
        }
        // While this lock is held, the poll cannot end for lack of watchers.
        let polls = self.registry.polls.lock();
        polls.has(self.key, poller).then(|| Subscription::to(poller, self.cause.clone()))
    }

    /// Starts the watch with the reply to a request that was sent at `sent_at`.
    fn start_with(&mut self, reply: Reply, sent_at: Instant) -> Result<Subscription, NotStarted> {
        if let Some(poller) = self.registry.running(self.key) {
            return self.pass_on(&poller, reply, sent_at);
        }
        let answer = reply.map_err(|error| match ErrorClass::of(&error) {
            // If the watcher has seen the session, a second answer must confirm that it is gone.
            ErrorClass::Absent(absence)
                if self.known.is_some() && !self.validator.confirms_absence(absence) =>
            {
                NotStarted::Unconfirmed(error)
            }
            ErrorClass::Absent(_) | ErrorClass::Refused | ErrorClass::Transient => {
                NotStarted::Failed(error)
            }
        })?;
        match self.validate(&answer.content, &Digest::of(&answer.content)) {
            Validation::Accepted => {}
            Validation::Rejected(rejection) if self.known.is_none() => {
                return Err(NotStarted::Failed(Error::new(Kind::Malformed).caused_by(rejection)));
            }
            Validation::Unconfirmed | Validation::Rejected(_) => {
                return Err(NotStarted::unconfirmed(None));
            }
        }
        match self.start_poll(&answer, Instant::now()) {
            Ok((poller, subscription)) => {
                if let Some(outbox) = &poller.outbox {
                    outbox.push(Ok(answer), sent_at, false);
                }
                Ok(subscription)
            }
            // Another watch started a poll first.
            Err(poller) => self.pass_on(&poller, Ok(answer), sent_at),
        }
    }

    /// Passes a reply on to a running poll, and subscribes to it.
    fn pass_on(
        &mut self,
        poller: &Arc<Poller>,
        reply: Reply,
        sent_at: Instant,
    ) -> Result<Subscription, NotStarted> {
        let trouble = || poller.trouble().map(Arc::unwrap_or_clone);
        match poller.accept(reply, sent_at, Sender::Own, &self.registry.settings) {
            PollResult::Unchanged | PollResult::Changed => {}
            PollResult::Unconfirmed => return Err(NotStarted::unconfirmed(trouble())),
            PollResult::Failed | PollResult::Rejected => return Err(NotStarted::failed(trouble())),
            PollResult::Ended => {
                let end = poller.state.borrow().end.clone();
                return Err(NotStarted::failed(end.map(Arc::unwrap_or_clone)));
            }
            PollResult::Superseded => match trouble() {
                None => {}
                trouble if poller.is_unconfirmed() => return Err(NotStarted::unconfirmed(trouble)),
                trouble => return Err(NotStarted::failed(trouble)),
            },
        }
        self.join(poller).ok_or_else(|| NotStarted::unconfirmed(None))
    }

    /// Starts a poll with an answer. Fails if another one is running.
    fn start_poll(
        &self,
        answer: &Answer<Arc<Session>>,
        valid_from: Instant,
    ) -> Result<(Arc<Poller>, Subscription), Arc<Poller>> {
        let Self { registry, key, validator, .. } = self;
        let mut polls = registry.polls.lock();
        if let Some(running) = polls.running(key) {
            return Err(running.clone());
        }
        let identity = validator.identity();
        registry.identities.set(key.index(), identity);
        let (name, validator, is_closing) =
            (key.session.clone(), validator.clone(), polls.is_closing);
        let account = polls.account(&key.credential);
        let reliability = account.reliability.clone();
        let settings = &registry.settings;
        let poller =
            Poller::new(name, answer, valid_from, validator, is_closing, reliability, settings);
        let poller = Arc::new(poller);
        let subscription = Subscription::to(&poller, self.cause.clone());
        account.polls.insert(key.session.clone(), poller.clone());
        account.identify(&key.session, identity);
        sweep::start_if_due(registry, account);
        drop(polls);
        poll::start(Arc::clone(registry), (*key).clone(), poller.clone());
        Ok((poller, subscription))
    }

    /// Validates an answer. Each answer must be newer than the answer before.
    fn validate(&mut self, answer: &Session, digest: &Digest) -> Validation {
        let Some((Known { digest: known, .. }, history)) = &self.known else {
            return self.validator.validate_first(answer);
        };
        if known.content == digest.content {
            self.validator.clear_unconfirmed();
            return Validation::Accepted;
        }
        let baseline = Baseline { digest: known, history, session: None };
        self.validator.validate(baseline, answer, digest)
    }
}
