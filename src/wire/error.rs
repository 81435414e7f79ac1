//! Everything that can go wrong south of us, sorted by what it means to the caller.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Why the vendor's answer could not be had.
///
/// Holds nothing of the vendor's body but an error code; `Display` is a sentence of ours.
#[derive(Clone, Debug)]
pub struct Error {
    /// What it means to the caller.
    pub kind: Kind,
    /// The HTTP status, if the vendor answered at all.
    pub http_status: Option<u16>,
    /// The vendor's error code, if it sent a plain one (letters, digits, `_`, `.`, `-`; 64 bytes at
    /// most), such as `InvalidToken`.
    pub upstream_code: Option<String>,
    /// The vendor's id of the request, under the same rule.
    pub request_id: Option<String>,
    /// When to try again, if somebody said so.
    pub retry_after: Option<Duration>,
    /// What was wrong with the connection, if that is why.
    pub connection: Option<ConnectionFailure>,
    pub(crate) source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What an [`Error`] means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 400, 414, 415, 422.
    RejectedArgument,
    /// 401, or 403 with `InvalidToken`: the credential is not valid.
    CredentialRejected,
    /// The same for the service's own credential, just refreshed: no Remote Support seat.
    NoSeat,
    /// Any other 403.
    PermissionDenied,
    /// 404, 410: unknown, not visible to this account, or older than the vendor keeps.
    NotFound,
    /// 405, 501.
    MethodNotSupported,
    /// 409.
    Conflict,
    /// 412.
    PreconditionFailed,
    /// 429.
    RateLimited,
    /// 500 and every 5xx that has no kind of its own.
    Internal,
    /// 502, 503, 504, a reset, a truncated body, or the circuit breaker is open.
    Unavailable,
    /// 408, or no answer within the limit of an attempt.
    Timeout,
    /// No connection: DNS, TCP, TLS, proxy.
    ConnectFailed,
    /// 3xx; never followed.
    Redirect,
    /// 2xx whose body is not what was asked for: HTML, bad JSON, empty, another shape, over 1 MiB.
    Malformed,
    /// Any other status.
    UnexpectedStatus,
    /// The caller's time was over before there was an answer.
    DeadlineExceeded,
    /// The quota does not allow the request within the caller's time, or too many wait already.
    QuotaExhausted,
    /// The service's own credential cannot be had from the token endpoint for now.
    CredentialUnavailable,
}

impl Kind {
    /// Whether the same request may well succeed a little later.
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

impl Kind {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::RejectedArgument => "rejected_argument",
            Kind::CredentialRejected => "credential_rejected",
            Kind::NoSeat => "no_seat",
            Kind::PermissionDenied => "permission_denied",
            Kind::NotFound => "not_found",
            Kind::MethodNotSupported => "method_not_supported",
            Kind::Conflict => "conflict",
            Kind::PreconditionFailed => "precondition_failed",
            Kind::RateLimited => "rate_limited",
            Kind::Internal => "internal",
            Kind::Unavailable => "unavailable",
            Kind::Timeout => "timeout",
            Kind::ConnectFailed => "connect_failed",
            Kind::Redirect => "redirect",
            Kind::Malformed => "malformed",
            Kind::UnexpectedStatus => "unexpected_status",
            Kind::DeadlineExceeded => "deadline_exceeded",
            Kind::QuotaExhausted => "quota_exhausted",
            Kind::CredentialUnavailable => "credential_unavailable",
        }
    }
}

/// Why a connection did not come about, or broke: one word that holds no name and no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionFailure {
    /// The name has no address, or the name servers do not answer.
    Dns,
    /// Nobody listens at the address.
    Refused,
    /// There is no route to the address.
    Unreachable,
    /// No connection within the connect timeout, or no sign of life on an open one.
    TimedOut,
    /// No known authority vouches for the certificate.
    CertificateUnknownIssuer,
    /// The certificate is for another name.
    CertificateName,
    /// The certificate has expired, or is not valid yet.
    CertificateExpired,
    /// The proxy wants other credentials.
    ProxyAuthRequired,
    /// The proxy opens no tunnel.
    ProxyRefused,
    /// Any other trouble with TLS.
    Tls,
    /// The other end closed or reset the connection.
    Reset,
    /// The other end closed a connection that it had answered on before, instead of answering again.
    KeepAliveClosed,
    /// None of these.
    Other,
}

impl ConnectionFailure {
    /// Its word in metrics, logs and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::CertificateUnknownIssuer => "certificate_unknown_issuer",
            Self::CertificateName => "certificate_name",
            Self::CertificateExpired => "certificate_expired",
            Self::ProxyAuthRequired => "proxy_auth_required",
            Self::ProxyRefused => "proxy_refused",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::KeepAliveClosed => "keep_alive_closed",
            Self::Other => "other",
        }
    }
}

impl Error {
    /// An error of a kind, with nothing more known.
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

    /// The same error with what caused it, for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::RejectedArgument => "GoToAssist rejected the argument",
            Kind::CredentialRejected => "GoToAssist rejected the credential",
            Kind::NoSeat => "the service's GoToAssist user has no Remote Support seat",
            Kind::PermissionDenied => "GoToAssist denied the permission",
            Kind::NotFound => {
                "unknown, not visible to this account, or older than GoToAssist keeps"
            }
            Kind::MethodNotSupported => "GoToAssist does not support the method",
            Kind::Conflict => "GoToAssist reported a conflict",
            Kind::PreconditionFailed => "GoToAssist reported a failed precondition",
            Kind::RateLimited => "GoToAssist's rate limit is reached",
            Kind::Internal => "GoToAssist failed",
            Kind::Unavailable => "GoToAssist is unavailable",
            Kind::Timeout => "GoToAssist did not answer in time",
            Kind::ConnectFailed => "no connection to GoToAssist",
            Kind::Redirect => "GoToAssist answered with a redirect, which is not followed",
            Kind::Malformed => "GoToAssist's answer could not be read",
            Kind::UnexpectedStatus => "GoToAssist answered with an unexpected status",
            Kind::DeadlineExceeded => "the deadline of the call has passed",
            Kind::QuotaExhausted => "the request quota towards GoToAssist is exhausted",
            Kind::CredentialUnavailable => {
                "the service's GoToAssist credential cannot be refreshed for now"
            }
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
