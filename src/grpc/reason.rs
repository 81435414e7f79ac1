//! The reasons of errors: stable names for callers, the log and the metrics.

use strum::{IntoStaticStr, VariantArray};

/// Why a call or a watch has failed, or ended as planned. docs/runbook.md says what to do about each.
#[expect(missing_docs, reason = "docs/calling.md has a row for each")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    // The request.
    ArgumentInvalid,
    ContentTypeUnsupported,
    EncodingUnsupported,
    HeadersTooLarge,
    MessageMalformed,
    MessageTooLarge,
    MethodUnknown,
    PageTokenInvalid,
    ResumeTokenInvalid,
    ServiceUnknown,
    // The caller's credential.
    CallerNotAllowed,
    CallerNotAuthenticated,
    CredentialMissing,
    CredentialRejected,
    // The answer of the vendor.
    SessionListNotFound,
    SessionNotFound,
    SystemLinksNotFound,
    UpstreamConflict,
    UpstreamConnectFailed,
    UpstreamInternal,
    UpstreamMalformedResponse,
    UpstreamMethodNotSupported,
    UpstreamPermissionDenied,
    UpstreamPreconditionFailed,
    UpstreamRateLimited,
    UpstreamRedirect,
    UpstreamRejectedArgument,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnexpectedStatus,
    // The service.
    DeadlineExceeded,
    NoRemoteSupportSeat,
    Overloaded,
    QuotaExhausted,
    ServerDraining,
    ServiceCredentialUnavailable,
    ServiceFailed,
    SessionListOff,
    SlowWatcher,
    StreamRotated,
}

impl Reason {
    /// All reasons.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in errors, metrics and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is the reason of a planned end. After a planned end the client reconnects. Nothing
    /// has failed.
    pub fn is_planned(self) -> bool {
        [Self::StreamRotated, Self::ServerDraining].contains(&self)
    }

    /// Whether this is the name of a planned end.
    pub fn names_planned(name: &str) -> bool {
        Self::ALL.iter().any(|reason| reason.is_planned() && reason.name() == name)
    }
}
