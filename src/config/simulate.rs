//! The flags of `simulate`: where it listens, which sessions it has, and how it answers.

pub mod shape;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use shape::{
    AbsentForm, CollaboratorForm, EncodingForm, KeyForm, LinksForm, Shape, StatusForm,
    TimestampForm,
};

/// How the simulator starts. docs/simulator.md is its manual.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimulateConfig {
    /// Address to listen on, for the REST API, the token endpoint and the control API.
    #[arg(long, env = "GOTOASSIST_LISTEN", default_value = "127.0.0.1:8089")]
    pub listen: SocketAddr,

    /// JSON file with an array of scripted sessions.
    #[arg(long, value_name = "FILE")]
    pub sessions: Option<PathBuf>,

    /// How many sessions with random lives to add, with the ids 900000000 and up.
    #[arg(long, value_name = "COUNT", default_value_t)]
    pub random: u32,

    /// Seed of the random lives, and of the rules that have a probability.
    #[arg(long, default_value_t)]
    pub seed: u64,

    /// How many times faster than real ones the random lives pass.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,

    /// Time of day at the start, such as 2026-01-01T00:00:00Z [default: the machine's].
    #[arg(long, value_name = "TIME")]
    pub clock: Option<Timestamp>,

    /// A fault to play: its kind, such as `reset`, or a whole rule as JSON on one line. May be
    /// repeated; the environment variable has one on each line.
    ///
    /// Other content: shape, stale, fields, foreign-session, half-session, hollow-session,
    /// duplicate-keys, many-unknown-fields, deep-nesting, oversized, gzip-bomb, byte-order-mark,
    /// invalid-utf8, bad-json.
    ///
    /// No session at all: maintenance, empty-object, null, error-object, html, body, empty-body,
    /// no-content, status, redirect.
    ///
    /// On the connection: hang, half-body, half-chunk, reset, reset-halfway, close,
    /// endless-headers, trickle, http10, informational, garbage.
    ///
    /// A rule says more, such as `{"fault":{"kind":"maintenance"},"sessionId":"250040303","times":3}`.
    /// docs/simulator.md lists its fields and the parameters of each kind. The kind `right` is the
    /// right answer, for a rule that only delays.
    #[arg(long = "fault", value_name = "KIND|JSON", value_delimiter = '\n')]
    pub faults: Vec<String>,

    /// What the control API can change later.
    #[command(flatten)]
    pub settings: Settings,
}

/// How the simulator answers everybody: set by flags at the start, and changed by the control API
/// while it runs.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// REST requests allowed in any one second before 429 is answered; 0 for no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub rate_limit: u32,

    /// Who shares the rate limit.
    #[arg(long, value_enum, value_name = "SCOPE", default_value_t)]
    pub rate_limit_scope: RateLimitScope,

    /// Form of the Retry-After header on such a 429.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub rate_limit_retry_after: RetryAfterForm,

    /// How long after its end a session is kept, before it is 404. In JSON, seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "30days")]
    pub retention: f64,

    /// How a missing or bad token is refused.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub refusal: Refusal,

    /// Body of ordinary errors, such as 404.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub error_body: ErrorBody,

    /// How long an access token from the token endpoint is valid. In JSON, seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "1h")]
    pub token_lifetime: f64,

    /// What a refresh does to the refresh token.
    #[arg(long, value_enum, value_name = "RULE", default_value_t)]
    pub refresh_tokens: RefreshTokens,

    /// Form of `expires_in` in the token endpoint's answer.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub expires_in: KeyForm,

    /// Whether the token endpoint's answer has a `token_type`.
    #[arg(skip)]
    pub token_type: bool,

    /// Accept only tokens that the token endpoint issued or the control API accepted.
    #[arg(long)]
    pub only_issued_tokens: bool,

    /// The shape of bodies.
    #[command(flatten)]
    pub shape: Shape,
}

/// A duration such as `30days`, in seconds.
fn seconds(text: &str) -> Result<f64, humantime::DurationError> {
    humantime::parse_duration(text).map(|duration| duration.as_secs_f64())
}

impl SimulateConfig {
    /// The defaults, on a free port of the loopback address and without a rate limit: for tests.
    pub fn on_free_port() -> Self {
        let settings = Settings { rate_limit: 0, ..Settings::default() };
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), settings, ..Self::default() }
    }
}

impl Default for SimulateConfig {
    fn default() -> Self {
        super::flags::defaults()
    }
}

impl Default for Settings {
    fn default() -> Self {
        super::flags::defaults()
    }
}

/// Who shares the rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitScope {
    /// All requests, as the documentation's "per API" reads.
    #[default]
    Api,
    /// The requests of one token, or of one principal of issued tokens.
    Credential,
}

/// The form in which an answer says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfterForm {
    /// No header.
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
    /// No body.
    Empty,
}

/// What a refresh does to the refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshTokens {
    /// The answer has no new one; the old one stays valid.
    #[default]
    Keep,
    /// The answer has a new one; the old one stays valid too.
    Rotate,
    /// The answer has a new one; the old one is refused from then on.
    SingleUse,
}
