//! Limits the rate of hints to one a second for each session, and to a hundred a second in all. A
//! hint that comes sooner waits for its turn. Waiting hints for the same session are merged.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::model::SessionId;

/// The shortest time between two hints for a session.
const SESSION_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two hints in the long run.
const INTERVAL: Duration = Duration::from_millis(10);

/// The greatest number of hints at once.
const BURST: u32 = 100;

/// The greatest number of sessions in memory: those with a hint that waits, and those that had one
/// in the last second. If all have a hint that waits, giving these hints takes ten seconds.
const MAX_SESSIONS: usize = 1_000;

/// The hints that wait.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Each session in memory, and whether a hint waits.
    sessions: HashMap<SessionId, bool>,
    /// The turn of each session in memory, sorted by time and order. At its turn, the hint that
    /// waits is given. If no hint waits, the session is removed from memory.
    turns: BinaryHeap<Reverse<(Instant, u64, SessionId)>>,
    /// How many turns there have been.
    order: u64,
    /// When the hints given so far would have ended at a rate of one in each [`INTERVAL`]. This is
    /// the theoretical arrival time of the generic cell rate algorithm (GCRA).
    theoretical_arrival: Instant,
}

/// What happens to a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    /// It is given, at once or at the session's turn.
    Accepted,
    /// A hint for the same session already waits.
    Merged,
    /// Too many sessions are in memory.
    Refused,
}

/// What the task does next.
#[derive(Debug)]
enum Turn {
    Hint(SessionId),
    /// There is nothing to do before this time.
    At(Instant),
    Idle,
}

