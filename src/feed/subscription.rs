//! A watcher's subscription to a poll.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{poller::Poller, state::State};
use crate::{trace::Cause, wire::Error};

/// A subscription to a poll. The poll continues while it has at least one subscription.
pub struct Subscription {
    subscriber: Arc<Subscriber>,
    state: watch::Receiver<State>,
}

/// Counts as one subscriber of a poll until it leaves.
pub struct Subscriber {
    poller: Arc<Poller>,
    cause: Cause,
    has_left: AtomicBool,
    /// The key of the waker of this subscriber, or [`NO_WAKER`].
    waker: AtomicUsize,
}

const NO_WAKER: usize = usize::MAX;

/// What a watcher sees. The state does not change while the view exists.
pub struct View<'a> {
    /// The current state.
    pub state: watch::Ref<'a, State>,
    /// When the latest good answer with this state came.
    pub observed_at: Timestamp,
}

impl Subscription {
    pub(super) fn to(poller: &Arc<Poller>, cause: Cause) -> Self {
        poller.subscribers.send_modify(|count| *count += 1);
        poller.links.add(&cause);
        let subscriber = Arc::new(Subscriber {
            poller: poller.clone(),
            cause,
            has_left: AtomicBool::new(false),
            waker: AtomicUsize::new(NO_WAKER),
        });
        Self { subscriber, state: poller.state.subscribe() }
    }

    /// Returns the current state and marks it as seen, so that [`Subscription::changed`] waits for the
    /// next one.
    pub fn current(&mut self) -> View<'_> {
        let poller = &self.subscriber.poller;
        let state = self.state.borrow_and_update();
        // The state is locked, so this cannot be the time of an answer that the state does not show
        // yet.
        let observed_at = poller.observed_at().max(state.revision.observed_at);
        View { state, observed_at }
    }

    /// Returns why the session is stale, if it is. Does not mark the state as seen.
    pub fn trouble(&self) -> Option<Arc<Error>> {
        self.state.borrow().trouble.clone()
    }

    /// Returns when the latest good answer came. Does not mark the state as seen.
    pub fn observed_at(&self) -> Timestamp {
        self.subscriber.poller.observed_at()
    }

    /// Wakes this waker at each change from now on, as long as the subscription lasts.
    pub fn wake(&self, waker: Waker) {
        let Subscriber { poller, waker: key, .. } = &*self.subscriber;
        let old = key.swap(poller.state.add_waker(waker), Ordering::AcqRel);
        if old != NO_WAKER {
            poller.state.remove_waker(old);
        }
    }

    /// Whether the poll has other subscribers.
    pub fn is_shared(&self) -> bool {
        *self.subscriber.poller.subscribers.borrow() > 1
    }

    /// Waits until the state changes.
    pub async fn changed(&mut self) {
        // This never fails: the subscriber keeps the poller alive, and the poller owns the sender.
        let _ = self.state.changed().await;
    }

    /// The subscriber, for the slow-consumer detector, which may make it leave.
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
    /// Stops counting as a subscriber. A second call does nothing.
    pub fn leave(&self) {
        if !self.has_left.swap(true, Ordering::AcqRel) {
            let waker = self.waker.swap(NO_WAKER, Ordering::AcqRel);
            if waker != NO_WAKER {
                self.poller.state.remove_waker(waker);
            }
            self.poller.links.remove(&self.cause);
            self.poller.subscribers.send_modify(|count| *count -= 1);
        }
    }
}
