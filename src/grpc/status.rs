//! The errors of the API: one table, from what went wrong to code, reason and details.

use std::{fmt::Display, time::Duration};

use prost::Message as _;
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    caller,
    resume_token::{Decoded, InvalidToken},
};
use crate::{model::SessionId, wire, wire::Kind};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "remotesupport.gotoassist";

/// Tells gRPC's own retries how long to wait (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// When to try again if nobody said so.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// The one reason for a deadline that has passed, whoever notices it first.
const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";

/// The reasons of ends that were planned.
const STREAM_ROTATED: &str = "STREAM_ROTATED";
const SERVER_DRAINING: &str = "SERVER_DRAINING";

/// Whether an error with this reason is an end that was planned: the client goes on elsewhere, and
/// nothing has failed.
pub fn is_planned(reason: &str) -> bool {
    [STREAM_ROTATED, SERVER_DRAINING].contains(&reason)
}

/// How a caller sees an error of the south face, in a call about one session.
pub fn of_session(error: &wire::Error, session: &SessionId) -> Status {
    let mut refusal = Refusal::of(error, "SESSION_NOT_FOUND");
    if error.kind == Kind::NotFound {
        refusal.details.set_resource_info(
            "gotoassist.remotesupport.v1.Session",
            session.as_str(),
            "",
            "unknown, not visible to this account, or older than GoToAssist keeps",
        );
    }
    refusal.into_status()
}

/// The same for a call about the links of a domain.
pub fn of_system_links(error: &wire::Error) -> Status {
    Refusal::of(error, "SYSTEM_LINKS_NOT_FOUND").into_status()
}

/// What `parsed` gives, or the refusal of the argument `field`.
pub fn checked<T>(field: &str, parsed: Result<T, impl Display>) -> Result<T, Status> {
    parsed.map_err(|error| invalid(field, &error.to_string()))
}

/// The refusal of an argument, before anything was sent to the vendor.
pub fn invalid(field: &str, description: &str) -> Status {
    let mut refusal =
        Refusal::new(Code::InvalidArgument, "ARGUMENT_INVALID", &format!("{field} {description}"));
    refusal.details.add_bad_request_violation(field, description);
    refusal.into_status()
}

/// What a resume token holds, or its refusal.
pub fn checked_token(decoded: Result<Decoded, InvalidToken>) -> Result<Decoded, Status> {
    decoded.map_err(|invalid| {
        let message = format!("resume_token {invalid}");
        let mut refusal = Refusal::new(Code::InvalidArgument, "RESUME_TOKEN_INVALID", &message);
        refusal.details.add_bad_request_violation("resume_token", invalid.to_string());
        refusal.into_status()
    })
}

/// Somebody may not call; nothing was sent to the vendor. Where callers bring `vendor_credentials`, it
/// helps to know how to get one.
pub fn of_caller(why: caller::Refusal, vendor_credentials: bool) -> Status {
    let (code, reason) = match why {
        caller::Refusal::Missing(_) => (Code::Unauthenticated, "CREDENTIAL_MISSING"),
        caller::Refusal::Rejected => (Code::Unauthenticated, "CALLER_NOT_AUTHENTICATED"),
        caller::Refusal::NotAllowed => (Code::PermissionDenied, "CALLER_NOT_ALLOWED"),
    };
    let mut refusal = Refusal::new(code, reason, &why.to_string());
    if vendor_credentials {
        refusal.help();
    }
    refusal.into_status()
}

/// The health of a service was asked for that this server does not have.
pub fn unknown_service() -> Status {
    let message = "this server does not know the service";
    Refusal::new(Code::NotFound, "SERVICE_UNKNOWN", message).into_status()
}

/// A defect of ours.
pub fn failed() -> Status {
    let message = "the service failed, which is a defect of it";
    Refusal::new(Code::Internal, "SERVICE_FAILED", message).into_status()
}

/// The deadline of the call has passed: its own, or the one that calls have without one.
pub fn deadline_exceeded() -> Status {
    let message = "the deadline of the call has passed";
    Refusal::new(Code::DeadlineExceeded, DEADLINE_EXCEEDED, message).into_status()
}

/// The stream has reached its greatest age.
pub fn stream_rotated() -> Status {
    let message = "the stream has reached its greatest age; open another with the resume token";
    Refusal::new(Code::Unavailable, STREAM_ROTATED, message)
        .retry_after(jittered(Duration::from_millis(100)))
        .into_status()
}