impl Pace {
    pub fn new() -> Self {
        let state = State {
            sessions: HashMap::new(),
            turns: BinaryHeap::new(),
            order: 0,
            theoretical_arrival: Instant::now(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Adds a hint.
    pub fn offer(&self, session: SessionId) -> Offer {
        let offer = self.state.lock().offer(session);
        self.changed.notify_one();
        offer
    }

    /// Waits for the turn of a hint, and returns its session. Only one task may wait.
    pub async fn next(&self) -> SessionId {
        loop {
            let turn = self.state.lock().turn(Instant::now());
            match turn {
                Turn::Hint(session) => return session,
                Turn::At(time) => tokio::select! {
                    () = sleep_until(time) => {}
                    () = self.changed.notified() => {}
                },
                Turn::Idle => self.changed.notified().await,
            }
        }
    }
}

impl State {
    fn offer(&mut self, session: SessionId) -> Offer {
        let count = self.sessions.len();
        match self.sessions.entry(session.clone()) {
            Entry::Occupied(mut waits) => {
                if waits.insert(true) {
                    Offer::Merged
                } else {
                    Offer::Accepted
                }
            }
            Entry::Vacant(_) if count >= MAX_SESSIONS => Offer::Refused,
            Entry::Vacant(entry) => {
                entry.insert(true);
                self.add_turn(Instant::now(), session);
                Offer::Accepted
            }
        }
    }

    fn add_turn(&mut self, at: Instant, session: SessionId) {
        self.turns.push(Reverse((at, self.order, session)));
        self.order += 1;
    }

    fn turn(&mut self, now: Instant) -> Turn {
        loop {
            let Some(Reverse((at, _, session))) = self.turns.peek() else { return Turn::Idle };
            if *at > now {
                return Turn::At(*at);
            }
            if self.sessions.get(session).is_some_and(|waits| *waits) {
                let ahead = self.theoretical_arrival.saturating_duration_since(now);
                let wait = ahead.saturating_sub(INTERVAL * (BURST - 1));
                if !wait.is_zero() {
                    return Turn::At(now + wait);
                }
            }
            let Some(Reverse((_, _, session))) = self.turns.pop() else { return Turn::Idle };
            if self.sessions.remove(&session) == Some(true) {
                self.theoretical_arrival = self.theoretical_arrival.max(now) + INTERVAL;
                self.sessions.insert(session.clone(), false);
                self.add_turn(now + SESSION_INTERVAL, session.clone());
                return Turn::Hint(session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn session(number: usize) -> SessionId {
        number.to_string().parse().unwrap()
    }

    /// The hints that are given within `limit`, each with its time since `start`.
    async fn given(pace: &Pace, start: Instant, limit: Duration) -> Vec<(SessionId, Duration)> {
        let end = start + limit;
        let mut given = Vec::new();
        while let Ok(session) = timeout(end - Instant::now(), pace.next()).await {
            given.push((session, start.elapsed()));
        }
        given
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_hint_is_given_at_once_and_the_latest_a_second_later() {
        let (pace, start) = (Pace::new(), Instant::now());
        assert_eq!(pace.offer(session(1)), Offer::Accepted);
        assert_eq!(pace.offer(session(1)), Offer::Merged);
        assert_eq!(given(&pace, start, Duration::ZERO).await, [(session(1), Duration::ZERO)]);

        advance(Duration::from_millis(300)).await;
        assert_eq!(pace.offer(session(1)), Offer::Accepted, "it waits");
        assert_eq!(pace.offer(session(1)), Offer::Merged);
        assert_eq!(pace.offer(session(2)), Offer::Accepted, "another session does not");
        let rest = given(&pace, start, Duration::from_secs(10)).await;
        let expected =
            [(session(2), Duration::from_millis(300)), (session(1), Duration::from_secs(1))];
        assert_eq!(rest, expected);
        assert!(pace.state.lock().sessions.is_empty() && pace.state.lock().turns.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_that_comes_while_the_task_waits_wakes_it() {
        let (pace, start) = (Pace::new(), Instant::now());
        let later = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            pace.offer(session(1));
        };
        let (hinted, ()) = tokio::join!(pace.next(), later);
        assert_eq!((hinted, start.elapsed()), (session(1), Duration::from_millis(1_500)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_with_many_hints_gets_one_a_second() {
        let (pace, start) = (Pace::new(), Instant::now());
        let flood = async {
            for _ in 0..1_000 {
                pace.offer(session(1));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let (given, ()) = tokio::join!(given(&pace, start, Duration::from_secs(20)), flood);
        let times: Vec<_> =
            given.iter().map(|(_, time)| time.as_millis().div_ceil(1_000)).collect();
        assert_eq!(times, (0..=10).collect::<Vec<_>>(), "the latest at 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_are_given_at_once_and_then_a_hundred_a_second_in_order() {
        let (pace, start) = (Pace::new(), Instant::now());
        for number in 0..300 {
            assert_eq!(pace.offer(session(number)), Offer::Accepted);
        }
        let given = given(&pace, start, Duration::from_secs(10)).await;
        assert!(given.iter().map(|(session, _)| session.clone()).eq((0..300).map(session)));
        let at = |number: usize| given[number].1;
        assert_eq!(at(99), Duration::ZERO);
        assert_eq!((at(100), at(299)), (Duration::from_millis(10), Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_sessions_in_memory_is_limited() {
        let (pace, start) = (Pace::new(), Instant::now());
        let offers: Vec<_> = (0..100_000).map(|number| pace.offer(session(number))).collect();
        let accepted = offers.iter().filter(|offer| **offer == Offer::Accepted).count();
        assert_eq!(accepted, MAX_SESSIONS);
        assert_eq!(
            pace.offer(session(0)),
            Offer::Merged,
            "a session that waits costs nothing more"
        );
        assert_eq!(pace.state.lock().turns.len(), MAX_SESSIONS);

        assert_eq!(given(&pace, start, Duration::from_secs(11)).await.len(), MAX_SESSIONS);
        assert!(pace.state.lock().sessions.is_empty() && pace.state.lock().turns.is_empty());
        assert_eq!(pace.offer(session(100_000)), Offer::Accepted);
    }
}
