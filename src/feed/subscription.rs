//! A watcher's part in a poll.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{State, poller::Poller};
use crate::{trace::Cause, wire};

/// A watcher's part in a poll. The poll goes on as long as there is a subscription.
pub struct Subscription {
    subscriber: Arc<Subscriber>,
    state: watch::Receiver<State>,
}

/// Counts as one subscriber of a poll, until it is dropped or leaves.
pub struct Subscriber {
    poller: Arc<Poller>,
    cause: Cause,
    has_left: AtomicBool,
}

/// What a watcher sees at a look. The state does not change as long as it is looked at.
pub struct View<'a> {
    /// What is known now.
    pub state: watch::Ref<'a, State>,
    /// When the latest good answer came that showed it.
    pub observed_at: Timestamp,
}

impl Subscription {
    pub(super) fn to(poller: &Arc<Poller>, cause: Cause) -> Self {
        poller.subscribers.send_modify(|count| *count += 1);
        poller.links.add(&cause);
        let has_left = AtomicBool::new(false);
        let subscriber = Arc::new(Subscriber { poller: poller.clone(), cause, has_left });
        Self { subscriber, state: poller.state.subscribe() }
    }

    /// Looks at what is known now. Marks it as seen, so that [`Subscription::changed`] waits for
    /// another.
    pub fn look(&mut self) -> View<'_> {
        let poller = &self.subscriber.poller;
        let state = self.state.borrow_and_update();
        // Nobody changes the state meanwhile, so this tells of no answer that it does not show.
        let observed_at = poller.observed_at().max(state.reading.observed_at);
        View { state, observed_at }
    }

    /// Why there is no good answer at present, once that has lasted. Not a look: what is new stays
    /// new.
    pub fn trouble(&self) -> Option<Arc<wire::Error>> {
        self.state.borrow().trouble.clone()
    }

    /// Waits until there is another state.
    pub async fn changed(&mut self) {
        // The sender is in the poller, which our subscriber keeps, so this never fails.
        let _ = self.state.changed().await;
    }

    /// The subscriber, for whoever may have to take it away from the watcher.
    pub fn subscriber(&self) -> Arc<Subscriber> {
        self.subscriber.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscriber.leave();
    }
}

impl Subscriber {
    /// Counts no more; the second time does nothing.
    pub fn leave(&self) {
        if !self.has_left.swap(true, Ordering::AcqRel) {
            self.poller.links.remove(&self.cause);
            self.poller.subscribers.send_modify(|count| *count -= 1);
        }
    }
}
