//! What an answer or an error means to a poll.

use strum::{IntoStaticStr, VariantNames};

use crate::{
    model::Absence,
    trace::Outcome,
    wire::{Error, Kind},
};

/// The result of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum PollResult {
    /// The session is the same.
    Unchanged,
    /// The session has changed.
    Changed,
    /// A second answer must confirm this one.
    Unconfirmed,
    /// The validator rejected the answer.
    Rejected,
    /// There is no answer.
    Failed,
    /// The poll has ended.
    Ended,
    /// Another reply came after this request was sent, so this answer may be older.
    Superseded,
}

impl PollResult {
    /// The name in metrics and traces.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The outcome of the poll's span.
    pub fn outcome(self) -> Outcome {
        match self {
            PollResult::Failed | PollResult::Rejected => Outcome::Failed,
            PollResult::Unchanged
            | PollResult::Changed
            | PollResult::Unconfirmed
            | PollResult::Ended
            | PollResult::Superseded => Outcome::Fine,
        }
    }
}

/// What an error means to a poll.
#[derive(Clone, Copy, Debug)]
pub(super) enum ErrorClass {
    /// The session is not visible, if a second answer confirms it.
    Absent(Absence),
    /// The poll must end.
    Refused,
    /// The vendor, or something between here and the vendor, fails temporarily.
    Transient,
}

impl ErrorClass {
    pub fn of(error: &Error) -> Self {
        match error.kind {
            Kind::NotFound => Self::Absent(Absence::NotFound),
            // The vendor itself would send a code. Without a code, a firewall may have sent the
            // 403.
            Kind::PermissionDenied if error.upstream_code.is_none() => {
                Self::Absent(Absence::Forbidden)
            }
            Kind::CredentialRejected | Kind::NoSeat | Kind::PermissionDenied => Self::Refused,
            // The vendor has answered the same request before, so even these errors are temporary.
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
            | Kind::CredentialUnavailable => Self::Transient,
        }
    }
}
