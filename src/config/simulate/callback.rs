//! How the simulated vendor calls back when the status of a session changes.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use http::{Uri, uri::Scheme};
use serde::{Deserialize, Serialize};

use super::{seconds, share};

/// The status callbacks: where they go, how reliable they are, and what is in them. In JSON,
/// durations are seconds.
///
/// The same seed always selects the same callbacks for a share.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackSettings {
    /// URL for the status callbacks of sessions whose script names none [default: no callbacks].
    #[arg(id = "callback-url", long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<CallbackUrl>,

    /// Time from a change of a session to its callback.
    #[arg(
        id = "callback-delay",
        long,
        value_name = "DURATION",
        value_parser = seconds,
        default_value = "0s"
    )]
    pub delay: f64,

    /// Share of the callbacks that are not sent, from 0 to 1.
    #[arg(id = "callback-loss", long, value_name = "SHARE", value_parser = share, default_value_t)]
    pub loss: f64,

    /// Share of the callbacks that are sent twice, from 0 to 1.
    #[arg(id = "callback-doubled", long, value_name = "SHARE", value_parser = share, default_value_t)]
    pub doubled: f64,

    /// Form of the body.
    #[arg(id = "callback-body", long, value_enum, value_name = "FORM", default_value_t)]
    pub body: CallbackBody,

    /// How the body names the session.
    #[arg(id = "callback-ids", long, value_enum, value_name = "FORM", default_value_t)]
    pub ids: CallbackIds,

    /// Order of the fields in the body.
    #[arg(id = "callback-order", long, value_enum, value_name = "ORDER", default_value_t)]
    pub order: FieldOrder,
}

/// Where callbacks go: a URL that begins with `http://`. TLS is not supported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallbackUrl(Uri);

/// The text is not a URL for callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a callback URL begins with http:// and a host, as in http://127.0.0.1:8090/callback")]
pub struct InvalidCallbackUrl;

impl CallbackUrl {
    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for CallbackUrl {
    type Err = InvalidCallbackUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| InvalidCallbackUrl)?;
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let is_http = uri.scheme() == Some(&Scheme::HTTP);
        if is_http && has_host { Ok(Self(uri)) } else { Err(InvalidCallbackUrl) }
    }
}

impl TryFrom<String> for CallbackUrl {
    type Error = InvalidCallbackUrl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CallbackUrl> for String {
    fn from(url: CallbackUrl) -> Self {
        url.0.to_string()
    }
}

/// The form of the body of a callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackBody {
    /// A JSON object.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// How the body of a callback names its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackIds {
    /// `sessionId` as the answer for one session has it.
    #[default]
    Text,
    /// `sessionId` as a number, if it is made of digits.
    Number,
    /// `sessionStartToken` as the list has it, and no `sessionId`.
    Token,
}

/// The order of the fields in the body of a callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldOrder {
    /// The order of the answer for one session.
    #[default]
    Documented,
    /// The reverse of that order.
    Reversed,
}
