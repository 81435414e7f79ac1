//! The settings of `simulate`: where it listens, which sessions live in it, and how its answers look.

pub mod shape;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use humantime::parse_duration;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use shape::{
    AbsentForm, CollaboratorForm, EncodingForm, KeyForm, LinksForm, Shape, StatusForm,
    TimestampForm,
};

/// How the simulated vendor behaves from the start. While it runs, its control API changes most of
/// it; see docs/simulator.md.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimulateConfig {
    /// Address to listen on, for the REST API, the token endpoint and the control API.
    #[arg(long, env = "GOTOASSIST_LISTEN", default_value = "127.0.0.1:8089")]
    pub listen: SocketAddr,

    /// JSON file with an array of scripted sessions.
    #[arg(long, value_name = "FILE")]
    pub sessions: Option<PathBuf>,

    /// How many sessions with random lives to add, with the ids 900000000 and up.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub random: u32,

    /// Seed of the random lives and of the faults that strike with a probability.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// How many times faster than real ones the random lives pass.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,

    /// Time of day at the start, such as 2026-01-01T00:00:00Z [default: the machine's].
    #[arg(long, value_name = "TIME")]
    pub clock: Option<Timestamp>,

    /// REST requests allowed in any one second before 429 is answered; 0 for no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub rate_limit: u32,

    /// Who shares the rate limit.
    #[arg(long, value_enum, value_name = "SCOPE", default_value = "api")]
    pub rate_limit_scope: RateLimitScope,

    /// Form of the Retry-After header on such a 429.
    #[arg(long, value_enum, value_name = "FORM", default_value = "none")]
    pub rate_limit_retry_after: RetryAfterForm,

    /// How long after its end a session is kept, before it is 404.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30days")]
    pub retention: Duration,

    /// How a missing or bad token is refused.
    #[arg(long, value_enum, value_name = "FORM", default_value = "invalid-token")]
    pub refusal: Refusal,

    /// Body of ordinary errors, such as 404.
    #[arg(long, value_enum, value_name = "FORM", default_value = "product")]
    pub error_body: ErrorBody,

    /// How long an access token from the token endpoint is valid.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
    pub token_lifetime: Duration,

    /// What a refresh does to the refresh token.
    #[arg(long, value_enum, value_name = "RULE", default_value = "keep")]
    pub refresh_tokens: RefreshTokens,

    /// Form of `expires_in` in the token endpoint's answer.
    #[arg(long, value_enum, value_name = "FORM", default_value = "number")]
    pub expires_in: KeyForm,

    /// Accept only tokens that the token endpoint issued or the control API accepted.
    #[arg(long)]
    pub only_issued_tokens: bool,

    /// A fault to play: its kind (`reset`), or a whole rule as JSON in one line. May be repeated; in
    /// the environment, one a line.
    ///
    /// Answers that are not what they seem: maintenance, empty-object, null, error-object,
    /// foreign-session, half-session, hollow-session, shape, many-unknown-fields, byte-order-mark,
    /// stale, duplicate-keys, fields.
    ///
    /// Errors: status, redirect, no-content, empty-body, html, body, bad-json, invalid-utf8,
    /// deep-nesting, oversized, gzip-bomb.
    ///
    /// On the socket: hang, half-body, half-chunk, reset, reset-halfway, close, endless-headers,
    /// trickle, http10, informational, garbage.
    ///
    /// A rule says more, such as `{"fault":{"kind":"maintenance"},"sessionId":"250040303","times":3}`
    /// or `{"fault":{"kind":"shape","statuses":"upper-snake"},"probability":0.1}`; its fields, and the
    /// parameters of each kind, are in docs/simulator.md. `right` is the right answer, for a rule that
    /// only delays.
    #[arg(long = "fault", value_name = "KIND|JSON", value_delimiter = '\n')]
    pub faults: Vec<String>,

    /// The shape of bodies.
    #[command(flatten)]
    pub shape: Shape,
}

impl SimulateConfig {
    /// The defaults, on a free port of the loopback address and without a rate limit: for tests.
    pub fn on_free_port() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), rate_limit: 0, ..Self::default() }
    }
}

impl Default for SimulateConfig {
    fn default() -> Self {
        super::flags::defaults()
    }
}

/// Who shares the rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitScope {
    /// All together, as the documentation's "per API" reads.
    #[default]
    Api,
    /// Each token, or principal of issued tokens, has its own.
    Credential,
}

/// How an answer tells when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfterForm {
    /// Not at all.
    #[default]
    None,
    /// `Retry-After: 1`.
    Seconds,
    /// `Retry-After: Wed, 21 Oct 2026 07:28:00 GMT`.
    Date,
}

/// How a missing or bad token is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// 403 with `InvalidToken` in the body, as the gateway was seen to do.
    #[default]
    InvalidToken,
    /// 401, as the documentation says.
    Unauthorized,
}

/// The body of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorBody {
    /// `{"errorCode":…,"description":…,"incident":…}`, as sibling products answer.
    #[default]
    Product,
    /// `{"int_err_code":…,"msg":…}`, as the gateway answers.
    Gateway,
    /// `{"errorCode":…,"message":…}`, as an unknown route is answered.
    Route,
    /// `{"error":…,"error_description":…}`, as the token endpoint answers.
    Oauth,
    /// An HTML page, as a proxy answers.
    Html,
    /// None.
    Empty,
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshTokens {
    /// Nothing: the answer holds none, the old one stays valid.
    #[default]
    Keep,
    /// The answer holds a new one; the old one stays valid too.
    Rotate,
    /// The answer holds a new one; the old one is refused from then on.
    SingleUse,
}
