//! The errors of requests to the vendor, classified by what they mean to the caller.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use strum::{EnumString, IntoStaticStr, VariantNames};

/// Why a request to the vendor gave no answer.
///
/// It holds nothing of the vendor's body except an error code and an id of the request. Its
/// `Display` holds nothing of the body at all.
#[derive(Clone, Debug)]
pub struct Error {
    /// What it means to the caller.
    pub kind: Kind,
    /// The HTTP status, if the vendor answered at all.
    pub http_status: Option<u16>,
    /// The vendor's error code, such as `InvalidToken`. Only a plain code is kept: at most 64 bytes of
    /// letters, digits, `_`, `.` and `-`.
    pub upstream_code: Option<String>,
    /// The vendor's id of the request. It has the same restrictions as the error code.
    pub request_id: Option<String>,
    /// When to try again, if the vendor or the quota said so.
    pub retry_after: Option<Duration>,
    /// What was wrong with the connection, if the connection is the cause.
    pub connection: Option<ConnectionFailure>,
    pub(crate) source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What an [`Error`] means to the caller.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    thiserror::Error,
    EnumString,
    IntoStaticStr,
    VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// 400, 414, 415, 422.
    #[error("GoToAssist rejected the argument")]
    RejectedArgument,
    /// 401, or 403 with `InvalidToken`: the credential is not valid.
    #[error("GoToAssist rejected the credential")]
    CredentialRejected,
    /// The same for a fresh token of the service itself: its user has no Remote Support seat.
    #[error("the service's GoToAssist user has no Remote Support seat")]
    NoSeat,
    /// Any other 403.
    #[error("GoToAssist denied the permission")]
    PermissionDenied,
    /// 404, 410: unknown, not visible to this account, or older than the vendor keeps.
    #[error("unknown, not visible to this account, or older than GoToAssist keeps")]
    NotFound,
    /// 405, 501.
    #[error("GoToAssist does not support the method")]
    MethodNotSupported,
    /// 409.
    #[error("GoToAssist reported a conflict")]
    Conflict,
    /// 412.
    #[error("GoToAssist reported a failed precondition")]
    PreconditionFailed,
    /// 429.
    #[error("GoToAssist's rate limit is reached")]
    RateLimited,
    /// 500, and every 5xx that has no kind of its own.
    #[error("GoToAssist failed")]
    Internal,
    /// 502, 503, 504, a reset connection, a truncated body, or an open circuit breaker.
    #[error("GoToAssist is unavailable")]
    Unavailable,
    /// 408, or no answer within the time limit of an attempt.
    #[error("GoToAssist did not answer in time")]
    Timeout,
    /// There was no connection, because of DNS, TCP, TLS or the proxy.
    #[error("no connection to GoToAssist")]
    ConnectFailed,
    /// 3xx. The client never follows it.
    #[error("GoToAssist answered with a redirect, which is not followed")]
    Redirect,
    /// 2xx with the wrong body: HTML, bad JSON, nothing, another shape, more than 1 MiB.
    #[error("GoToAssist's answer could not be read")]
    Malformed,
    /// Any other status.
    #[error("GoToAssist answered with an unexpected status")]
    UnexpectedStatus,
    /// The caller's deadline passed before there was an answer.
    #[error("the deadline of the call has passed")]
    DeadlineExceeded,
    /// The quota has no room for the request before the deadline, or its queue is full.
    #[error("the request quota towards GoToAssist is exhausted")]
    QuotaExhausted,
    /// The token endpoint gives the service no access token at the moment.
    #[error("the service's GoToAssist credential cannot be refreshed for now")]
    CredentialUnavailable,
}

impl Kind {
    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the same request may succeed a little later.
    pub fn is_transient(self) -> bool {
        match self {
            Kind::RateLimited
            | Kind::Internal
            | Kind::Unavailable
            | Kind::Timeout
            | Kind::ConnectFailed
            | Kind::Redirect
            | Kind::Malformed
            | Kind::UnexpectedStatus
            | Kind::DeadlineExceeded
            | Kind::QuotaExhausted
            | Kind::CredentialUnavailable
            | Kind::Conflict => true,
            Kind::RejectedArgument
            | Kind::CredentialRejected
            | Kind::NoSeat
            | Kind::PermissionDenied
            | Kind::NotFound
            | Kind::MethodNotSupported
            | Kind::PreconditionFailed => false,
        }
    }
}

/// Why a connection could not be made, or broke. It names no host and no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ConnectionFailure {
    /// The name has no address, or the name servers do not answer.
    Dns,
    /// No program listens at the address.
    Refused,
    /// There is no route to the address.
    Unreachable,
    /// There was no connection within the connect timeout, or an open one went silent.
    TimedOut,
    /// No known authority signed the certificate.
    CertificateUnknownIssuer,
    /// The certificate is for another name.
    CertificateName,
    /// The certificate has expired, or is not valid yet.
    CertificateExpired,
    /// The proxy asks for other credentials.
    ProxyAuthRequired,
    /// The proxy opens no tunnel.
    ProxyRefused,
    /// Any other failure of TLS.
    Tls,
    /// The other end closed or reset the connection.
    Reset,
    /// The other end closed a kept-alive connection instead of answering the next request on it.
    KeepAliveClosed,
    /// None of these.
    Other,
}

impl ConnectionFailure {
    /// The name in metrics, logs and errors.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Error {
    /// An error of a kind, without any other information.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            http_status: None,
            upstream_code: None,
            request_id: None,
            retry_after: None,
            connection: None,
            source: None,
        }
    }

    /// Whether the quota refused the request, so that it was never sent.
    pub(crate) fn is_of_quota(&self) -> bool {
        let is_limit = matches!(self.kind, Kind::QuotaExhausted | Kind::RateLimited);
        is_limit && self.http_status.is_none()
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
