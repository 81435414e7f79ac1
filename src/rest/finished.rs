//! Finished sessions, kept in memory for a short time: all that can still change is a late note.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{Answer, CredentialId, lock};
use crate::model::{Session, SessionId};

/// Sessions kept at most, the oldest going first.
const SESSION_LIMIT: usize = 4_096;

/// The finished sessions that each credential was shown a short time ago.
pub(super) struct Finished {
    lifetime: Duration,
    kept: Mutex<Kept>,
}

/// Entries, and in the order of their coming what tells when they are over. A place in the order
/// whose number is not that of the entry is one that a newer answer has replaced.
#[derive(Default)]
struct Kept {
    entries: HashMap<CredentialId, HashMap<SessionId, Entry>>,
    order: VecDeque<(CredentialId, SessionId, u64)>,
    count: u64,
}

struct Entry {
    answer: Answer<Arc<Session>>,
    came_at: Instant,
    number: u64,
}

impl Finished {
    /// Keeps them for `lifetime`; zero: not at all.
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, kept: Mutex::default() }
    }

    /// The session, if it was finished when `credential` was shown it.
    pub fn get(&self, credential: CredentialId, id: &SessionId) -> Option<Answer<Arc<Session>>> {
        if self.lifetime.is_zero() {
            return None;
        }
        let kept = lock(&self.kept);
        let entry = kept.entries.get(&credential)?.get(id)?;
        (entry.came_at.elapsed() < self.lifetime).then(|| entry.answer.clone())
    }

    /// Keeps the answer if the session is finished, and forgets the one before if it is not.
    pub fn put(&self, credential: CredentialId, id: &SessionId, answer: &Answer<Arc<Session>>) {
        if self.lifetime.is_zero() {
            return;
        }
        let mut kept = lock(&self.kept);
        if !answer.content.status().is_final() {
            kept.forget(credential, id);
            return;
        }
        kept.count += 1;
        let number = kept.count;
        let entry = Entry { answer: answer.clone(), came_at: Instant::now(), number };
        kept.entries.entry(credential).or_default().insert(id.clone(), entry);
        kept.order.push_back((credential, id.clone(), number));
        kept.trim(self.lifetime);
    }

    /// Forgets one session.
    pub fn forget(&self, credential: CredentialId, id: &SessionId) {
        lock(&self.kept).forget(credential, id);
    }

    /// Forgets all that `credential` was shown: it was refused.
    pub fn forget_all(&self, credential: CredentialId) {
        lock(&self.kept).entries.remove(&credential);
    }
}

impl Kept {
    fn forget(&mut self, credential: CredentialId, id: &SessionId) {
        if let Some(sessions) = self.entries.get_mut(&credential) {
            sessions.remove(id);
            if sessions.is_empty() {
                self.entries.remove(&credential);
            }
        }
    }

    /// Lets go of the oldest while they are over, replaced, or too many.
    fn trim(&mut self, lifetime: Duration) {
        while let Some((credential, id, number)) = self.order.front() {
            let (credential, number) = (*credential, *number);
            let entry = self.entries.get(&credential).and_then(|sessions| sessions.get(id));
            let current = entry.filter(|entry| entry.number == number);
            if current.is_some_and(|entry| entry.came_at.elapsed() < lifetime)
                && self.order.len() <= SESSION_LIMIT
            {
                return;
            }
            let is_current = current.is_some();
            if let Some((credential, id, _)) = self.order.pop_front()
                && is_current
            {
                self.forget(credential, &id);
            }
        }
    }
}
