//! What the vendor's list shows of one session, and whether that is a hint to poll it.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::Comparison;

/// After this many polls that found no change, what the list shows counts as known. The list then
/// differs from the answers in some other way, such as the format of a field.
const MAX_MISSES: u32 = 4;

/// The time from the first poll without a change to the next one for the same element. It doubles
/// each time.
const RETRY: Duration = Duration::from_secs(4);

/// What the vendor's list shows of one session.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The fingerprint of the element that agrees with the session's own answers.
    agreed: Option<u64>,
    suspected: Option<Suspected>,
    coverage: Option<Coverage>,
}

/// An element that differs from the latest answer.
#[derive(Debug)]
struct Suspected {
    fingerprint: u64,
    /// The number of polls that found no change.
    misses: u32,
    retry_at: Instant,
}

/// The list shows the session, so it is polled less often.
#[derive(Debug)]
struct Coverage {
    until: Instant,
    stretch: f64,
}

impl Listing {
    /// Notes an element of the list. Returns whether it is a hint.
    pub fn observe(&mut self, fingerprint: u64, comparison: Comparison, now: Instant) -> bool {
        if self.agreed == Some(fingerprint) {
            return false;
        }
        match comparison {
            Comparison::Earlier => false,
            Comparison::Same => {
                self.agreed = Some(fingerprint);
                self.suspected = None;
                false
            }
            Comparison::Different => match &self.suspected {
                Some(suspected) if suspected.fingerprint == fingerprint => {
                    now >= suspected.retry_at
                }
                _ => {
                    self.suspected = Some(Suspected { fingerprint, misses: 0, retry_at: now });
                    true
                }
            },
        }
    }

    /// Notes that the poll after a hint of the list found no change.
    pub fn note_miss(&mut self, now: Instant) {
        let Some(suspected) = &mut self.suspected else { return };
        suspected.retry_at = now + RETRY * (1 << suspected.misses);
        suspected.misses += 1;
        if suspected.misses >= MAX_MISSES {
            self.agreed = Some(suspected.fingerprint);
            self.suspected = None;
        }
    }

    /// Notes that a poll found a change.
    pub fn note_change(&mut self) {
        self.suspected = None;
    }

    /// Stretches the poll interval until then, because the list shows the session.
    pub fn cover(&mut self, until: Instant, stretch: f64) {
        self.coverage = Some(Coverage { until, stretch });
    }

    /// Notes that the list does not show the session, or cannot be read. Returns whether it did
    /// before.
    pub fn uncover(&mut self) -> bool {
        self.coverage.take().is_some()
    }

    /// Whether the list shows the session.
    pub fn is_covered(&self, now: Instant) -> bool {
        self.coverage.as_ref().is_some_and(|coverage| now < coverage.until)
    }

    /// By how much the poll interval is stretched.
    pub fn stretch(&self, now: Instant) -> f64 {
        let coverage = self.coverage.as_ref().filter(|coverage| now < coverage.until);
        coverage.map_or(1.0, |coverage| coverage.stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_that_never_comes_true_is_a_hint_only_a_few_times() {
        let (mut listing, start) = (Listing::default(), Instant::now());
        let mut hints = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            if listing.observe(1, Comparison::Different, now) {
                hints.push(second);
                listing.note_miss(now);
            }
        }
        assert_eq!(hints, [0, 4, 12, 28]);
        assert!(listing.observe(2, Comparison::Different, start), "another element is news");
    }

    #[test]
    fn a_list_that_lags_is_no_hint() {
        let (mut listing, now) = (Listing::default(), Instant::now());
        assert!(!listing.observe(1, Comparison::Same, now));
        assert!(!listing.observe(1, Comparison::Earlier, now));
        assert!(!listing.observe(2, Comparison::Same, now), "it has caught up");
        assert!(!listing.observe(1, Comparison::Earlier, now), "an old server answered");
        assert!(listing.observe(3, Comparison::Different, now));
    }
}
