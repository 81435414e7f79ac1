//! The history of a session's status changes.

use jiff::Timestamp;

use super::{
    session::Session,
    transition::{Progress, Transition, put_in_order},
};

/// How many transitions a [`History`] remembers. A documented session has at most four. The limit
/// matters only if the vendor flaps between statuses.
const REMEMBERED: usize = 512;

/// The status changes of a session since a poll or a watch began.
///
/// A watcher remembers only its place in the history, so a slow watcher needs no queue.
#[derive(Clone, Debug)]
pub struct History {
    /// The progress before the first remembered entry.
    start: Progress,
    /// How many entries have been dropped.
    forgotten: u64,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    transition: Transition,
    /// The time of the answer that showed the transition.
    observed_at: Timestamp,
    /// The progress after the transition.
    after: Progress,
}

impl History {
    /// A history that begins with `session`.
    pub fn starting_with(session: &Session) -> Self {
        Self::starting_from(Progress::of(session))
    }

    /// A history that begins with what a watcher knows.
    pub fn starting_from(start: Progress) -> Self {
        Self { start, forgotten: 0, entries: Vec::new() }
    }

    /// The progress after the latest entry.
    pub fn progress(&self) -> Progress {
        self.entries.last().map_or(self.start, |entry| entry.after)
    }

    /// The place after the latest entry, for [`History::since`].
    pub fn end(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// Whether `session` is behind the latest entry: its status has a lower rank, or the history
    /// has this status before the latest one.
    pub fn is_ahead_of(&self, session: &Session) -> bool {
        let (latest, shown) = (self.progress(), Progress::of(session));
        let entries = self.entries.iter().map(|entry| entry.after);
        let mut earlier = std::iter::once(self.start).chain(entries);
        latest.is_ahead_of(session)
            || (!latest.is_same_status(shown) && earlier.any(|past| past.is_same_status(shown)))
    }

    /// Adds the status changes that `session` shows. `observed_at` is the time of this answer.
    pub fn observe(&mut self, session: &Session, observed_at: Timestamp) {
        let before = self.progress();
        let after = before.after(session);
        let mut transitions = before.transitions_to(session);
        let latest = self.entries.iter().map(|entry| entry.transition.occurred_at).max();
        put_in_order(&mut transitions, latest.flatten());
        let last = transitions.len().saturating_sub(1);
        for (index, transition) in transitions.into_iter().enumerate() {
            let after = if index == last { after } else { Progress::at(transition.to) };
            self.entries.push(Entry { transition, observed_at, after });
        }
        let surplus = self.entries.len().saturating_sub(REMEMBERED);
        if surplus > 0 {
            self.start = self.entries[surplus - 1].after;
            self.forgotten += surplus as u64;
            self.entries.drain(..surplus);
        }
    }

    /// Every transition after `place`, oldest first.
    pub fn since(&self, place: u64) -> impl Iterator<Item = Transition> + '_ {
        let skipped = usize::try_from(place.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).map(|entry| entry.transition)
    }

    /// Every transition since `known`, which a watcher knew at `observed_at`. The watcher may have
    /// it from another server, whose history may differ slightly. `session` is the latest answer.
    pub fn since_known(
        &self,
        known: Progress,
        observed_at: Timestamp,
        session: &Session,
    ) -> Vec<Transition> {
        match self.place_of(known, observed_at) {
            Some(place) => self.since(self.forgotten + place as u64).collect(),
            None => known.transitions_to(session),
        }
    }

