//! A watcher that is about to begin, and which answer it may be told first.

use jiff::Timestamp;

use super::{Key, Reading, poller::Poller};
use crate::model::{Absence, Baseline, Digest, History, Known, Session, Validation, Validator};

/// A watcher that is about to begin.
pub(super) struct Newcomer<'a> {
    /// What it was told in an earlier watch: another server may have told it more than this one has
    /// seen.
    known: Option<(&'a Known, History)>,
    validator: Validator,
}

impl<'a> Newcomer<'a> {
    /// A watcher of `key` with what it was told in an earlier watch.
    pub fn new(key: &Key, known: Option<&'a Known>) -> Self {
        Self {
            known: known.map(|known| (known, History::starting_from(known.progress))),
            validator: Validator::new(&key.session, known.map(|known| &known.digest)),
        }
    }

    /// How new the answer of a running poll must be. Of the content that the watcher has already,
    /// there is nothing to tell, so it may be older.
    pub fn at_least(&self, poller: &Poller) -> Option<Timestamp> {
        let (known, _) = self.known.as_ref()?;
        let is_known = poller.state.borrow().reading.digest.content == known.digest.content;
        (!is_known).then_some(known.observed_at)
    }

    /// Judges what a running poll knows, which is believed by itself.
    pub fn judge_reading(&mut self, reading: &Reading) -> Validation {
        match &self.known {
            None => Validation::Accepted,
            Some(_) => self.judge(&reading.session, &reading.digest),
        }
    }

    /// Judges an answer. Each one must be newer than the one before.
    pub fn judge(&mut self, answer: &Session, digest: &Digest) -> Validation {
        let Some((Known { digest: known, .. }, history)) = &self.known else {
            return self.validator.judge_first(answer);
        };
        if known.content == digest.content {
            self.validator.settle();
            return Validation::Accepted;
        }
        self.validator.judge(Baseline { digest: known, history, session: None }, answer, digest)
    }

    /// Whether the session is gone. Who has seen it hears that only after two answers.
    pub fn is_gone(&mut self, absence: Absence) -> bool {
        self.known.is_none() || self.validator.confirms_absence(absence)
    }

    /// Whether it was told something in an earlier watch.
    pub fn is_resumed(&self) -> bool {
        self.known.is_some()
    }

    /// The validator for a poll that begins with an answer which was believed here.
    pub fn validator(&self) -> Validator {
        self.validator.clone()
    }
}
