//! The latest requests of a replica, as it reports them to the account. It is pure: the caller
//! passes the time.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// More uses are reported in groups of [`GROUP`].
const MOST: usize = 64;

/// The length of a group.
const GROUP: Duration = Duration::from_millis(20);

/// The latest requests, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Uses(VecDeque<Use>);

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// When it was admitted.
    pub at: Instant,
    /// When its permit ends. `None` for a request of a replica that is alone.
    pub permit_until: Option<Instant>,
}

impl Uses {
    pub fn push(&mut self, one: Use) {
        self.0.push_back(one);
    }

    /// Removes the request that was admitted at `at`.
    pub fn remove(&mut self, at: Instant) -> Option<Use> {
        let place = self.0.iter().rposition(|one| one.at == at)?;
        self.0.remove(place)
    }

    /// Forgets the requests that are older than this.
    pub fn prune(&mut self, longest: Duration, now: Instant) {
        while self.0.front().is_some_and(|one| now.duration_since(one.at) >= longest) {
            self.0.pop_front();
        }
    }

    /// The number of requests within this time.
    pub fn within(&self, window: Duration, now: Instant) -> usize {
        self.0.iter().rev().take_while(|one| now.duration_since(one.at) < window).count()
    }

    /// When the requests were admitted.
    pub fn times(&self) -> impl Iterator<Item = Instant> {
        self.0.iter().map(|one| one.at)
    }

    /// The ages of the requests, and how many have this age. A group has the age of its latest
    /// request or less.
    pub fn ages(&self, now: Instant) -> Vec<(Duration, usize)> {
        let ages = self.0.iter().map(|one| now.duration_since(one.at));
        if self.0.len() <= MOST {
            return ages.map(|age| (age, 1)).collect();
        }
        let mut groups: Vec<(Duration, usize)> = Vec::new();
        for age in ages {
            let number = u32::try_from(age.as_millis() / GROUP.as_millis()).unwrap_or(u32::MAX);
            let age = GROUP.saturating_mul(number);
            match groups.last_mut() {
                Some((group, count)) if *group == age => *count += 1,
                Some(_) | None => groups.push((age, 1)),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_are_reported_in_groups_that_are_never_too_old() {
        let start = Instant::now();
        let mut uses = Uses::default();
        for number in 0..200 {
            uses.push(Use { at: start + Duration::from_millis(number), permit_until: None });
        }
        let now = start + Duration::from_millis(230);
        let groups = uses.ages(now);
        assert_eq!(groups.iter().map(|(_, count)| count).sum::<usize>(), 200);
        assert!(groups.len() <= 12, "{groups:?}");
        assert_eq!(groups.first().map(|(age, _)| *age), Some(Duration::from_millis(220)));
        assert_eq!(groups.last().map(|(age, _)| *age), Some(Duration::from_millis(20)));
        assert_eq!(uses.within(Duration::from_millis(41), now), 10);
    }
}
