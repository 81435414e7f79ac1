//! The running polls, and what they share.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    poller::Poller,
    request::{Key, Read},
    settings::Settings,
};
use crate::{clock::Clock, credential::CredentialId, model::SessionId, traffic::Identities};

/// The running polls, and what they share.
pub(super) struct Registry {
    pub read: Box<Read>,
    pub settings: Settings,
    pub clock: Clock,
    pub identities: Identities,
    pub polls: Mutex<Polls>,
}

#[derive(Default)]
pub(super) struct Polls {
    pub by_key: HashMap<(CredentialId, SessionId), Arc<Poller>>,
    pub is_closing: bool,
}

impl Registry {
    pub fn new(read: Box<Read>, settings: Settings, clock: Clock, identities: Identities) -> Self {
        Self { read, settings, clock, identities, polls: Mutex::default() }
    }

    /// The poll of a session, if there is one that has not ended.
    pub fn running(&self, key: &Key) -> Option<Arc<Poller>> {
        self.polls.lock().running(key).cloned()
    }

    /// Removes a poll, unless another poll has replaced it.
    pub fn remove(&self, polls: &mut Polls, key: &Key, poller: &Arc<Poller>) {
        if polls.has(key, poller) {
            polls.by_key.remove(&key.index());
            self.identities.forget(&key.index());
        }
    }
}

impl Polls {
    /// The poll of a session, if there is one that has not ended.
    pub fn running(&self, key: &Key) -> Option<&Arc<Poller>> {
        self.by_key.get(&key.index()).filter(|poller| poller.state.borrow().end.is_none())
    }

    /// Whether `poller` is the poll of the session.
    pub fn has(&self, key: &Key, poller: &Arc<Poller>) -> bool {
        self.by_key.get(&key.index()).is_some_and(|current| Arc::ptr_eq(current, poller))
    }
}
