//! What a resumed watcher knows already, and whether an answer may be told to it.

use crate::model::{Absence, Baseline, Digest, History, Known, Session, Validator, Verdict};

/// The validator of a watcher that resumes: another server may have told it more than this one has
/// seen.
pub(super) struct Resume<'a> {
    known: &'a Known,
    history: History,
    validator: Validator,
}

impl<'a> Resume<'a> {
    pub fn from(known: &'a Known) -> Self {
        Self {
            known,
            history: History::starting_from(known.progress),
            validator: Validator::resuming(&known.digest),
        }
    }

    /// Judges an answer. Each one must be newer than the one before.
    pub fn judge(&mut self, answer: &Session, digest: &Digest) -> Verdict {
        let (known, history) = (&self.known.digest, &self.history);
        if known.content == digest.content {
            return Verdict::Believed;
        }
        self.validator.judge(Baseline { digest: known, history, session: None }, answer, digest)
    }

    /// Whether the session is gone after all.
    pub fn confirms_absence(&mut self, absence: Absence) -> bool {
        self.validator.confirms_absence(absence)
    }

    /// The validator for a poll that begins with an answer judged here.
    pub fn validator(&self) -> Validator {
        self.validator.clone()
    }
}
