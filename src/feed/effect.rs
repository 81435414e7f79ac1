//! What an answer or an error means to a poll, and how long it pauses then.

use std::time::Duration;

use crate::{model::Absence, trace::Outcome, wire, wire::Kind};

/// After a failure the next request comes after so long, then after twice that, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A session is asked for again after so long, whatever the vendor's Retry-After says. The quota
/// keeps what a 429 says.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What an answer amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The session is as it was.
    Unchanged,
    /// The session has changed.
    Changed,
    /// It waits for a second answer to confirm it.
    Doubtful,
    /// It was not believed.
    Disbelieved,
    /// There is none.
    Failed,
    /// There will be no more.
    Ended,
    /// Another answer came after it was asked for, and may be newer.
    Superseded,
}

impl Effect {
    /// Its name in metrics and traces.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Unchanged => "unchanged",
            Effect::Changed => "changed",
            Effect::Doubtful => "doubtful",
            Effect::Disbelieved => "disbelieved",
            Effect::Failed => "failed",
            Effect::Ended => "ended",
            Effect::Superseded => "superseded",
        }
    }

    /// Whether it is as it should be.
    pub fn outcome(self) -> Outcome {
        match self {
            Effect::Failed | Effect::Disbelieved => Outcome::Failed,
            Effect::Unchanged
            | Effect::Changed
            | Effect::Doubtful
            | Effect::Ended
            | Effect::Superseded => Outcome::Fine,
        }
    }
}

/// What an error means to a poll.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// The session is not there to be seen, if a second answer says so too.
    Absent(Absence),
    /// There is nothing more to learn.
    Refused,
    /// The vendor is in trouble, or on its way to it something is.
    Trouble,
}

impl Meaning {
    pub fn of(error: &wire::Error) -> Self {
        match error.kind {
            Kind::NotFound => Self::Absent(Absence::NotFound),
            // Without a code that the vendor would give, something else may have refused it, such
            // as a firewall.
            Kind::PermissionDenied if error.upstream_code.is_none() => {
                Self::Absent(Absence::Forbidden)
            }
            Kind::CredentialRejected | Kind::NoSeat | Kind::PermissionDenied => Self::Refused,
            // The vendor has answered this very request before, so whatever else it says now is its
            // own trouble.
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
            | Kind::CredentialUnavailable => Self::Trouble,
        }
    }
}

/// How long to pause after so many failures in a row.
pub(super) fn retry_pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let backoff = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(5));
    backoff.min(LONGEST_RETRY).max(retry_after.unwrap_or_default().min(LONGEST_PAUSE))
}

/// Whatever the vendor's trouble is, in the end it is not available.
pub(super) fn outage(cause: &wire::Error) -> wire::Error {
    let mut error = cause.clone();
    error.kind = Kind::Unavailable;
    error
}