    /// The number of remembered entries after which the progress was `known`. If there are several
    /// such places, this is the one at `observed_at`, or else the first one after that time, or
    /// else the last one before it.
    fn place_of(&self, known: Progress, observed_at: Timestamp) -> Option<usize> {
        let progress_at = |place: usize| match place.checked_sub(1) {
            None => self.start,
            Some(index) => self.entries[index].after,
        };
        let then = self.entries.partition_point(|entry| entry.observed_at <= observed_at);
        let mut nearest = (then..=self.entries.len()).chain((0..then).rev());
        nearest.find(|place| progress_at(*place).is_same_status(known))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Status::{self, Active, Complete, Unknown};

    fn session(status: &str) -> Session {
        Session { upstream_status: status.to_owned(), ..Session::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn any_status() -> impl Strategy<Value = &'static str> {
        let statuses = "notStarted|waiting|active|complete|abandoned|paused|on hold|";
        prop::sample::select(statuses.split('|').collect::<Vec<_>>())
    }

    fn path(transitions: &[Transition]) -> Vec<Status> {
        transitions.iter().map(|step| step.to).collect()
    }

    #[test]
    fn who_was_told_by_another_server_gets_what_came_after() {
        let mut history = History::starting_with(&session("waiting"));
        history.observe(&session("paused"), at(10));
        history.observe(&session("active"), at(20));
        history.observe(&session("complete"), at(30));
        let latest = session("complete");
        let since = |status, second| {
            let known = Progress::of(&session(status));
            path(&history.since_known(known, at(second), &latest))
        };
        assert_eq!(since("waiting", 5), [Unknown, Active, Complete]);
        assert_eq!(since("paused", 9), [Active, Complete], "the other saw it earlier");
        assert_eq!(since("waiting", 12), [Unknown, Active, Complete], "the other saw it later");
        assert_eq!(since("complete", 31), []);
        assert_eq!(since("notStarted", 0), [Status::Waiting, Active, Complete]);
    }

    #[test]
    fn a_flapping_vendor_fills_no_memory() {
        let mut history = History::starting_with(&session("active"));
        for second in 0..5000 {
            history.observe(&session(&format!("status {second}")), at(second));
        }
        assert_eq!(history.end(), 5000);
        assert_eq!(history.entries.len(), REMEMBERED);
        assert_eq!(history.since(4990).count(), 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever the answers show, the history is one chain from the first status to the last.
        #[test]
        fn a_history_is_a_chain(
            statuses in prop::collection::vec(any_status(), 1..12),
            joined in any::<bool>(),
        ) {
            let sessions: Vec<_> = statuses
                .iter()
                .map(|status| Session {
                    customer_joined_at: joined.then(|| at(1).into()),
                    ..session(status)
                })
                .collect();
            let mut history = History::starting_with(&sessions[0]);
            for (second, session) in (0..).zip(&sessions) {
                history.observe(session, at(second));
            }
            let mut status = sessions[0].status();
            for step in history.since(0) {
                prop_assert_eq!(step.from, status);
                status = step.to;
            }
            prop_assert_eq!(status, sessions[sessions.len() - 1].status());
            // If the same answer comes again, it adds nothing.
            let end = history.end();
            history.observe(&sessions[sessions.len() - 1], at(99));
            prop_assert_eq!(history.end(), end);
        }

        /// A session in the documented order is never behind. The history has each of its statuses
        /// once, however few of them the answers show.
        #[test]
        fn a_life_in_order_is_told_in_full(
            seen in prop::sample::subsequence(vec![0_usize, 1, 2, 3], 1..=4),
            abandoned in any::<bool>(),
        ) {
            let life: &[&str] = if abandoned {
                &["notStarted", "waiting", "abandoned", "abandoned"]
            } else {
                &["notStarted", "waiting", "active", "complete"]
            };
            let first = session(life[seen[0]]);
            let mut history = History::starting_with(&first);
            for place in &seen {
                let next = session(life[*place]);
                prop_assert!(!history.is_ahead_of(&next));
                history.observe(&next, at(i64::try_from(*place).unwrap()));
            }
            let mut told = vec![first.status()];
            told.extend(history.since(0).map(|step| step.to));
            let mut truth: Vec<_> = life[seen[0]..=seen[seen.len() - 1]]
                .iter()
                .map(|status| Status::named(status))
                .collect();
            truth.dedup();
            prop_assert_eq!(told, truth);
        }
    }
}
