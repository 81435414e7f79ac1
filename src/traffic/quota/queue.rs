//! The order of the waiting requests. It is pure: the caller passes the time, and the queue does
//! not inspect what it holds.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::class::Urgency;
use crate::{credential::CredentialId, fleet::Demand};

/// While watches wait, one admission in this many goes to a watch, however many unary calls wait.
pub const WATCH_SHARE: usize = 8;

/// While polls without a hint wait, one poll in this many has none, however many hints there are.
pub const ROUTINE_SHARE: usize = 8;

/// Weights are clamped to this range. A session that rarely changes is polled rarely, but it is
/// still polled. The list of an account has the weight of all its sessions.
const WEIGHTS: (f64, f64) = (0.01, 10_000.0);

/// Identifies an entry of the queue. Later entries have larger numbers.
pub(super) type Ticket = u64;

/// The waiting requests. Each is a `P`.
pub(super) struct Queue<P> {
    next: Ticket,
    /// The waiting unary calls by caller. No line is empty.
    lines: HashMap<CredentialId, Line<P>>,
    watches: BTreeMap<Ticket, (Urgency, P)>,
    /// The number of unary calls that were admitted since the latest watch, while watches waited.
    unary_in_a_row: usize,
    /// The number of polls with a hint that were admitted since the latest one without, while such
    /// polls waited.
    hinted_in_a_row: usize,
}

/// The unary calls of one caller, in order of arrival.
struct Line<P> {
    /// The line with the lowest number is next.
    turn: u64,
    waiting: BTreeMap<Ticket, P>,
}

impl<P> Queue<P> {
    pub(super) fn new() -> Self {
        let (lines, watches) = (HashMap::new(), BTreeMap::new());
        Self { next: 0, lines, watches, unary_in_a_row: 0, hinted_in_a_row: 0 }
    }

    pub(super) fn waiting_unary(&self) -> usize {
        self.lines.values().map(|line| line.waiting.len()).sum()
    }

    pub(super) fn waiting_watches(&self) -> usize {
        self.watches.len()
    }

    /// Returns what waits, for the other replicas of a fleet.
    pub(super) fn demand(&self) -> Demand {
        let is_hinted = |(urgency, _): &&(Urgency, P)| urgency.hint.since().is_some();
        let hinted = self.watches.values().filter(is_hinted).count();
        let (unary, callers) = (self.waiting_unary(), self.lines.len());
        Demand { unary, callers, hinted, routine: self.watches.len() - hinted }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.watches.is_empty()
    }

    /// Adds a unary call at the end of its caller's line.
    pub(super) fn join_unary(&mut self, caller: CredentialId, place: P) -> Ticket {
        let ticket = self.ticket();
        let line = || Line { turn: ticket, waiting: BTreeMap::new() };
        self.lines.entry(caller).or_insert_with(line).waiting.insert(ticket, place);
        ticket
    }

    /// Adds a watch.
    pub(super) fn join_watch(&mut self, urgency: Urgency, place: P) -> Ticket {
        let ticket = self.ticket();
        self.watches.insert(ticket, (urgency, place));
        ticket
    }

    /// Removes an entry. Returns `None` if its turn has already come.
    pub(super) fn leave(&mut self, caller: CredentialId, ticket: Ticket) -> Option<P> {
        if let Some((_, place)) = self.watches.remove(&ticket) {
            return Some(place);
        }
        let place = self.lines.get_mut(&caller)?.waiting.remove(&ticket);
        self.remove_if_empty(caller);
        place
    }

    /// Removes all entries for which `is_taken` returns true.
    pub(super) fn take(&mut self, is_taken: impl Fn(&P) -> bool) -> Vec<P> {
        let watches = self.watches.extract_if(.., |_, (_, place)| is_taken(place));
        let mut taken: Vec<_> = watches.map(|(_, (_, place))| place).collect();
        for line in self.lines.values_mut() {
            let calls = line.waiting.extract_if(.., |_, place| is_taken(place));
            taken.extend(calls.map(|(_, place)| place));
        }
        self.lines.retain(|_, line| !line.waiting.is_empty());
        taken
    }

    /// Removes the next entry.
    pub(super) fn next(&mut self, now: Instant) -> Option<P> {
        let is_watch_due = self.unary_in_a_row + 1 >= WATCH_SHARE;
        if self.lines.is_empty() || (is_watch_due && !self.watches.is_empty()) {
            self.unary_in_a_row = 0;
            return self.next_watch(now);
        }
        self.unary_in_a_row = if self.watches.is_empty() { 0 } else { self.unary_in_a_row + 1 };
        self.next_unary()
    }

