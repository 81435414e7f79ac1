//! Finished sessions, kept in memory for a short time: all that can still change is a late note.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    credential::{Credential, CredentialId},
    model::{Session, SessionId},
    wire::Answer,
};

/// What all of them may weigh together.
const WEIGHT_LIMIT: usize = 16 * 1024 * 1024;

/// An entry weighs as many bytes as its JSON had, but no less than this: so there are 4,096 at most.
/// In memory they are some three times as large.
const LEAST_WEIGHT: usize = 4 * 1024;

/// The finished sessions that each credential was shown a short time ago.
pub(super) struct Finished {
    lifetime: Duration,
    kept: Mutex<Kept>,
}

/// Entries by number, which is the order of their arrival.
#[derive(Default)]
struct Kept {
    entries: BTreeMap<u64, Entry>,
    numbers: HashMap<CredentialId, HashMap<SessionId, u64>>,
    /// What the entries of each caller weigh. If there is no room, the caller with the most loses
    /// its oldest: a caller with a flood of sessions evicts nobody else's.
    weights: HashMap<CredentialId, usize>,
    weight: usize,
    count: u64,
}

struct Entry {
    credential: CredentialId,
    caller: CredentialId,
    id: SessionId,
    answer: Answer<Arc<Session>>,
    came_at: Instant,
    weight: usize,
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
        let kept = self.kept.lock();
        let entry = kept.entries.get(kept.numbers.get(&credential)?.get(id)?)?;
        (entry.came_at.elapsed() < self.lifetime).then(|| entry.answer.clone())
    }

    /// Keeps the answer, which was `size` bytes of JSON, if the session is finished, and forgets
    /// the one before if it is not.
    pub fn put(
        &self,
        credential: &Credential,
        id: &SessionId,
        answer: &Answer<Arc<Session>>,
        size: usize,
    ) {
        if self.lifetime.is_zero() {
            return;
        }
        let mut kept = self.kept.lock();
        kept.forget(credential.id(), id);
        if answer.content.status().is_final() {
            kept.insert(Entry {
                credential: credential.id(),
                caller: credential.caller(),
                id: id.clone(),
                answer: answer.clone(),
                came_at: Instant::now(),
                weight: size.max(LEAST_WEIGHT),
            });
            kept.expire(self.lifetime);
            while kept.weight > WEIGHT_LIMIT && kept.evict() {}
        }
    }

    /// Forgets one session.
    pub fn forget(&self, credential: CredentialId, id: &SessionId) {
        self.kept.lock().forget(credential, id);
    }

    /// Forgets all that `credential` was shown: it was refused.
    pub fn forget_all(&self, credential: CredentialId) {
        let mut kept = self.kept.lock();
        for number in kept.numbers.remove(&credential).unwrap_or_default().into_values() {
            kept.remove(number);
        }
    }
}

impl Kept {
    fn insert(&mut self, entry: Entry) {
        self.count += 1;
        let sessions = self.numbers.entry(entry.credential).or_default();
        sessions.insert(entry.id.clone(), self.count);
        *self.weights.entry(entry.caller).or_default() += entry.weight;
        self.weight += entry.weight;
        self.entries.insert(self.count, entry);
    }

    fn forget(&mut self, credential: CredentialId, id: &SessionId) {
        let number = self.numbers.get(&credential).and_then(|sessions| sessions.get(id));
        if let Some(number) = number.copied() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else { return };
        self.weight -= entry.weight;
        if let Some(weight) = self.weights.get_mut(&entry.caller) {
            *weight -= entry.weight;
            if *weight == 0 {
                self.weights.remove(&entry.caller);
            }
        }
        if let Some(sessions) = self.numbers.get_mut(&entry.credential) {
            sessions.remove(&entry.id);
            if sessions.is_empty() {
                self.numbers.remove(&entry.credential);
            }
        }
    }

    fn expire(&mut self, lifetime: Duration) {
        while let Some((number, oldest)) = self.entries.first_key_value()
            && oldest.came_at.elapsed() >= lifetime
        {
            self.remove(*number);
        }
    }

