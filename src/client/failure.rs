//! A call that failed: the code, reason and hints that the service's answer carries, and what is
//! to be done about it.

use std::{error::Error, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A call that failed.
#[derive(Clone, PartialEq)]
pub struct Failure {
    /// The gRPC status code.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// The stable reason of google.rpc.ErrorInfo. `None` if the failure is not the service's own
    /// answer: a broken connection, a proxy, a limit of this client.
    pub reason: Option<String>,
    /// How long the service asks to wait before another try.
    pub retry_after: Option<Duration>,
    /// What else helps, a line each: which field, resource, quota, where to read more.
    pub hints: Vec<String>,
}

impl Failure {
    /// Whether no answer came because no connection could be made.
    pub fn is_unreachable(&self) -> bool {
        self.code == Code::Unavailable && self.reason.is_none()
    }

    /// Whether a watch that ended so should be resumed.
    pub fn is_worth_resuming(&self) -> bool {
        match self.code {
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Aborted => true,
            // From the service they are its verdict; without a reason, a connection that broke.
            Code::Internal | Code::Unknown | Code::Cancelled => self.reason.is_none(),
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        }
    }

    /// The code as the gRPC documentation writes it.
    pub fn code_name(&self) -> &'static str {
        match self.code {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        // A source means that the status did not come from the service: the connection broke, which
        // tonic tells of with one of several codes.
        let (code, message) = match status.source() {
            Some(source) => {
                (Code::Unavailable, format!("no connection to the service: {}", innermost(source)))
            }
            None => (status.code(), status.message().to_owned()),
        };
        Self {
            code,
            message,
            reason: details.error_info().map(|info| info.reason.clone()),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            hints: hints(&details),
        }
    }
}

/// `NOT_FOUND (SESSION_NOT_FOUND): the session is unknown`: one line. The hints stay out.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code_name())?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// Hints may name what was asked for, so they stay out here too.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl Error for Failure {}

/// The last cause of an error, which is the one that says what happened.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The client's own limit is over.
pub(super) fn too_late(limit: Duration) -> Failure {
    own(Code::DeadlineExceeded, format!("no answer within {}", humantime::format_duration(limit)))
}

/// The credential is gone.
pub(super) fn no_credential(error: &super::Error) -> Failure {
    own(Code::Unauthenticated, error.to_string())
}

/// There is nowhere to call.
pub(super) fn no_address() -> Failure {
    own(Code::Unavailable, "no address of the service is given".to_owned())
}

/// OK came without a terminal message before it.
pub(super) fn ended_early() -> Failure {
    own(Code::Unavailable, "the stream ended with OK although the session is not over".to_owned())
}

/// Not even a heartbeat came.
pub(super) fn silent(limit: Duration) -> Failure {
    let limit = humantime::format_duration(limit);
    own(Code::Unavailable, format!("no message for {limit}, not even a heartbeat"))
}

fn own(code: Code, message: String) -> Failure {
    Failure { code, message, reason: None, retry_after: None, hints: Vec::new() }
}

fn hints(details: &ErrorDetails) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        hints.push(format!("try again in {}", humantime::format_duration(delay)));
    }
    for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
        hints.push(format!("{} {}", violation.field, violation.description));
    }
    if let Some(resource) = details.resource_info() {
        let words = [&resource.resource_type, &resource.resource_name];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).cloned().collect();
        hints.push(format!("resource: {}", words.join(" ")));
    }
    for violation in details.quota_failure().iter().flat_map(|quota| &quota.violations) {
        hints.push(format!("quota: {} {}", violation.subject, violation.description));
    }
    for link in details.help().iter().flat_map(|help| &help.links) {
        hints.push(format!("{}: {}", link.description, link.url));
    }
    hints
}
