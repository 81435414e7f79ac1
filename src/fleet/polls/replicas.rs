//! The replicas that live, and what was heard of them.

use std::collections::HashMap;

/// What Redis knows of a replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// When it ends, unless the replica extends it, in microseconds of the clock of Redis.
    pub expiry: u64,
    /// The number of replies that the replica has published.
    pub published: u64,
}

/// The replicas that live.
#[derive(Default)]
pub(super) struct Replicas(HashMap<String, Heard>);

/// What has changed between two answers of Redis.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Messages of these replicas were lost.
    pub missed: Vec<String>,
    /// Whether a replica does not live any more.
    pub has_gone: bool,
}

/// What was heard of a replica.
struct Heard {
    /// The end of its life, as it was first heard.
    expiry: u64,
    /// Whether it has shown since then that it lives. Until then, all that is known of it may be from
    /// before a restart of Redis.
    is_confirmed: bool,
    /// No message with a reply is missing up to this number.
    base: u64,
    /// The number of later messages.
    count: u64,
    /// The number of publications at the latest beat.
    published: u64,
}

impl Replicas {
    /// Notes which replicas live.
    pub fn update(&mut self, latest: &HashMap<String, Life>) -> Changes {
        let count = self.0.len();
        self.0.retain(|name, _| latest.contains_key(name));
        let mut changes = Changes { missed: Vec::new(), has_gone: self.0.len() < count };
        for (name, &Life { expiry, published }) in latest {
            let new =
                || Heard { expiry, is_confirmed: false, base: published, count: 0, published };
            let heard = self.0.entry(name.clone()).or_insert_with(new);
            heard.is_confirmed |= heard.expiry != expiry;
            // Messages come on another connection, so those since the latest beat may still come.
            if heard.base + heard.count < heard.published {
                changes.missed.push(name.clone());
                (heard.base, heard.count) = (heard.published, 0);
            }
            heard.published = published;
        }
        changes
    }

    /// Counts a message with a reply. `publication` is its number among those of the replica.
    pub fn count_message(&mut self, replica: &str, publication: u64) {
        if let Some(heard) = self.0.get_mut(replica)
            && publication > heard.base
        {
            heard.count += 1;
        }
    }

    /// Notes that a replica has left.
    pub fn remove(&mut self, replica: &str) {
        self.0.remove(replica);
    }

    pub fn lives(&self, replica: &str) -> bool {
        self.0.contains_key(replica)
    }

    /// Whether the replica has shown at least twice that it lives.
    pub fn is_confirmed(&self, replica: &str) -> bool {
        self.0.get(replica).is_some_and(|heard| heard.is_confirmed)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(expiry: u64, published: u64) -> HashMap<String, Life> {
        HashMap::from([("a".to_owned(), Life { expiry, published })])
    }

    #[test]
    fn a_lost_message_is_noticed_one_beat_later() {
        let mut replicas = Replicas::default();
        let nothing = Changes::default();
        assert_eq!(replicas.update(&alive(1, 5)), nothing);
        assert!(!replicas.is_confirmed("a"));
        // It was counted before.
        replicas.count_message("a", 5);
        // This one comes before the beat that tells of it, and the other one after.
        replicas.count_message("a", 6);
        assert_eq!(replicas.update(&alive(2, 7)), nothing);
        assert!(replicas.is_confirmed("a"));
        replicas.count_message("a", 7);
        assert_eq!(replicas.update(&alive(3, 8)), nothing);
        assert_eq!(replicas.update(&alive(4, 8)).missed, ["a"], "8 was lost");
        replicas.count_message("a", 9);
        assert_eq!(replicas.update(&alive(5, 9)), nothing);
        assert_eq!(replicas.update(&alive(6, 9)), nothing);
    }

    #[test]
    fn a_replica_lives_until_redis_forgets_it_or_it_leaves() {
        let mut replicas = Replicas::default();
        replicas.update(&alive(1, 0));
        assert!(replicas.lives("a") && replicas.count() == 1);
        assert!(replicas.update(&HashMap::new()).has_gone);
        assert!(!replicas.lives("a"));
        replicas.update(&alive(1, 0));
        replicas.remove("a");
        assert!(!replicas.lives("a") && !replicas.update(&HashMap::new()).has_gone);
    }
}
