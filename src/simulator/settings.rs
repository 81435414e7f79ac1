//! What can be changed while the simulator runs and is about all sessions.

use serde::{Deserialize, Serialize};

use crate::config::{
    SimulateConfig,
    simulate::{ErrorBody, KeyForm, RateLimitScope, RefreshTokens, Refusal, RetryAfterForm, Shape},
};

/// How the simulated vendor behaves towards everybody. The flags of `simulate` of the same names
/// set it at the start, and document it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// REST requests allowed in any one second; 0 for no limit.
    pub rate_limit: u32,
    /// Who shares the rate limit.
    pub rate_limit_scope: RateLimitScope,
    /// Form of Retry-After on a 429 of the rate limit.
    pub rate_limit_retry_after: RetryAfterForm,
    /// Seconds after its end until a session is 404.
    pub retention: f64,
    /// How a missing or bad token is refused.
    pub refusal: Refusal,
    /// Body of ordinary errors.
    pub error_body: ErrorBody,
    /// Seconds for which an issued access token is valid.
    pub token_lifetime: f64,
    /// What a refresh does to the refresh token.
    pub refresh_tokens: RefreshTokens,
    /// Form of `expires_in`.
    pub expires_in: KeyForm,
    /// Whether the token endpoint names the `token_type`.
    pub token_type: bool,
    /// Accept only tokens that the token endpoint issued or the control API accepted.
    pub only_issued_tokens: bool,
    /// The shape of bodies.
    pub shape: Shape,
}

impl From<&SimulateConfig> for Settings {
    fn from(config: &SimulateConfig) -> Self {
        Self {
            rate_limit: config.rate_limit,
            rate_limit_scope: config.rate_limit_scope,
            rate_limit_retry_after: config.rate_limit_retry_after,
            retention: config.retention.as_secs_f64(),
            refusal: config.refusal,
            error_body: config.error_body,
            token_lifetime: config.token_lifetime.as_secs_f64(),
            refresh_tokens: config.refresh_tokens,
            expires_in: config.expires_in,
            token_type: false,
            only_issued_tokens: config.only_issued_tokens,
            shape: config.shape,
        }
    }
}
