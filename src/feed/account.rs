//! The polls of one credential.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio::sync::Notify;

use super::{poller::Poller, roster::Entries, sweep::Reliability};
use crate::{
    credential::Credential,
    model::{Identity, SessionId},
};

/// The polls of one credential.
#[derive(Clone)]
pub(super) struct Account {
    pub credential: Credential,
    /// The polls by the text by which their sessions are requested: an id or a token.
    pub polls: HashMap<SessionId, Arc<Poller>>,
    /// The polls of sessions that are requested by their tokens, by the id of the session.
    by_identity: HashMap<Identity, SessionId>,
    /// How reliable the hints of the vendor's list are.
    pub reliability: Arc<Reliability>,
    /// Wakes the task that reads the vendor's list for this credential, if there is one.
    pub sweeper: Weak<Notify>,
    /// The rosters of this account that are in use.
    rosters: Vec<Weak<Entries>>,
}

impl Account {
    pub fn new(credential: Credential) -> Self {
        Self {
            credential,
            polls: HashMap::new(),
            by_identity: HashMap::new(),
            reliability: Arc::default(),
            sweeper: Weak::new(),
            rosters: Vec::new(),
        }
    }

    /// Notes the identity of a session.
    pub fn identify(&mut self, session: &SessionId, identity: Option<Identity>) {
        if let Some(identity) = identity
            && identity != Identity::of_id(session.as_str())
        {
            self.by_identity.insert(identity, session.clone());
        }
    }

    pub fn remove(&mut self, session: &SessionId) {
        let identity = self.polls.remove(session).and_then(|poller| poller.identity());
        if let Some(identity) = identity
            && self.by_identity.get(&identity) == Some(session)
        {
            self.by_identity.remove(&identity);
        }
    }

    pub fn add_roster(&mut self, roster: &Arc<Entries>) {
        self.rosters.retain(|roster| roster.strong_count() > 0);
        self.rosters.push(Arc::downgrade(roster));
        if let Some(sweeper) = self.sweeper.upgrade() {
            sweeper.notify_one();
        }
    }

    /// The rosters that are in use.
    pub fn rosters(&self) -> impl Iterator<Item = Arc<Entries>> {
        self.rosters.iter().filter_map(Weak::upgrade)
    }

    /// The polls of the session with this id or token. A session may have a poll by its id and
    /// another one by its token.
    pub fn named(&self, name: &str) -> impl Iterator<Item = (&SessionId, &Arc<Poller>)> {
        let by_name = self.polls.get_key_value(name);
        let by_identity = (!self.by_identity.is_empty())
            .then(|| self.by_identity.get(&Identity::of_id(name)))
            .flatten()
            .and_then(|requested| self.polls.get_key_value(requested));
        by_name.into_iter().chain(by_identity)
    }
}
