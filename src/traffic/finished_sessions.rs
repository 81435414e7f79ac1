//! The finished-session cache. It keeps finished sessions in memory for a short time. Only the
//! notes of such a session can still change.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    credential::{Credential, CredentialId},
    model::{Session, SessionId},
    wire::Answer,
};

/// The greatest total weight of all entries.
const WEIGHT_LIMIT: usize = 16 * 1024 * 1024;

/// The least weight of an entry. An entry weighs as much as its JSON has bytes, but at least this
/// much, so there are at most 4,096 entries. In memory an entry is about three times as large as
/// its JSON.
const LEAST_WEIGHT: usize = 4 * 1024;

/// The finished sessions that each credential read a short time ago.
pub(super) struct FinishedSessions {
    lifetime: Duration,
    /// In order of arrival, because only `put` moves an entry.
    entries: Mutex<LruCache<Key, Entry>>,
}

type Key = (CredentialId, SessionId);

struct Entry {
    caller: CredentialId,
    answer: Answer<Arc<Session>>,
    came_at: Instant,
    weight: usize,
}

impl FinishedSessions {
    /// Creates a cache that keeps each session for `lifetime`. With a lifetime of zero it keeps
    /// none.
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, entries: Mutex::new(LruCache::unbounded()) }
    }

    /// Returns the session, if it was finished when `credential` last read it.
    pub fn get(&self, credential: CredentialId, id: &SessionId) -> Option<Answer<Arc<Session>>> {
        let entries = self.entries.lock();
        let entry = entries.peek(&(credential, id.clone()))?;
        (entry.came_at.elapsed() < self.lifetime).then(|| entry.answer.clone())
    }

    /// Keeps the answer if the session is finished. Forgets the earlier answer in any case. `size`
    /// is the size of the answer's JSON in bytes.
    pub fn put(
        &self,
        credential: &Credential,
        id: &SessionId,
        answer: &Answer<Arc<Session>>,
        size: usize,
    ) {
        let key = (credential.id(), id.clone());
        let mut entries = self.entries.lock();
        if !entries.is_empty() {
            entries.pop(&key);
        }
        if self.lifetime.is_zero() || !answer.content.status().is_final() {
            return;
        }
        let (caller, answer, weight) =
            (credential.caller(), answer.clone(), size.max(LEAST_WEIGHT));
        entries.put(key, Entry { caller, answer, came_at: Instant::now(), weight });
        let is_over = |entry: &Entry| entry.came_at.elapsed() >= self.lifetime;
        while entries.peek_lru().is_some_and(|(_, oldest)| is_over(oldest)) {
            entries.pop_lru();
        }
        while let Some(evicted) = to_evict(&entries) {
            entries.pop(&evicted);
        }
    }

    /// Forgets one session.
    pub fn forget(&self, credential: CredentialId, id: &SessionId) {
        self.entries.lock().pop(&(credential, id.clone()));
    }

    /// Forgets all sessions of `credential`, because the vendor refused it.
    pub fn forget_all(&self, credential: CredentialId) {
        self.entries.lock().retain(|(shown_to, _), _| *shown_to != credential);
    }
}

/// If the entries weigh too much, returns the oldest entry of the caller whose entries weigh the
/// most. So a caller with many sessions does not evict the entries of others.
fn to_evict(entries: &LruCache<Key, Entry>) -> Option<Key> {
    let mut weights = HashMap::<_, usize>::new();
    for (_, entry) in entries {
        *weights.entry(entry.caller).or_default() += entry.weight;
    }
    if weights.values().sum::<usize>() <= WEIGHT_LIMIT {
        return None;
    }
    let (heaviest, _) = weights.into_iter().max_by_key(|(_, weight)| *weight)?;
    let oldest = entries.iter().rev().find(|(_, entry)| entry.caller == heaviest);
    oldest.map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of small sessions that fit.
    const SESSION_LIMIT: usize = WEIGHT_LIMIT / LEAST_WEIGHT;

    fn answer(status: &str) -> Answer<Arc<Session>> {
        let session = Session { upstream_status: status.to_owned(), ..Session::default() };
        Answer { content: Arc::new(session), observed_at: jiff::Timestamp::UNIX_EPOCH }
    }

    fn credential(name: &str) -> Credential {
        Credential::from_authorization(&format!("Bearer {name}")).unwrap()
    }

    fn id(number: usize) -> SessionId {
        number.to_string().parse().unwrap()
    }

    fn cache() -> FinishedSessions {
        FinishedSessions::new(Duration::from_secs(30))
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_entries_are_evicted_first() {
        let (finished, caller, last) = (cache(), credential("a"), SESSION_LIMIT + 9);
        for number in (0..=last).chain([last; 100]) {
            finished.put(&caller, &id(number), &answer("complete"), 1_000);
        }
        assert_eq!(finished.entries.lock().len(), SESSION_LIMIT);
        assert!(finished.get(caller.id(), &id(0)).is_none());
        assert!(finished.get(caller.id(), &id(last)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_large_sessions_fit() {
        let (finished, large) = (cache(), 1024 * 1024);
        for number in 0..100 {
            finished.put(&credential("a"), &id(number), &answer("complete"), large);
        }
        assert_eq!(finished.entries.lock().len(), WEIGHT_LIMIT / large);
        finished.forget_all(credential("a").id());
        assert_eq!(finished.entries.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn expired_entries_are_removed_when_a_new_one_is_added() {
        let finished = cache();
        for number in 0..100 {
            finished.put(&credential("a"), &id(number), &answer("abandoned"), 1_000);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        finished.put(&credential("b"), &id(1), &answer("complete"), 1_000);
        assert_eq!(finished.entries.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_becomes_active_again_is_forgotten() {
        let (finished, caller) = (cache(), credential("a"));
        finished.put(&caller, &id(1), &answer("complete"), 1_000);
        finished.put(&caller, &id(1), &answer("active"), 1_000);
        assert!(finished.get(caller.id(), &id(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_caller_does_not_evict_the_entries_of_others() {
        let finished = cache();
        let flooding = Credential::Service(credential("a").id());
        let others = [Credential::Service(credential("b").id()), credential("c")];
        for number in 0..100 {
            for other in &others {
                finished.put(other, &id(number), &answer("complete"), 1_000);
            }
        }
        for number in 100..1_000 {
            finished.put(&flooding, &id(number), &answer("complete"), 50_000);
        }
        for number in 0..100 {
            assert!(others.iter().all(|other| finished.get(other.id(), &id(number)).is_some()));
        }
        let weight: usize = finished.entries.lock().iter().map(|(_, entry)| entry.weight).sum();
        assert!(weight <= WEIGHT_LIMIT);
    }
}
