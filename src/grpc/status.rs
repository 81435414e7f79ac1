//! The errors of the API. One table maps each failure to a code, a reason and details.

use std::{fmt::Display, time::Duration};

use prost::Message as _;
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    caller,
    page_token::InvalidPageToken,
    reason::Reason,
    resume_token::{Decoded, InvalidToken},
    session_digest::{SessionDigest, SessionDigests},
};
use crate::{model::SessionId, wire, wire::Kind};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "remotesupport.gotoassist";

/// The metadata that delays gRPC's own retries (gRFC A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The retry delay if nothing else sets one.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// For a caller: where to get a credential.
const CREDENTIAL_HELP: (&str, &str) = (
    "How GoToAssist credentials are obtained",
    "https://developer.goto.com/guides/HowTos/03_HOW_accessToken/",
);

/// For the administrator of the account: where to give the service's user a seat.
const SEAT_HELP: (&str, &str) =
    ("Where an administrator of the account gives a user a seat", "https://admin.goto.com/");

/// Converts an error of a request for a session.
pub fn of_session(error: &wire::Error, session: &SessionId, digests: &SessionDigests) -> Status {
    let mut refusal = Refusal::of(error, Reason::SessionNotFound, Some(digests.of(session)));
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

/// Converts an error of a request for the list of sessions.
pub fn of_session_list(error: &wire::Error) -> Status {
    Refusal::of(error, Reason::SessionListNotFound, None).into_status()
}

/// The operator has turned the list of sessions off.
pub fn session_list_off() -> Status {
    let message = "this service does not read the list of sessions";
    Refusal::new(Code::Unimplemented, Reason::SessionListOff, message).into_status()
}

/// Converts an error of a request for the links of a domain.
pub fn of_system_links(error: &wire::Error) -> Status {
    Refusal::of(error, Reason::SystemLinksNotFound, None).into_status()
}

/// Returns the parsed value, or refuses the argument `field`.
pub fn checked<T>(field: &str, parsed: Result<T, impl Display>) -> Result<T, Status> {
    parsed.map_err(|error| invalid(field, &error.to_string()))
}

/// Refuses an argument. Nothing was sent to the vendor.
pub fn invalid(field: &str, description: &str) -> Status {
    let mut refusal = Refusal::new(
        Code::InvalidArgument,
        Reason::ArgumentInvalid,
        &format!("{field} {description}"),
    );
    refusal.details.add_bad_request_violation(field, description);
    refusal.into_status()
}

/// Returns the decoded resume token, or refuses it.
pub fn checked_token(decoded: Result<Decoded, InvalidToken>) -> Result<Decoded, Status> {
    decoded.map_err(|error| invalid_token("resume_token", Reason::ResumeTokenInvalid, &error))
}

/// Returns the decoded page token, or refuses it.
pub fn checked_page_token<T>(decoded: Result<T, InvalidPageToken>) -> Result<T, Status> {
    decoded.map_err(|error| invalid_token("page_token", Reason::PageTokenInvalid, &error))
}

fn invalid_token(field: &str, reason: Reason, error: &dyn Display) -> Status {
    let mut refusal = Refusal::new(Code::InvalidArgument, reason, &format!("{field} {error}"));
    refusal.details.add_bad_request_violation(field, error.to_string());
    refusal.into_status()
}

/// Refuses a caller. Nothing was sent to the vendor. If callers send `vendor_credentials`, the
/// error links to a page that explains how to get one.
pub fn of_caller(why: caller::Refusal, vendor_credentials: bool) -> Status {
    let (code, reason) = match why {
        caller::Refusal::Missing(_) => (Code::Unauthenticated, Reason::CredentialMissing),
        caller::Refusal::Rejected => (Code::Unauthenticated, Reason::CallerNotAuthenticated),
        caller::Refusal::NotAllowed => (Code::PermissionDenied, Reason::CallerNotAllowed),
    };
    let mut refusal = Refusal::new(code, reason, &why.to_string());
    if vendor_credentials {
        refusal.help(CREDENTIAL_HELP);
    }
    refusal.into_status()
}

/// A health check asked for a service that this server does not have.
pub fn unknown_service() -> Status {
    let message = "this server does not know the service";
    Refusal::new(Code::NotFound, Reason::ServiceUnknown, message).into_status()
}

/// The service has a bug.
pub fn failed() -> Status {
    let message = "the service failed because of a bug";
    Refusal::new(Code::Internal, Reason::ServiceFailed, message).into_status()
}

/// The deadline of the call has passed, either its own or the default one.
pub fn deadline_exceeded() -> Status {
    let message = "the deadline of the call has passed";
    Refusal::new(Code::DeadlineExceeded, Reason::DeadlineExceeded, message).into_status()
}

/// The stream has reached its maximum age.
pub fn stream_rotated() -> Status {
    let message = "the stream has reached its maximum age; reconnect with the resume token";
    Refusal::new(Code::Unavailable, Reason::StreamRotated, message)
        .retry_after(jittered(Duration::from_millis(100)))
        .into_status()
}

/// The server is draining.
pub fn draining() -> Status {
    shutting_down("this server is shutting down; reconnect with the resume token")
}

/// The server is draining, and the request is incomplete.
pub fn draining_incomplete() -> Status {
    shutting_down("this server is shutting down, and the request is incomplete; call again")
}

fn shutting_down(message: &str) -> Status {
    Refusal::new(Code::Unavailable, Reason::ServerDraining, message)
        .retry_after(jittered(Duration::from_millis(500)))
        .into_status()
}

/// The watcher is a slow consumer: it did not read its messages in time.
pub fn slow_watcher() -> Status {
    let message = "the watcher read its messages too slowly; reconnect with the resume token";
    Refusal::new(Code::ResourceExhausted, Reason::SlowWatcher, message)
        .retry_after(RETRY_SOON)
        .into_status()
}

/// A server, caller, session or stream has reached its limit of watches.
pub fn too_many_watches(whose: &str) -> Status {
    overloaded(&format!("this {whose} has too many watches"), &format!("watches of one {whose}"))
}

/// A server or caller has reached its limit of streams with many watches.
pub fn too_many_streams(whose: &str) -> Status {
    overloaded(
        &format!("this {whose} has too many streams of WatchSessions"),
        &format!("streams of one {whose}"),
    )
}

/// A server or caller has reached its limit of unary calls.
pub fn too_many_calls(whose: &str) -> Status {
    overloaded(&format!("this {whose} has too many calls"), &format!("calls of one {whose}"))
}

fn overloaded(message: &str, subject: &str) -> Status {
    let mut refusal = Refusal::new(Code::ResourceExhausted, Reason::Overloaded, message);
    refusal.details.add_quota_failure_violation(subject, "the limit is reached");
    refusal.retry_after(jittered(RETRY_SOON)).pushed_back().into_status()
}

/// The request message is too large. (grpc-go and grpc-java use the same code; tonic uses
/// `OUT_OF_RANGE`.)
pub fn message_too_large() -> Status {
    let message = "the message is larger than this service allows";
    Refusal::new(Code::ResourceExhausted, Reason::MessageTooLarge, message).into_status()
}

/// The metadata of the call is larger than `--max-header-list` allows.
pub fn headers_too_large() -> Status {
    let message = "the metadata of the call is larger than this service allows";
    Refusal::new(Code::InvalidArgument, Reason::HeadersTooLarge, message).into_status()
}

/// The request is not a gRPC request. (The HTTP status is 415.)
pub fn content_type_unsupported() -> Status {
    let message = "the content-type must be application/grpc";
    Refusal::new(Code::InvalidArgument, Reason::ContentTypeUnsupported, message).into_status()
}

/// The method or its service does not exist.
pub fn method_unknown() -> Status {
    let message = "this server has no such method";
    Refusal::new(Code::Unimplemented, Reason::MethodUnknown, message).into_status()
}

/// The service does not support the compression of the request message.
pub fn encoding_unsupported() -> Status {
    let message = "this server does not support this grpc-encoding";
    Refusal::new(Code::Unimplemented, Reason::EncodingUnsupported, message).into_status()
}

/// The request message cannot be decoded. (gRPC prescribes the code.)
pub fn message_malformed() -> Status {
    let message = "the message cannot be decoded";
    Refusal::new(Code::Internal, Reason::MessageMalformed, message).into_status()
}

/// Converts a status to a message, for use inside other messages.
pub fn to_proto(status: &Status) -> tonic_types::Status {
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// Builds an error for the caller.
struct Refusal {
    code: Code,
    message: String,
    details: ErrorDetails,
    retry_after: Option<Duration>,
    has_pushback: bool,
}

impl Refusal {
    fn new(code: Code, reason: Reason, message: &str) -> Self {
        let details =
            ErrorDetails::with_error_info(reason.name(), DOMAIN, std::collections::HashMap::new());
        Self { code, message: message.to_owned(), details, retry_after: None, has_pushback: false }
    }

    /// The table of errors. Each method has its own reason for `NOT_FOUND`.
    fn of(error: &wire::Error, not_found: Reason, session: Option<SessionDigest>) -> Self {
        let (code, reason) = match error.kind {
            Kind::RejectedArgument => (Code::InvalidArgument, Reason::UpstreamRejectedArgument),
            Kind::CredentialRejected => (Code::Unauthenticated, Reason::CredentialRejected),
            Kind::NoSeat => (Code::PermissionDenied, Reason::NoRemoteSupportSeat),
            Kind::PermissionDenied => (Code::PermissionDenied, Reason::UpstreamPermissionDenied),
            Kind::NotFound => (Code::NotFound, not_found),
            Kind::MethodNotSupported => (Code::Unimplemented, Reason::UpstreamMethodNotSupported),
            Kind::Conflict => (Code::Aborted, Reason::UpstreamConflict),
            Kind::PreconditionFailed => {
                (Code::FailedPrecondition, Reason::UpstreamPreconditionFailed)
            }
            Kind::RateLimited => (Code::ResourceExhausted, Reason::UpstreamRateLimited),
            Kind::Internal => (Code::Internal, Reason::UpstreamInternal),
            Kind::Unavailable => (Code::Unavailable, Reason::UpstreamUnavailable),
            Kind::Timeout => (Code::Unavailable, Reason::UpstreamTimeout),
            Kind::ConnectFailed => (Code::Unavailable, Reason::UpstreamConnectFailed),
            Kind::Redirect => (Code::Internal, Reason::UpstreamRedirect),
            Kind::Malformed => (Code::Internal, Reason::UpstreamMalformedResponse),
            Kind::UnexpectedStatus => (Code::Unknown, Reason::UpstreamUnexpectedStatus),
            Kind::DeadlineExceeded => (Code::DeadlineExceeded, Reason::DeadlineExceeded),
            Kind::QuotaExhausted => (Code::ResourceExhausted, Reason::QuotaExhausted),
            Kind::CredentialUnavailable => {
                (Code::Unavailable, Reason::ServiceCredentialUnavailable)
            }
        };
        let mut refusal = Self::new(code, reason, &error.to_string());
        refusal.describe_answer(error, reason, session);
        refusal.describe_remedy(error)
    }

    fn describe_answer(
        &mut self,
        error: &wire::Error,
        reason: Reason,
        session: Option<SessionDigest>,
    ) {
        let metadata = [
            ("http_status", error.http_status.map(|status| status.to_string())),
            ("upstream_code", error.upstream_code.clone()),
            ("upstream_request_id", error.request_id.clone()),
            ("session_digest", session.map(|session| session.to_string())),
            ("cause", error.connection.map(|failure| failure.name().to_owned())),
        ];
        let metadata: std::collections::HashMap<String, String> = metadata
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        self.details.set_error_info(reason.name(), DOMAIN, metadata);
    }

    fn describe_remedy(mut self, error: &wire::Error) -> Self {
        match error.kind {
            Kind::RateLimited => {
                self.quota("GoToAssist allows 10 requests a second by default");
                self.retry_after(error.retry_after.unwrap_or(RETRY_SOON)).pushed_back()
            }
            Kind::QuotaExhausted => {
                self.quota("the service has used its share of GoToAssist's quota");
                self.retry_after(error.retry_after.unwrap_or(RETRY_SOON)).pushed_back()
            }
            Kind::Unavailable
            | Kind::Timeout
            | Kind::ConnectFailed
            | Kind::CredentialUnavailable => {
                self.retry_after(error.retry_after.unwrap_or(RETRY_SOON))
            }
            Kind::CredentialRejected => {
                self.help(CREDENTIAL_HELP);
                self
            }
            Kind::NoSeat => {
                self.help(SEAT_HELP);
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

    fn help(&mut self, (description, url): (&str, &str)) {
        self.details.add_help_link(description, url);
    }

    fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self.retry_after = Some(delay);
        self
    }

    /// Delays gRPC's own retries by the same time.
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

/// Returns between one and three times `delay`, so that many clients do not reconnect at the same
/// time.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(1.0 + 2.0 * fastrand::f64())
}
