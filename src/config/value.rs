//! Parses the values of flags, and describes the values that are not valid.

use std::{convert::Infallible, fmt::Display, str::FromStr, time::Duration};

use secrecy::SecretString;
use url::Url;

/// Parses a duration such as `10s`, `500ms` or `1m 30s`. Zero is an error.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a whole number. Zero is an error.
pub(super) fn positive<N>(text: &str) -> Result<N, String>
where
    N: FromStr<Err: Display> + PartialEq + Default,
{
    match text.parse() {
        Ok(count) if count == N::default() => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a share, which is a number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1"),
    }
}

/// Parses a base URL, to which paths can be added.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") {
        plain(url)
    } else {
        Err("must begin with http:// or https://".to_owned())
    }
}

/// Refuses a URL with more than its scheme, host, port and path.
pub(super) fn plain(url: Url) -> Result<Url, String> {
    if !url.username().is_empty() || url.password().is_some() {
        Err("must not hold a user name or password".to_owned())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("must not hold a query or fragment".to_owned())
    } else {
        Ok(url)
    }
}

/// Accepts any text. clap prints the values that it refuses, so it must never refuse this one,
/// which may hold a password.
#[expect(clippy::unnecessary_wraps, reason = "clap requires this signature")]
pub(super) fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(text.into())
}
