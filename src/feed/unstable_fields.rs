//! Fields that differ in every answer, such as a join URL with a nonce.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Digest, FieldSet};

/// A field that differs in so many answers in a row differs in all of them.
const ROW: usize = 3;

/// How often a change is told that is in such fields alone.
const INTERVAL: Duration = Duration::from_mins(1);

/// Notices fields that differ in every answer, so that they are not told each time.
#[derive(Debug)]
pub(super) struct Churn {
    latest: Digest,
    /// The fields that differed between the latest answers, newest first.
    changes: [FieldSet; ROW],
    published_at: Instant,
}

impl Churn {
    /// Begins with the first answer, which is told.
    pub fn beginning_with(first: Digest) -> Self {
        Self { latest: first, changes: [FieldSet::NONE; ROW], published_at: Instant::now() }
    }

    /// Takes in an answer.
    pub fn observe(&mut self, answer: &Digest) {
        let changed = self.latest.changed(answer);
        self.changes.rotate_right(1);
        let [newest, ..] = &mut self.changes;
        *newest = changed;
        self.latest = *answer;
    }

    /// Whether a change in these fields waits until it is worth telling. The course of a session
    /// never waits.
    pub fn holds(&self, changed: FieldSet) -> bool {
        let churning = self.changes.into_iter().fold(FieldSet::ALL, FieldSet::and);
        let is_told = self.published_at.elapsed() >= INTERVAL;
        !is_told && changed.is_subset_of(churning.without(FieldSet::COURSE))
    }

    /// The latest answer was told.
    pub fn published(&mut self) {
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

    /// Feeds answers, and gives those that are told, as a poll does.
    fn told(answers: &[Digest]) -> Vec<usize> {
        let mut shown = answers[0];
        let mut churn = Churn::beginning_with(shown);
        let mut told = Vec::new();
        for (place, answer) in answers.iter().enumerate().skip(1) {
            churn.observe(answer);
            let changed = shown.changed(answer);
            if !changed.is_empty() && !churn.holds(changed) {
                churn.published();
                told.push(place);
                shown = *answer;
            }
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_field_that_always_differs_is_told_no_more_until_it_rests() {
        let mut answers: Vec<_> = (0..10).map(|url| answer(url, "", "active")).collect();
        assert_eq!(told(&answers), [1, 2], "twice could be chance");
        answers.push(answer(9, "", "active"));
        assert_eq!(told(&answers), [1, 2, 10], "once it rests, the rest is told");
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_else_changes_is_told_at_once() {
        let mut answers: Vec<_> = (0..10).map(|url| answer(url, "", "active")).collect();
        answers[5] = answer(5, "a note", "active");
        answers[6] = answer(6, "a note", "active");
        for late in &mut answers[7..] {
            *late = answer(7, "a note", "complete");
        }
        assert_eq!(told(&answers), [1, 2, 5, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_field_that_always_differs_is_told_once_a_minute() {
        let mut churn = Churn::beginning_with(answer(0, "", "active"));
        for url in 1..5 {
            churn.observe(&answer(url, "", "active"));
        }
        let changed = answer(0, "", "active").changed(&answer(1, "", "active"));
        assert!(churn.holds(changed));
        tokio::time::advance(INTERVAL).await;
        assert!(!churn.holds(changed));
        churn.published();
        assert!(churn.holds(changed));
    }
}
