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

/// Bytes of JSON they may have been all together; in memory they are some three times as large.
const SIZE_LIMIT: usize = 16 * 1024 * 1024;

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
    size: usize,
}

struct Entry {
    answer: Answer<Arc<Session>>,
    came_at: Instant,
    number: u64,
    size: usize,
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

    /// Keeps the answer, which was `size` bytes of JSON, if the session is finished, and forgets
    /// the one before if it is not.
    pub fn put(
        &self,
        credential: CredentialId,
        id: &SessionId,
        answer: &Answer<Arc<Session>>,
        size: usize,
    ) {
        if self.lifetime.is_zero() {
            return;
        }
        let mut kept = lock(&self.kept);
        kept.forget(credential, id);
        if !answer.content.status().is_final() {
            return;
        }
        kept.count += 1;
        kept.size += size;
        let number = kept.count;
        let entry = Entry { answer: answer.clone(), came_at: Instant::now(), number, size };
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
        let mut kept = lock(&self.kept);
        let forgotten = kept.entries.remove(&credential).unwrap_or_default();
        kept.size -= forgotten.values().map(|entry| entry.size).sum::<usize>();
    }
}

impl Kept {
    fn forget(&mut self, credential: CredentialId, id: &SessionId) {
        if let Some(sessions) = self.entries.get_mut(&credential) {
            self.size -= sessions.remove(id).map_or(0, |entry| entry.size);
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
                && self.size <= SIZE_LIMIT
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::Credential;

    fn answer(status: &str) -> Answer<Arc<Session>> {
        let session = Session { upstream_status: status.to_owned(), ..Session::default() };
        Answer { content: Arc::new(session), observed_at: jiff::Timestamp::UNIX_EPOCH }
    }

    fn credential(name: &str) -> CredentialId {
        Credential::from_authorization(&format!("Bearer {name}")).unwrap().id()
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_go_first() {
        let finished = Finished::new(Duration::from_secs(30));
        let (caller, last) = (credential("a"), SESSION_LIMIT + 9);
        let id = |number: usize| number.to_string().parse::<SessionId>().unwrap();
        for number in 0..=last {
            finished.put(caller, &id(number), &answer("complete"), 1_000);
        }
        for _ in 0..100 {
            finished.put(caller, &id(last), &answer("complete"), 1_000);
        }
        let kept = lock(&finished.kept);
        assert!(kept.order.len() <= SESSION_LIMIT);
        assert!(kept.entries.values().map(HashMap::len).sum::<usize>() <= SESSION_LIMIT);
        drop(kept);
        assert!(finished.get(caller, &id(0)).is_none());
        assert!(finished.get(caller, &id(last)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn large_sessions_leave_room_for_fewer() {
        let finished = Finished::new(Duration::from_secs(30));
        let (large, last) = (1024 * 1024, 99);
        for number in 0..=last {
            let id = number.to_string().parse().unwrap();
            finished.put(credential("a"), &id, &answer("complete"), large);
        }
        let kept = lock(&finished.kept);
        assert_eq!(kept.size, SIZE_LIMIT);
        assert_eq!(kept.entries.values().map(HashMap::len).sum::<usize>(), SIZE_LIMIT / large);
        drop(kept);
        finished.forget_all(credential("a"));
        assert_eq!(lock(&finished.kept).size, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_let_go_of_when_something_new_comes() {
        let finished = Finished::new(Duration::from_secs(30));
        for number in 0..100 {
            let id = number.to_string().parse().unwrap();
            finished.put(credential(&format!("a{number}")), &id, &answer("abandoned"), 1_000);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        finished.put(credential("b"), &"1".parse().unwrap(), &answer("complete"), 1_000);
        let kept = lock(&finished.kept);
        assert_eq!((kept.entries.len(), kept.order.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_goes_on_after_all_is_forgotten() {
        let finished = Finished::new(Duration::from_secs(30));
        let (caller, id) = (credential("a"), "1".parse().unwrap());
        finished.put(caller, &id, &answer("complete"), 1_000);
        finished.put(caller, &id, &answer("active"), 1_000);
        assert!(finished.get(caller, &id).is_none());
    }
}
