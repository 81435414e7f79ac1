//! A map that is bounded and forgets what was not touched for a while.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// Entries of one map at once. Beyond that, the one touched longest ago goes.
const LIMIT: usize = 10_000;

/// How long an entry is kept that nothing touches.
const MEMORY: Duration = Duration::from_mins(10);

/// See the module.
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (V, Instant)>,
    swept_at: Option<Instant>,
}

impl<K: Copy + Eq + Hash, V: Default> Recent<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(value, _)| value)
    }

    /// Touches the entry, which is a new one if there is none.
    pub fn touch(&mut self, key: K, now: Instant) -> &mut V {
        if self.entries.len() >= LIMIT && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (_, touched_at))| *touched_at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.entries.remove(&oldest);
            }
        }
        let (value, touched_at) = self.entries.entry(key).or_insert_with(|| (V::default(), now));
        *touched_at = now;
        value
    }

    /// Whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        self.entries.remove(key).is_some()
    }

    /// Now and then, forgets what was not touched for long. Whether anything was forgotten.
    pub fn sweep(&mut self, now: Instant) -> bool {
        if self.swept_at.is_some_and(|swept_at| now.duration_since(swept_at) < MEMORY / 10) {
            return false;
        }
        self.swept_at = Some(now);
        let before = self.entries.len();
        self.entries.retain(|_, (_, touched_at)| now.duration_since(*touched_at) < MEMORY);
        self.entries.len() < before
    }

    pub fn count(&self, is_counted: impl Fn(&V) -> bool) -> usize {
        self.entries.values().filter(|(value, _)| is_counted(value)).count()
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), swept_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_forgets() {
        let mut recent = Recent::<usize, usize>::default();
        for key in 0..=LIMIT {
            tokio::time::advance(Duration::from_millis(1)).await;
            *recent.touch(key, Instant::now()) = key;
        }
        assert_eq!((recent.entries.len(), recent.get(&0), recent.get(&1)), (LIMIT, None, Some(&1)));
        assert!(!recent.sweep(Instant::now()));
        tokio::time::advance(MEMORY / 2).await;
        recent.touch(7, Instant::now());
        tokio::time::advance(MEMORY / 2).await;
        assert!(recent.sweep(Instant::now()));
        assert_eq!((recent.count(|_| true), recent.get(&7)), (1, Some(&7)));
    }
}