    /// Removes the oldest entry of the caller with the most. Whether there was one.
    fn evict(&mut self) -> bool {
        let heaviest = self.weights.iter().max_by_key(|(_, weight)| **weight);
        let Some(heaviest) = heaviest.map(|(caller, _)| *caller) else { return false };
        let oldest = self.entries.iter().find(|(_, entry)| entry.caller == heaviest);
        let Some(oldest) = oldest.map(|(number, _)| *number) else { return false };
        self.remove(oldest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small ones that have room.
    const SESSION_LIMIT: usize = WEIGHT_LIMIT / LEAST_WEIGHT;

    fn answer(status: &str) -> Answer<Arc<Session>> {
        let session = Session { upstream_status: status.to_owned(), ..Session::default() };
        Answer { content: Arc::new(session), observed_at: jiff::Timestamp::UNIX_EPOCH }
    }

    fn credential(name: &str) -> Credential {
        Credential::from_authorization(&format!("Bearer {name}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_the_oldest_go_first() {
        let finished = Finished::new(Duration::from_secs(30));
        let (caller, last) = (credential("a"), SESSION_LIMIT + 9);
        let id = |number: usize| number.to_string().parse::<SessionId>().unwrap();
        for number in 0..=last {
            finished.put(&caller, &id(number), &answer("complete"), 1_000);
        }
        for _ in 0..100 {
            finished.put(&caller, &id(last), &answer("complete"), 1_000);
        }
        let kept = finished.kept.lock();
        assert!(kept.entries.len() <= SESSION_LIMIT);
        assert!(kept.numbers.values().map(HashMap::len).sum::<usize>() <= SESSION_LIMIT);
        drop(kept);
        assert!(finished.get(caller.id(), &id(0)).is_none());
        assert!(finished.get(caller.id(), &id(last)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn large_sessions_leave_room_for_fewer() {
        let finished = Finished::new(Duration::from_secs(30));
        let (large, last) = (1024 * 1024, 99);
        for number in 0..=last {
            let id = number.to_string().parse().unwrap();
            finished.put(&credential("a"), &id, &answer("complete"), large);
        }
        let kept = finished.kept.lock();
        assert_eq!(kept.weight, WEIGHT_LIMIT);
        assert_eq!(kept.entries.len(), WEIGHT_LIMIT / large);
        drop(kept);
        finished.forget_all(credential("a").id());
        assert_eq!(finished.kept.lock().weight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_let_go_of_when_something_new_comes() {
        let finished = Finished::new(Duration::from_secs(30));
        for number in 0..100 {
            let id = number.to_string().parse().unwrap();
            finished.put(&credential(&format!("a{number}")), &id, &answer("abandoned"), 1_000);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        finished.put(&credential("b"), &"1".parse().unwrap(), &answer("complete"), 1_000);
        let kept = finished.kept.lock();
        assert_eq!((kept.entries.len(), kept.numbers.len(), kept.weights.len()), (1, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_goes_on_after_all_is_forgotten() {
        let finished = Finished::new(Duration::from_secs(30));
        let (caller, id) = (credential("a"), "1".parse().unwrap());
        finished.put(&caller, &id, &answer("complete"), 1_000);
        finished.put(&caller, &id, &answer("active"), 1_000);
        assert!(finished.get(caller.id(), &id).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_caller_evicts_nobody_elses() {
        let finished = Finished::new(Duration::from_secs(30));
        let id = |number: usize| number.to_string().parse::<SessionId>().unwrap();
        let flooding = Credential::Service(credential("a").id());
        let others = [Credential::Service(credential("b").id()), credential("c")];
        for number in 0..100 {
            for other in &others {
                finished.put(other, &id(number), &answer("complete"), 1_000);
            }
        }
        for number in 100..3 * SESSION_LIMIT {
            finished.put(&flooding, &id(number), &answer("complete"), 9_000);
        }
        for number in 0..100 {
            assert!(others.iter().all(|other| finished.get(other.id(), &id(number)).is_some()));
        }
        assert!(finished.kept.lock().weight <= WEIGHT_LIMIT);
    }
}