    /// Returns how many of the waiting requests would go before a new call of this caller.
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

    /// Removes the latest call of the longest line, if that line is longer than this caller's line
    /// would become.
    pub(super) fn make_room(&mut self, caller: CredentialId) -> Option<P> {
        let own = self.lines.get(&caller).map_or(0, |line| line.waiting.len());
        let (longest, line) = self.lines.iter_mut().max_by_key(|(_, line)| line.waiting.len())?;
        let longest = *longest;
        let (_, place) = (line.waiting.len() > own + 1).then(|| line.waiting.pop_last())??;
        self.remove_if_empty(longest);
        Some(place)
    }

    fn next_unary(&mut self) -> Option<P> {
        let turn = self.ticket();
        let (caller, line) = self.lines.iter_mut().min_by_key(|(_, line)| line.turn)?;
        let caller = *caller;
        line.turn = turn;
        let place = line.waiting.pop_first().map(|(_, place)| place);
        self.remove_if_empty(caller);
        place
    }

    /// Polls with a hint go first, in the order of their hints. The others follow in the order of
    /// what they would learn.
    ///
    /// Scans all watches. At a few requests a second, this is cheaper than maintaining an order
    /// that changes with time.
    fn next_watch(&mut self, now: Instant) -> Option<P> {
        let gain = |urgency: &Urgency| {
            let age = now.saturating_duration_since(urgency.since).as_secs_f64();
            age * urgency.weight.max(WEIGHTS.0).min(WEIGHTS.1)
        };
        let (mut oldest_hint, mut best_routine) = (None, None);
        for (ticket, (urgency, _)) in &self.watches {
            match urgency.hint.since() {
                Some(since) if oldest_hint.is_none_or(|(oldest, _)| since < oldest) => {
                    oldest_hint = Some((since, *ticket));
                }
                Some(_) => {}
                None => {
                    let gain = gain(urgency);
                    if best_routine.is_none_or(|(best, _)| gain > best) {
                        best_routine = Some((gain, *ticket));
                    }
                }
            }
        }
        let is_routine_due = self.hinted_in_a_row + 1 >= ROUTINE_SHARE;
        let ticket = match (oldest_hint, best_routine) {
            (Some((_, hinted)), Some(_)) if !is_routine_due => {
                self.hinted_in_a_row += 1;
                hinted
            }
            (Some((_, ticket)), None) | (_, Some((_, ticket))) => {
                self.hinted_in_a_row = 0;
                ticket
            }
            (None, None) => return None,
        };
        let (urgency, place) = self.watches.remove(&ticket)?;
        urgency.hint.take();
        Some(place)
    }

    fn remove_if_empty(&mut self, caller: CredentialId) {
        if self.lines.get(&caller).is_some_and(|line| line.waiting.is_empty()) {
            self.lines.remove(&caller);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::class::Hint, *};
    use crate::credential::Credential;

    fn caller(name: &str) -> CredentialId {
        Credential::from_authorization(&format!("Bearer {name}")).unwrap().id()
    }

    fn drain<P>(queue: &mut Queue<P>) -> Vec<P> {
        let now = Instant::now();
        std::iter::from_fn(|| queue.next(now)).collect()
    }

    #[test]
    fn the_number_of_requests_ahead_is_exact() {
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
    fn watches_follow_unary_calls_in_order_of_urgency() {
        let now = Instant::now() + Duration::from_secs(100);
        let asked = |seconds, weight| Urgency {
            since: now - Duration::from_secs(seconds),
            weight,
            hint: Hint::default(),
        };
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
    fn polls_with_a_hint_go_first_but_leave_a_share() {
        let now = Instant::now() + Duration::from_secs(100);
        let urgency = |is_hinted| {
            let hint = Hint::default();
            if is_hinted {
                hint.give();
            }
            Urgency { since: now - Duration::from_secs(10), weight: 1.0, hint }
        };
        let mut queue = Queue::new();
        let waiting = urgency(false);
        queue.join_watch(waiting.clone(), "late hint");
        for _ in 0..6 {
            queue.join_watch(urgency(false), "routine");
        }
        for _ in 0..8 {
            queue.join_watch(urgency(true), "hint");
        }
        waiting.hint.give();
        let order = drain(&mut queue);
        let hints = ["hint"; ROUTINE_SHARE - 1];
        let start = [&hints[..], &["routine", "hint", "late hint"]].concat();
        assert_eq!(order[..start.len()], start, "{order:?}");
        assert_eq!(waiting.hint.since(), None, "the request that was sent has taken the hint");
    }
}
