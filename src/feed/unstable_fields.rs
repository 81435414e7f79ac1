//! Fields that differ in every answer, such as a join URL with a nonce.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Digest, FieldSet};

/// A field is unstable if it differs in this many answers in a row.
const ROW: usize = 3;

/// How often a change is published that affects only unstable fields.
const INTERVAL: Duration = Duration::from_mins(1);

/// Detects unstable fields, so that their changes are published less often.
#[derive(Debug)]
pub(super) struct UnstableFields {
    latest: Digest,
    /// The fields that differed between the latest answers.
    changes: [FieldSet; ROW],
    published_at: Instant,
}

impl UnstableFields {
    /// Begins with the first answer, which is always published.
    pub fn new(first: Digest) -> Self {
        Self { latest: first, changes: [FieldSet::NONE; ROW], published_at: Instant::now() }
    }

    /// Observes an answer.
    pub fn observe(&mut self, answer: &Digest) {
        let [first, second, _] = self.changes;
        self.changes = [self.latest.changed(answer), first, second];
        self.latest = *answer;
    }

    /// Whether a change of these fields must wait. A change of the session's course, such as its
    /// status, never waits.
    pub fn hold_back(&self, changed: FieldSet) -> bool {
        let unstable = self.changes.into_iter().fold(FieldSet::ALL, FieldSet::and);
        let is_due = self.published_at.elapsed() >= INTERVAL;
        !is_due && changed.is_subset_of(unstable.without(FieldSet::COURSE))
    }

    /// Notes that the latest answer is published.
    pub fn note_published(&mut self) {
        self.published_at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Session;

    fn answer(join_url: u32, notes: &str, status: &str) -> Digest {
        Digest::of(&Session {
            session_id: "1".to_owned(),
            upstream_status: status.to_owned(),
            customer_join_url: Some(join_url.to_string()),
            notes: Some(notes.to_owned()),
            ..Session::default()
        })
    }

    /// Observes answers as a poll does. Returns the indexes of the published ones.
    fn published(answers: &[Digest]) -> Vec<usize> {
        let mut shown = answers[0];
        let mut fields = UnstableFields::new(shown);
        let mut published = Vec::new();
        for (place, answer) in answers.iter().enumerate().skip(1) {
            fields.observe(answer);
            let changed = shown.changed(answer);
            if !changed.is_empty() && !fields.hold_back(changed) {
                fields.note_published();
                published.push(place);
                shown = *answer;
            }
        }
        published
    }

    #[tokio::test(start_paused = true)]
    async fn an_unstable_field_is_not_published_until_it_stops_changing() {
        let mut answers: Vec<_> = (0..10).map(|url| answer(url, "", "active")).collect();
        assert_eq!(published(&answers), [1, 2], "two changes could be chance");
        answers.push(answer(9, "", "active"));
        assert_eq!(
            published(&answers),
            [1, 2, 10],
            "the last value is published once the field stops changing"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_a_stable_field_is_published_at_once() {
        let mut answers: Vec<_> = (0..10).map(|url| answer(url, "", "active")).collect();
        answers[5] = answer(5, "a note", "active");
        answers[6] = answer(6, "a note", "active");
        for late in &mut answers[7..] {
            *late = answer(7, "a note", "complete");
        }
        assert_eq!(published(&answers), [1, 2, 5, 7]);
    }
}
