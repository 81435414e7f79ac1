//! The context of a call to the vendor. It is created once, when the call begins, and passed to
//! every step.

use std::sync::Arc;

use tokio::time::Instant;

use super::{breaker::Subject, quota::Class, shared_request::SharedDeadline, stats::CallStats};
use crate::{credential::Credential, trace::Cause, wire::endpoint::Endpoint};

/// How a unary call is to be served.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// When the caller stops waiting. It bounds the wait for the quota and every attempt.
    pub deadline: Option<Instant>,
    /// The call that causes the request, for traces.
    pub cause: Cause,
    /// Counts the requests of the call.
    pub call_stats: CallStats,
    /// Whether to ask the vendor even if the session is in the finished-session cache.
    pub skips_cache: bool,
}

/// A call to the vendor.
#[derive(Clone)]
pub(super) struct Call {
    pub credential: Credential,
    pub endpoint: Endpoint,
    /// Identifies the call for the circuit breaker and the retries.
    pub subject: Subject,
    pub class: Class,
    pub deadline: Arc<SharedDeadline>,
    pub cause: Cause,
    pub stats: CallStats,
}

impl Call {
    pub fn new(
        credential: &Credential,
        endpoint: Endpoint,
        class: Class,
        deadline: Arc<SharedDeadline>,
        context: &RequestContext,
    ) -> Self {
        Self {
            subject: Subject::new(credential.caller(), endpoint.subject()),
            credential: credential.clone(),
            endpoint,
            class,
            deadline,
            cause: context.cause.clone(),
            stats: context.call_stats.clone(),
        }
    }
}
