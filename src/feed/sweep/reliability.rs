//! How reliable the hints of the vendor's list are, for one credential.

use parking_lot::Mutex;

/// By how much the polls of listed sessions are stretched at most.
const LONGEST_STRETCH: f64 = 12.0;

/// The weight of an observation after the next one.
const MEMORY: f64 = 0.97;

/// This many changes of doubt at the start.
const DOUBT: f64 = 3.0;

/// A list whose hints come true less often than this is useless, if there were this many.
const FEWEST_HITS: f64 = 0.1;
const FEWEST_HINTS: f64 = 20.0;

/// How reliable the hints of the vendor's list are.
#[derive(Debug, Default)]
pub(in crate::feed) struct Reliability(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The changes of listed sessions that a hint made a poll find, and the others.
    hinted: f64,
    unhinted: f64,
    /// The hints after which a poll found a change, and the others.
    hits: f64,
    misses: f64,
}

impl Reliability {
    /// Notes a status change of a listed session.
    pub fn note_change(&self, is_hinted: bool) {
        let counts = &mut *self.0.lock();
        counts.hinted *= MEMORY;
        counts.unhinted *= MEMORY;
        *if is_hinted { &mut counts.hinted } else { &mut counts.unhinted } += 1.0;
    }

    /// Notes a hint, and whether the poll after it found a change.
    pub fn note_hint(&self, is_hit: bool) {
        let counts = &mut *self.0.lock();
        counts.hits *= MEMORY;
        counts.misses *= MEMORY;
        *if is_hit { &mut counts.hits } else { &mut counts.misses } += 1.0;
    }

    /// By how much the polls of listed sessions are stretched. While fewer than half of the changes
    /// are found because of hints, they are not.
    pub fn stretch(&self) -> f64 {
        let Counts { hinted, unhinted, .. } = *self.0.lock();
        let trust = hinted / (hinted + unhinted + DOUBT);
        1.0 + (LONGEST_STRETCH - 1.0) * (2.0 * trust - 1.0).max(0.0).powi(2)
    }

    /// Whether hardly any hint came true.
    pub fn is_useless(&self) -> bool {
        let Counts { hits, misses, .. } = *self.0.lock();
        hits + misses > FEWEST_HINTS && hits / (hits + misses) < FEWEST_HITS
    }

    /// Forgets how often hints came true, so that the list is tried again.
    pub fn forget_hints(&self) {
        let counts = &mut *self.0.lock();
        (counts.hits, counts.misses) = (0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_stretched_as_hints_prove_reliable() {
        let reliability = Reliability::default();
        assert!(reliability.stretch() <= 1.0);
        (0..5).for_each(|_| reliability.note_change(true));
        let early = reliability.stretch();
        assert!((1.0..2.0).contains(&early), "{early}");
        (0..60).for_each(|_| reliability.note_change(true));
        assert!(reliability.stretch() > 8.0);
        (0..30).for_each(|_| reliability.note_change(false));
        assert!(reliability.stretch() <= 1.0, "the list has stopped telling");
    }

    #[test]
    fn a_list_whose_hints_never_come_true_is_useless() {
        let reliability = Reliability::default();
        (0..20).for_each(|_| reliability.note_hint(false));
        assert!(!reliability.is_useless(), "that can be chance");
        (0..20).for_each(|_| reliability.note_hint(false));
        assert!(reliability.is_useless());
        (0..10).for_each(|_| reliability.note_hint(true));
        assert!(!reliability.is_useless());
    }
}
