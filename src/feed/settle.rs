//! Which answers are believed. Pure: decides, and leaves doing to the poll.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Reading, Reply};
use crate::{
    model::{Progress, Session},
    rest::{self, Kind},
    trace::Outcome,
};

/// What the answers so far amount to.
#[derive(Debug, Default)]
pub(super) struct Settle {
    /// An answer with an earlier status than the one before it, which a second one must confirm.
    doubted: Option<Progress>,
    /// How many answers said that the session is gone, since the last one that showed it.
    gone: u32,
    failures: u32,
}

/// What to make of an answer.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing new; when the answer came.
    Same(Timestamp),
    /// News.
    News(Box<Reading>),
    /// Perhaps out of date, or a slip: ask again soon.
    Doubtful,
    /// Trouble upstream.
    Failed(rest::Error),
    /// There will be nothing more to learn.
    Over(rest::Error),
}

impl Verdict {
    /// Its name in metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Same(_) => "unchanged",
            Verdict::News(_) => "changed",
            Verdict::Doubtful => "doubtful",
            Verdict::Failed(_) => "failed",
            Verdict::Over(_) => "ended",
        }
    }

    /// Whether it is as it should be.
    pub fn outcome(&self) -> Outcome {
        match self {
            Verdict::Failed(_) => Outcome::Failed,
            Verdict::Same(_) | Verdict::News(_) | Verdict::Doubtful | Verdict::Over(_) => {
                Outcome::Fine
            }
        }
    }
}

impl Settle {
    /// Judges an answer that follows `latest`.
    pub fn judge(&mut self, latest: &Reading, reply: Reply) -> Verdict {
        match reply {
            Ok(answer) => self.judge_session(latest, answer.content, answer.observed_at),
            Err(error) => self.judge_error(error),
        }
    }

    /// How many times in a row the vendor failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn judge_session(
        &mut self,
        latest: &Reading,
        session: Arc<Session>,
        observed_at: Timestamp,
    ) -> Verdict {
        self.gone = 0;
        self.failures = 0;
        let progress = Progress::of(&session);
        let is_behind = latest.history.is_ahead_of(&session);
        let is_confirmed = self.doubted.is_some_and(|doubted| doubted.is_same_status(progress));
        if is_behind && !is_confirmed {
            self.doubted = Some(progress);
            return Verdict::Doubtful;
        }
        self.doubted = None;
        match latest.next(session, observed_at) {
            Some(reading) => Verdict::News(Box::new(reading)),
            None => Verdict::Same(observed_at),
        }
    }

    fn judge_error(&mut self, error: rest::Error) -> Verdict {
        match error.kind {
            Kind::NotFound if self.gone > 0 => Verdict::Over(error),
            Kind::NotFound => {
                self.gone += 1;
                self.failures = 0;
                Verdict::Doubtful
            }
            Kind::CredentialRejected | Kind::NoSeat | Kind::PermissionDenied => {
                Verdict::Over(error)
            }
            // The vendor has answered this very question before, so whatever else it says now is
            // its own trouble.
            Kind::RejectedArgument
            | Kind::MethodNotSupported
            | Kind::Conflict
            | Kind::PreconditionFailed
            | Kind::RateLimited
            | Kind::Internal
            | Kind::Unavailable
            | Kind::Timeout
            | Kind::ConnectFailed
            | Kind::Redirect
            | Kind::Malformed
            | Kind::UnexpectedStatus
            | Kind::DeadlineExceeded
            | Kind::QuotaExhausted
            | Kind::CredentialUnavailable => {
                self.failures += 1;
                Verdict::Failed(error)
            }
        }
    }
}