/// The server is going away.
pub fn draining() -> Status {
    going_away("this server is going away; open another stream with the resume token")
}

/// The server is going away, and the request of the call is incomplete.
pub fn draining_incomplete() -> Status {
    going_away("this server is going away, and the request is incomplete; call again")
}

fn going_away(message: &str) -> Status {
    Refusal::new(Code::Unavailable, SERVER_DRAINING, message)
        .retry_after(jittered(Duration::from_millis(500)))
        .into_status()
}

/// The watcher did not take its messages.
pub fn slow_watcher() -> Status {
    let message = "the watcher took too long to read; open another stream with the resume token";
    Refusal::new(Code::ResourceExhausted, "SLOW_WATCHER", message)
        .retry_after(RETRY_SOON)
        .into_status()
}

/// There are as many watches as there may be, of one server, caller or session.
pub fn too_many_watches(whose: &str) -> Status {
    overloaded(
        &format!("there is no place for more watches of this {whose}"),
        &format!("watches of one {whose}"),
    )
}

/// There are as many unary calls as there may be, of one server or caller.
pub fn too_many_calls(whose: &str) -> Status {
    overloaded(
        &format!("there is no place for more calls of this {whose}"),
        &format!("calls of one {whose}"),
    )
}

fn overloaded(message: &str, subject: &str) -> Status {
    let mut refusal = Refusal::new(Code::ResourceExhausted, "OVERLOADED", message);
    refusal.details.add_quota_failure_violation(subject, "the limit is reached");
    refusal.retry_after(jittered(RETRY_SOON)).pushed_back().into_status()
}

/// The caller's message is larger than any that this service knows. (As grpc-go and grpc-java
/// answer; tonic would say `OUT_OF_RANGE`.)
pub fn message_too_large() -> Status {
    let message = "the message is larger than this service takes";
    Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message).into_status()
}

/// The caller's metadata is larger than `--max-header-list` allows.
pub fn headers_too_large() -> Status {
    let message = "the metadata of the call is larger than this service takes";
    Refusal::new(Code::InvalidArgument, "HEADERS_TOO_LARGE", message).into_status()
}

/// The caller does not speak gRPC. (The HTTP status is 415.)
pub fn content_type_unsupported() -> Status {
    let message = "the content-type must be application/grpc";
    Refusal::new(Code::InvalidArgument, "CONTENT_TYPE_UNSUPPORTED", message).into_status()
}

/// There is no such method, or no such service.
pub fn method_unknown() -> Status {
    let message = "this server has no such method";
    Refusal::new(Code::Unimplemented, "METHOD_UNKNOWN", message).into_status()
}

/// The caller packs its messages in a way that this service cannot unpack.
pub fn encoding_unsupported() -> Status {
    let message = "this server does not take messages in this grpc-encoding";
    Refusal::new(Code::Unimplemented, "ENCODING_UNSUPPORTED", message).into_status()
}

/// What the caller sent is no message, or not of the method's type. (The code is the one that
/// gRPC gives to this.)
pub fn message_malformed() -> Status {
    let message = "the message cannot be read";
    Refusal::new(Code::Internal, "MESSAGE_MALFORMED", message).into_status()
}

