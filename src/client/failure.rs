//! A failed call: its code, reason and hints from the service's answer, and whether to retry.

use std::{error::Error, fmt, time::Duration};

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::unreachable;
use crate::proto::code;

/// A failed call.
#[derive(Clone, PartialEq)]
pub struct Failure {
    /// The gRPC status code.
    pub code: Code,
    /// The message, which is one sentence.
    pub message: String,
    /// The stable reason of google.rpc.ErrorInfo. `None` if the failure did not come from the
    /// service, but from a broken connection, a proxy, or a limit of this client.
    pub reason: Option<String>,
    /// How long the service asks the client to wait before the next try.
    pub retry_after: Option<Duration>,
    /// Further hints, one a line: the field, resource or quota, and where to read more.
    pub hints: Vec<String>,
}

impl Failure {
    /// Whether the call failed because no connection could be made.
    pub fn is_unreachable(&self) -> bool {
        self.code == Code::Unavailable && self.reason.is_none()
    }

    /// Whether to resume a watch that ended with this failure.
    pub fn is_worth_resuming(&self) -> bool {
        match self.code {
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Aborted => true,
            // From the service, these codes are final. Without a reason, they mean that the
            // connection broke.
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

    /// The name of the code in the gRPC documentation.
    pub fn code_name(&self) -> &'static str {
        code::name(self.code)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        // A source means that the status did not come from the service. The connection broke, for
        // which tonic uses several codes.
        let (code, message) = match status.source() {
            Some(source) => {
                let why = unreachable::describe(source);
                (Code::Unavailable, format!("no connection to the service: {why}"))
            }
            None => (status.code(), own_words(status.message())),
        };
        let hints = hints(&details, &message);
        Self {
            code,
            message,
            reason: details.error_info().map(|info| info.reason.clone()),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            hints,
        }
    }
}

/// The message, or better words in place of those that tonic has for an answer that is not gRPC's.
fn own_words(message: &str) -> String {
    let not_grpc = "grpc-status header missing, mapped from HTTP status code ";
    match message.strip_prefix(not_grpc) {
        Some(status) => format!("no gRPC server answers at the address, but one of HTTP: {status}"),
        None => message.to_owned(),
    }
}

/// The status in a message of `WatchSessions`.
impl From<&tonic_types::Status> for Failure {
    fn from(status: &tonic_types::Status) -> Self {
        let details = status.encode_to_vec().into();
        Status::with_details(status.code.into(), status.message.clone(), details).into()
    }
}

/// Formats as one line, such as `NOT_FOUND (SESSION_NOT_FOUND): the session is unknown`. The hints
/// are left out.
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

/// The hints are left out here too, because they may name the session.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

impl Error for Failure {}

/// The innermost cause of an error, which describes what happened.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The client's own deadline has passed.
pub(super) fn too_late(limit: Duration) -> Failure {
    own(Code::DeadlineExceeded, format!("no answer within {}", humantime::format_duration(limit)))
}

/// The credential can no longer be read.
pub(super) fn no_credential(error: &super::Error) -> Failure {
    own(Code::Unauthenticated, error.to_string())
}

/// There is no address to call.
pub(super) fn no_address() -> Failure {
    own(Code::Unavailable, "no address of the service is given".to_owned())
}

/// The stream ended with OK, but without a terminal message.
pub(super) fn ended_early() -> Failure {
    own(Code::Unavailable, "the stream ended with OK although the session is not over".to_owned())
}

/// No message arrived in time, not even a heartbeat.
pub(super) fn silent(limit: Duration) -> Failure {
    let limit = humantime::format_duration(limit);
    own(Code::Unavailable, format!("no message for {limit}, not even a heartbeat"))
}

fn own(code: Code, message: String) -> Failure {
    Failure { code, message, reason: None, retry_after: None, hints: Vec::new() }
}

/// A delay as people say it: in whole seconds, or in milliseconds if it is shorter than a second.
pub fn rounded(delay: Duration) -> impl fmt::Display {
    let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(match milliseconds {
        0..1_000 => Duration::from_millis(milliseconds),
        _ => Duration::from_secs(milliseconds.saturating_add(500) / 1_000),
    })
}

/// What the details say and the message does not.
fn hints(details: &ErrorDetails, message: &str) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        hints.push(format!("try again in {}", rounded(delay)));
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
    hints.retain(|hint| !message.contains(hint));
    hints
}
