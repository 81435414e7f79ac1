//! Whose turn it is. Pure: is told the time, and hands places around without knowing what they are.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use crate::{credential::CredentialId, traffic::quota::class::Urgency};

/// While watches wait, one admission in so many is theirs, however many unary calls wait.
pub const WATCH_SHARE: usize = 8;

/// The range in which weights count: a session that hardly ever changes is asked seldom, not never.
const WEIGHTS: (f64, f64) = (0.01, 100.0);

/// What a place in the queue is known by; later is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Those who wait, each with a place `P`.
#[derive(Debug)]
pub(super) struct Queue<P> {
    next: u64,
    unary: usize,
    lines: HashMap<CredentialId, Line<P>>,
    /// Which line's turn it is: the first.
    turns: BTreeMap<u64, CredentialId>,
    watches: BTreeMap<Ticket, (Urgency, P)>,
    /// Unary calls admitted since the latest watch, while watches waited.
    unary_in_a_row: usize,
}

/// The unary calls of one caller, in order of arrival.
#[derive(Debug)]
struct Line<P> {
    turn: u64,
    waiting: BTreeMap<Ticket, P>,
}

impl<P> Queue<P> {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            unary: 0,
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            watches: BTreeMap::new(),
            unary_in_a_row: 0,
        }
    }

    pub(super) fn waiting_unary(&self) -> usize {
        self.unary
    }

    pub(super) fn waiting_watches(&self) -> usize {
        self.watches.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unary == 0 && self.watches.is_empty()
    }

    /// Joins the line of a caller.
    pub(super) fn join_unary(&mut self, caller: CredentialId, place: P) -> Ticket {
        let ticket = self.ticket();
        let line = self.lines.entry(caller).or_insert_with(|| {
            self.turns.insert(ticket.0, caller);
            Line { turn: ticket.0, waiting: BTreeMap::new() }
        });
        line.waiting.insert(ticket, place);
        self.unary += 1;
        ticket
    }

    /// Joins the watches.
    pub(super) fn join_watch(&mut self, urgency: Urgency, place: P) -> Ticket {
        let ticket = self.ticket();
        self.watches.insert(ticket, (urgency, place));
        ticket
    }

    /// Gives up a place. `None` if its turn had come already.
    pub(super) fn leave(&mut self, caller: CredentialId, ticket: Ticket) -> Option<P> {
        if let Some((_, place)) = self.watches.remove(&ticket) {
            return Some(place);
        }
        let place = self.lines.get_mut(&caller)?.waiting.remove(&ticket)?;
        self.unary -= 1;
        self.close_if_empty(caller);
        Some(place)
    }

    /// Takes out all places that `is_taken` chooses.
    pub(super) fn take(&mut self, is_taken: impl Fn(&P) -> bool) -> Vec<P> {
        let watches = self.watches.extract_if(.., |_, (_, place)| is_taken(place));
        let mut taken: Vec<_> = watches.map(|(_, (_, place))| place).collect();
        let watches = taken.len();
        for line in self.lines.values_mut() {
            let calls = line.waiting.extract_if(.., |_, place| is_taken(place));
            taken.extend(calls.map(|(_, place)| place));
        }
        self.unary -= taken.len() - watches;
        self.lines.retain(|_, line| {
            let is_left = !line.waiting.is_empty();
            if !is_left {
                self.turns.remove(&line.turn);
            }
            is_left
        });
        taken
    }

    /// Takes out the one whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<P> {
        let is_watch_due = self.unary_in_a_row + 1 >= WATCH_SHARE;
        if self.unary == 0 || (is_watch_due && !self.watches.is_empty()) {
            self.unary_in_a_row = 0;
            return self.next_watch(now);
        }
        self.unary_in_a_row = if self.watches.is_empty() { 0 } else { self.unary_in_a_row + 1 };
        self.next_unary()
    }

    /// How many go before the next call of this caller, from those that wait now.
    pub(super) fn ahead_of(&self, caller: CredentialId) -> usize {
        let own = self.lines.get(&caller);
        let before = own.map_or(0, |line| line.waiting.len());
        let turn = own.map_or(u64::MAX, |line| line.turn);
        let unary: usize = self
            .lines
            .values()
            .map(|line| line.waiting.len().min(before + usize::from(line.turn < turn)))
            .sum();
        if self.watches.is_empty() { unary } else { unary + unary / (WATCH_SHARE - 1) }
    }

    /// Takes out the latest of the longest line, if that is longer than this caller's would be.
    pub(super) fn make_room(&mut self, caller: CredentialId) -> Option<P> {
        let own = self.lines.get(&caller).map_or(0, |line| line.waiting.len());
        let (longest, line) = self.lines.iter_mut().max_by_key(|(_, line)| line.waiting.len())?;
        if line.waiting.len() <= own + 1 {
            return None;
        }
        let longest = *longest;
        let (_, place) = line.waiting.pop_last()?;
        self.unary -= 1;
        self.close_if_empty(longest);
        Some(place)
    }

    fn next_unary(&mut self) -> Option<P> {
        let (_, caller) = self.turns.pop_first()?;
        let line = self.lines.get_mut(&caller)?;
        let place = line.waiting.pop_first().map(|(_, place)| place);
        self.unary -= usize::from(place.is_some());
        if line.waiting.is_empty() {
            self.lines.remove(&caller);
        } else {
            line.turn = self.next;
            self.turns.insert(self.next, caller);
            self.next += 1;
        }
        place
    }

    /// A look at every watch: at the few requests a second that there are, cheaper than an order
    /// that changes with time.
    fn next_watch(&mut self, now: Instant) -> Option<P> {
        let gain = |urgency: &Urgency| {
            let age = now.saturating_duration_since(urgency.since).as_secs_f64();
            age * urgency.weight.max(WEIGHTS.0).min(WEIGHTS.1)
        };
        let best = self
            .watches
            .iter()
            .rev()
            .max_by(|(_, (a, _)), (_, (b, _))| gain(a).total_cmp(&gain(b)))
            .map(|(ticket, _)| *ticket)?;
        self.watches.remove(&best).map(|(_, place)| place)
    }

    fn close_if_empty(&mut self, caller: CredentialId) {
        if let Some(line) = self.lines.get(&caller)
            && line.waiting.is_empty()
        {
            self.turns.remove(&line.turn);
            self.lines.remove(&caller);
        }
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::credential::Credential;

    fn caller(name: &str) -> CredentialId {
        Credential::from_authorization(&format!("Bearer {name}")).unwrap().id()
    }

    fn drain<P>(queue: &mut Queue<P>) -> Vec<P> {
        let now = Instant::now();
        std::iter::from_fn(|| queue.next(now)).collect()
    }

    #[test]
    fn callers_take_turns_whatever_their_number_of_calls() {
        let mut queue = Queue::new();
        for call in ["n1", "n2", "n3", "n4"] {
            queue.join_unary(caller("noisy"), call);
        }
        queue.join_unary(caller("quiet"), "q1");
        queue.join_unary(caller("calm"), "c1");
        assert_eq!(drain(&mut queue), ["n1", "q1", "c1", "n2", "n3", "n4"]);
        assert!(queue.is_empty() && queue.lines.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn how_many_go_before_is_known_exactly() {
        let names = ["a", "b", "c", "d", "e"];
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut queue = Queue::new();
            for call in 0..random.usize(0..30) {
                queue.join_unary(caller(names[random.usize(0..5)]), call);
            }
            for _ in 0..random.usize(0..5) {
                queue.next(Instant::now());
            }
            let newcomer = caller(names[random.usize(0..5)]);
            let ahead = queue.ahead_of(newcomer);
            queue.join_unary(newcomer, usize::MAX);
            let place = drain(&mut queue).iter().position(|call| *call == usize::MAX);
            assert_eq!(place, Some(ahead), "seed {seed}");
        }
    }

    #[test]
    fn watches_go_by_what_they_would_learn_after_unary_calls() {
        let now = Instant::now() + Duration::from_secs(100);
        let asked = |seconds, weight| Urgency { since: now - Duration::from_secs(seconds), weight };
        let mut queue = Queue::new();
        queue.join_watch(asked(10, 0.1), "1");
        queue.join_watch(asked(3, 1.0), "3");
        queue.join_watch(asked(20, 0.1), "2");
        queue.join_watch(asked(90, f64::NAN), "0.9");
        queue.join_unary(caller("a"), "unary");
        let order: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
        assert_eq!(order, ["unary", "3", "2", "1", "0.9"]);
    }

    #[test]
    fn one_admission_in_eight_is_a_watch_under_unary_load() {
        let mut queue = Queue::new();
        let urgency = Urgency { since: Instant::now(), weight: 1.0 };
        for _ in 0..80 {
            queue.join_unary(caller("a"), 'u');
        }
        for _ in 0..10 {
            queue.join_watch(urgency, 'w');
        }
        let order: String = drain(&mut queue).into_iter().collect();
        assert!(order.starts_with(&"uuuuuuuw".repeat(10)), "{order}");
    }

    #[test]
    fn a_full_queue_makes_room_at_the_cost_of_the_longest_line() {
        let mut queue = Queue::new();
        for call in 1..=5 {
            queue.join_unary(caller("noisy"), call);
        }
        assert_eq!(queue.make_room(caller("noisy")), None);
        assert_eq!(queue.make_room(caller("quiet")), Some(5));
        assert_eq!(queue.waiting_unary(), 4);
    }
}
