//! The flags of `simulate`: its address, its sessions, and its answers.

pub mod callback;
pub mod list;
pub mod shape;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use callback::{
    CallbackBody, CallbackIds, CallbackSettings, CallbackUrl, FieldOrder, InvalidCallbackUrl,
};
pub use list::{ListSettings, PageForm};
pub use shape::{
    AbsentForm, CollaboratorForm, EncodingForm, KeyForm, LinksForm, Shape, StatusForm,
    TimestampForm,
};

/// Settings of `simulate`. The manual is docs/simulator.md.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimulateConfig {
    /// Address of the REST API, the token endpoint and the control API.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8089")]
    pub listen: SocketAddr,

    /// JSON file with an array of scripted sessions.
    #[arg(long, value_name = "FILE")]
    pub sessions: Option<PathBuf>,

    /// Number of sessions with random lives to add. Their ids begin at 900000000.
    #[arg(long, value_name = "COUNT", default_value_t)]
    pub random: u32,

    /// Seed of the random lives, and of the rules with a probability.
    #[arg(long, default_value_t)]
    pub seed: u64,

    /// How many times faster than real time the random lives run.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,

    /// Time of day at the start, such as 2026-01-01T00:00:00Z [default: the machine's time].
    #[arg(long, value_name = "TIME")]
    pub clock: Option<Timestamp>,

    /// Fault to simulate: its kind, such as `reset`, or a whole rule as JSON on one line. The flag
    /// may be repeated. The environment variable has one fault on each line.
    ///
    /// Wrong content: shape, stale, fields, foreign-session, half-session, hollow-session,
    /// duplicate-keys, many-unknown-fields, deep-nesting, oversized, gzip-bomb, byte-order-mark,
    /// invalid-utf8, bad-json.
    ///
    /// No session at all: maintenance, empty-object, null, error-object, html, body, empty-body,
    /// no-content, status, redirect.
    ///
    /// On the connection: hang, half-body, half-chunk, reset, reset-halfway, close,
    /// endless-headers, trickle, http10, informational, garbage.
    ///
    /// A rule has more fields, such as
    /// `{"fault":{"kind":"maintenance"},"sessionId":"250040303","times":3}`. docs/simulator.md
    /// lists the fields, and the parameters of each kind. The kind `right` gives the right answer,
    /// for a rule that only adds a delay.
    #[arg(long = "fault", value_name = "KIND|JSON", value_delimiter = '\n')]
    pub faults: Vec<String>,

    /// Settings that the control API can change later.
    #[command(flatten)]
    pub settings: Settings,
}

/// How the simulator answers all clients. Flags set it at the start, and the control API changes it
/// while the simulator runs.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Most REST requests in any one second. Further requests get 429; 0 means no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub rate_limit: u32,

    /// Which requests share the rate limit.
    #[arg(long, value_enum, value_name = "SCOPE", default_value_t)]
    pub rate_limit_scope: RateLimitScope,

    /// Form of the Retry-After header of a 429 from the rate limit.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub rate_limit_retry_after: RetryAfterForm,

    /// How long the simulator keeps a session after its end. Then the session is 404. In JSON,
    /// seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "30days")]
    pub retention: f64,

    /// How the simulator refuses a missing or bad token.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub refusal: Refusal,

    /// Form of the body of ordinary errors, such as 404.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub error_body: ErrorBody,

    /// How long an access token of the token endpoint is valid. In JSON, seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "1h")]
    pub token_lifetime: f64,

    /// How a refresh changes the refresh token.
    #[arg(long, value_enum, value_name = "RULE", default_value_t)]
    pub refresh_tokens: RefreshTokens,

    /// What the page does where a person signs in.
    #[arg(long, value_enum, value_name = "RULE", default_value_t)]
    pub sign_in: SignIn,

    /// How long an authorization code of that page is valid. In JSON, seconds.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "1m")]
    pub code_lifetime: f64,

    /// Form of `expires_in` in the token endpoint's answer.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub expires_in: KeyForm,

    /// Whether the token endpoint's answer has a `token_type`.
    #[arg(skip)]
    pub token_type: bool,

    /// Accept only tokens that the token endpoint issued or the control API accepted.
    #[arg(long)]
    pub only_issued_tokens: bool,

    /// The list of sessions.
    #[command(flatten)]
    pub list: ListSettings,

    /// The status callbacks.
    #[command(flatten)]
    pub callbacks: CallbackSettings,

    /// The shape of bodies.
    #[command(flatten)]
    pub shape: Shape,
}

/// Parses a duration such as `30days`. Returns it in seconds.
fn seconds(text: &str) -> Result<f64, humantime::DurationError> {
    humantime::parse_duration(text).map(|duration| duration.as_secs_f64())
}

/// Parses a share, which is a number from 0 to 1.
fn share(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1"),
    }
}

impl SimulateConfig {
    /// The settings for tests. Only two differ from the defaults of the command line: the port is a
    /// free one of the loopback address, and there is no rate limit.
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

/// Which requests share the rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitScope {
    /// All requests share it, as the documentation seems to mean with "per API".
    #[default]
    Api,
    /// The requests of one token share it, or those of one principal of issued tokens.
    Credential,
}

/// The form of the Retry-After header.
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

/// How the simulator refuses a missing or bad token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// 403 with `InvalidToken` in the body. Others have seen the real gateway send it.
    #[default]
    InvalidToken,
    /// 401, as the documentation says.
    Unauthorized,
}

/// The form of the body of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorBody {
    /// `{"errorCode":…,"description":…,"incident":…}`, the form of sibling products.
    #[default]
    Product,
    /// `{"int_err_code":…,"msg":…}`, the form of the gateway.
    Gateway,
    /// `{"errorCode":…,"message":…}`, the form for an unknown route.
    Route,
    /// `{"error":…,"error_description":…}`, the form of the token endpoint.
    Oauth,
    /// An HTML page, such as a proxy sends.
    Html,
    /// No body.
    Empty,
}

/// How a refresh changes the refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshTokens {
    /// The answer has no new refresh token. The old one stays valid.
    #[default]
    Keep,
    /// The answer has a new refresh token. The old one stays valid too.
    Rotate,
    /// The answer has a new refresh token. From then on the old one is refused.
    SingleUse,
}

/// What the page does where a person signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignIn {
    /// It has a button to allow the access, and one to deny it.
    #[default]
    Ask,
    /// It redirects at once, with a code.
    Allow,
    /// It redirects at once, with the error `access_denied`.
    Deny,
    /// It redirects at once, with a code and with another `state`.
    WrongState,
}