/// The status as a message, for use inside other messages.
pub fn to_proto(status: &Status) -> tonic_types::Status {
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// An error on its way to the caller.
struct Refusal {
    code: Code,
    message: String,
    details: ErrorDetails,
    retry_after: Option<Duration>,
    has_pushback: bool,
}

impl Refusal {
    fn new(code: Code, reason: &str, message: &str) -> Self {
        let details =
            ErrorDetails::with_error_info(reason, DOMAIN, std::collections::HashMap::new());
        Self { code, message: message.to_owned(), details, retry_after: None, has_pushback: false }
    }

    /// The table. What was not found has a reason of its own in each call.
    fn of(error: &wire::Error, not_found: &str) -> Self {
        let (code, reason) = match error.kind {
            Kind::RejectedArgument => (Code::InvalidArgument, "UPSTREAM_REJECTED_ARGUMENT"),
            Kind::CredentialRejected => (Code::Unauthenticated, "CREDENTIAL_REJECTED"),
            Kind::NoSeat => (Code::PermissionDenied, "NO_REMOTE_SUPPORT_SEAT"),
            Kind::PermissionDenied => (Code::PermissionDenied, "UPSTREAM_PERMISSION_DENIED"),
            Kind::NotFound => (Code::NotFound, not_found),
            Kind::MethodNotSupported => (Code::Unimplemented, "UPSTREAM_METHOD_NOT_SUPPORTED"),
            Kind::Conflict => (Code::Aborted, "UPSTREAM_CONFLICT"),
            Kind::PreconditionFailed => (Code::FailedPrecondition, "UPSTREAM_PRECONDITION_FAILED"),
            Kind::RateLimited => (Code::ResourceExhausted, "UPSTREAM_RATE_LIMITED"),
            Kind::Internal => (Code::Internal, "UPSTREAM_INTERNAL"),
            Kind::Unavailable => (Code::Unavailable, "UPSTREAM_UNAVAILABLE"),
            Kind::Timeout => (Code::Unavailable, "UPSTREAM_TIMEOUT"),
            Kind::ConnectFailed => (Code::Unavailable, "UPSTREAM_CONNECT_FAILED"),
            Kind::Redirect => (Code::Internal, "UPSTREAM_REDIRECT"),
            Kind::Malformed => (Code::Internal, "UPSTREAM_MALFORMED_RESPONSE"),
            Kind::UnexpectedStatus => (Code::Unknown, "UPSTREAM_UNEXPECTED_STATUS"),
            Kind::DeadlineExceeded => (Code::DeadlineExceeded, DEADLINE_EXCEEDED),
            Kind::QuotaExhausted => (Code::ResourceExhausted, "QUOTA_EXHAUSTED"),
            Kind::CredentialUnavailable => (Code::Unavailable, "SERVICE_CREDENTIAL_UNAVAILABLE"),
        };
        let mut refusal = Self::new(code, reason, &error.to_string());
        refusal.describe_answer(error, reason);
        refusal.describe_remedy(error)
    }

    fn describe_answer(&mut self, error: &wire::Error, reason: &str) {
        let metadata = [
            ("http_status", error.http_status.map(|status| status.to_string())),
            ("upstream_code", error.upstream_code.clone()),
            ("upstream_request_id", error.request_id.clone()),
            ("cause", error.connection.map(|failure| failure.name().to_owned())),
        ];
        let metadata: std::collections::HashMap<String, String> = metadata
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        self.details.set_error_info(reason, DOMAIN, metadata);
    }

    fn describe_remedy(mut self, error: &wire::Error) -> Self {
        match error.kind {
            Kind::RateLimited => {
                self.quota("GoToAssist allows 10 requests a second by default");
                self.retry_after(error.retry_after.unwrap_or(RETRY_SOON)).pushed_back()
            }
            Kind::QuotaExhausted => {
                self.quota("the service's share of GoToAssist's quota is in use");
                self.retry_after(error.retry_after.unwrap_or(RETRY_SOON)).pushed_back()
            }
            Kind::Unavailable
            | Kind::Timeout
            | Kind::ConnectFailed
            | Kind::CredentialUnavailable => {
                self.retry_after(error.retry_after.unwrap_or(RETRY_SOON))
            }
            Kind::CredentialRejected | Kind::NoSeat => {
                self.help();
                self
            }
            Kind::RejectedArgument
            | Kind::PermissionDenied
            | Kind::NotFound
            | Kind::MethodNotSupported
            | Kind::Conflict
            | Kind::PreconditionFailed
            | Kind::Internal
            | Kind::Redirect
            | Kind::Malformed
            | Kind::UnexpectedStatus
            | Kind::DeadlineExceeded => self,
        }
    }

    fn quota(&mut self, description: &str) {
        self.details.add_quota_failure_violation("upstream", description);
    }

    fn help(&mut self) {
        self.details.add_help_link(
            "How GoToAssist credentials are obtained",
            "https://developer.goto.com/guides/HowTos/03_HOW_accessToken/",
        );
    }

    fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self.retry_after = Some(delay);
        self
    }

    /// Also tells gRPC's own retries to wait that long.
    fn pushed_back(mut self) -> Self {
        self.has_pushback = true;
        self
    }

    fn into_status(self) -> Status {
        let mut metadata = MetadataMap::new();
        if let (true, Some(delay)) = (self.has_pushback, self.retry_after) {
            metadata.insert(PUSHBACK, MetadataValue::from(milliseconds(delay)));
        }
        Status::with_error_details_and_metadata(self.code, self.message, self.details, metadata)
    }
}

fn milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Between one and three times `delay`, so that many clients do not come back together.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(1.0 + 2.0 * fastrand::f64())
}
