//! The running polls, and what they share.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::{
    account::Account,
    hint::HintSource,
    metric,
    poller::Poller,
    request::{Key, List, Read},
    settings::Settings,
};
use crate::{
    clock::Clock,
    credential::{Credential, CredentialId},
    model::{Identity, SessionId},
    traffic::Identities,
};

/// The running polls, and what they share.
pub(super) struct Registry {
    pub read: Box<Read>,
    /// Reads the vendor's list. `None` if there are no sweeps.
    pub list: Option<Box<List>>,
    pub settings: Settings,
    pub clock: Clock,
    pub identities: Identities,
    pub polls: Mutex<Polls>,
    /// The task that keeps this replica joined to the others.
    #[expect(dead_code, reason = "the task ends when this is dropped")]
    pub link: Option<AbortOnDropHandle<()>>,
}

#[derive(Default)]
pub(super) struct Polls {
    pub by_credential: HashMap<CredentialId, Account>,
    pub is_closing: bool,
}

impl Registry {
    /// Polls the session with this id or token sooner, under each credential that watches it.
    pub fn hint(&self, session: &SessionId, source: HintSource) {
        let polls = self.polls.lock();
        let accounts = polls.by_credential.values();
        for (_, poller) in accounts.flat_map(|account| account.named(session.as_str())) {
            metric::count_hint(source);
            poller.hint(source);
        }
    }

    /// The time since then by our clock.
    pub fn age(&self, time: Timestamp) -> Duration {
        Duration::try_from(self.clock.now().duration_since(time)).unwrap_or_default()
    }

    /// The poll of a session, if there is one that has not ended.
    pub fn running(&self, key: &Key) -> Option<Arc<Poller>> {
        self.polls.lock().running(key).cloned()
    }

    /// Notes the identity of a polled session, once an answer had its id.
    pub fn identify(&self, key: &Key, poller: &Arc<Poller>, identity: Option<Identity>) {
        self.identities.set(key.index(), identity);
        let mut polls = self.polls.lock();
        if polls.has(key, poller)
            && let Some(account) = polls.by_credential.get_mut(&key.credential.id())
        {
            account.identify(&key.session, identity);
        }
    }

    /// Removes a poll, unless another poll has replaced it.
    pub fn remove(&self, polls: &mut Polls, key: &Key, poller: &Arc<Poller>) {
        if polls.has(key, poller)
            && let Some(account) = polls.by_credential.get_mut(&key.credential.id())
        {
            account.remove(&key.session);
            if account.polls.is_empty() {
                polls.by_credential.remove(&key.credential.id());
            }
            self.identities.forget(&key.index());
        }
    }
}

impl Polls {
    /// The poll of a session, if there is one that has not ended.
    pub fn running(&self, key: &Key) -> Option<&Arc<Poller>> {
        self.get(key).filter(|poller| poller.state.borrow().end.is_none())
    }

    /// Whether `poller` is the poll of the session.
    pub fn has(&self, key: &Key, poller: &Arc<Poller>) -> bool {
        self.get(key).is_some_and(|current| Arc::ptr_eq(current, poller))
    }

    /// The polls of a credential.
    pub fn account(&mut self, credential: &Credential) -> &mut Account {
        let new = || Account::new(credential.clone());
        self.by_credential.entry(credential.id()).or_insert_with(new)
    }

    /// All polls, each with the text by which its session is requested.
    pub fn all(&self) -> impl Iterator<Item = (&SessionId, &Arc<Poller>)> {
        self.by_credential.values().flat_map(|account| &account.polls)
    }

    fn get(&self, key: &Key) -> Option<&Arc<Poller>> {
        self.by_credential.get(&key.credential.id())?.polls.get(&key.session)
    }
}
