//! How the service reaches the vendor: address, limits, retries, proxy and certificates.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use humantime::parse_duration;
use secrecy::SecretString;
use url::Url;

use super::value::{base_url, positive, positive_duration, secret};

/// The vendor's API, from the vendor's documentation.
pub const VENDOR_URL: &str = "https://api.getgo.com/G2A/rest/v1";

/// The allowed values of `--upstream-rps`. The quota stores each request of the last second.
pub const RATES: RangeInclusive<f64> = 0.001..=100_000.0;

/// The longest time for one request of the list of sessions.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// The default of `--sweep-limit`: 32 MiB.
const LIST_LIMIT: usize = 32 * 1024 * 1024;

/// How long requests fail at once before the circuit breaker admits a trial request. It is shorter
/// than the pause between two polls that fail, so that a poll is not refused just before the trial.
const BREAKER_PAUSE: Duration = Duration::from_millis(2_500);

/// Settings of the vendor's API. Durations are written like `10s`, `500ms` or `1m 30s`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Upstream (the GoToAssist REST API)")]
pub struct UpstreamConfig {
    /// Base URL of the REST API
    #[arg(long = "upstream-url", value_name = "URL", default_value = VENDOR_URL,
        value_parser = base_url)]
    pub url: Url,

    /// Longest time for one upstream request, from sending it to the last byte of the answer
    #[arg(long = "upstream-timeout", value_name = "DURATION", default_value = "10s",
        value_parser = positive_duration)]
    pub timeout: Duration,

    /// Longest time for one request of the list of sessions, which may be megabytes long.
    #[arg(skip = LIST_TIMEOUT)]
    pub list_timeout: Duration,

    /// Longest answer of the list of sessions in bytes, also after decompression. A longer list
    /// fails
    #[arg(long = "sweep-limit", value_name = "BYTES", default_value_t = LIST_LIMIT,
        value_parser = positive::<usize>)]
    pub list_limit: usize,

    /// Longest time to connect, including DNS, TCP, TLS and the proxy
    #[arg(long = "upstream-connect-timeout", value_name = "DURATION", default_value = "3s",
        value_parser = positive_duration)]
    pub connect_timeout: Duration,

    /// Most retries of a unary call (0 = none). The service retries after a failed connect, a
    /// reset, 502, 503, 504, or 429 with a Retry-After that ends before the deadline
    #[arg(long = "upstream-retries", value_name = "COUNT", default_value_t = 3)]
    pub retries: u32,

    /// Most requests per second, from 0.001 to 100000, for all callers and watches together. The
    /// vendor allows 10. Lower it if other programs share the quota
    #[arg(long = "upstream-rps", value_name = "RATE", default_value_t = 8.0, value_parser = rate)]
    pub rps: f64,

    /// Most requests that the service sends at once after a quiet time
    #[arg(long = "upstream-burst", value_name = "COUNT", default_value_t = 8,
        value_parser = positive::<u32>)]
    pub burst: u32,

    /// Which requests share one quota: all of the process, or those of each credential. Use
    /// `credential` only if every caller has a vendor client of its own
    #[arg(long, value_name = "SCOPE", value_enum, default_value_t = QuotaScope::Process)]
    pub quota_scope: QuotaScope,

    /// How long the service answers from memory for a finished session, complete or abandoned (0 =
    /// never)
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub finished_cache: Duration,

    /// Consecutive failures (transport or 5xx) of a session that open its circuit breaker, so that
    /// its calls fail at once. Failures of three sessions or more open the circuit breaker of their
    /// credential (0 = never)
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub breaker_failures: u32,

    /// How long a circuit breaker stays open before it admits a trial request, and between two trials
    /// that fail.
    #[arg(skip = BREAKER_PAUSE)]
    pub breaker_pause: Duration,

    /// How the requests get to the vendor.
    #[command(flatten)]
    pub route: RouteConfig,
}

/// How requests get to the vendor, and whom they trust to be the vendor.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct RouteConfig {
    /// PEM file with certificate authorities to trust for the vendor, besides those of the system
    #[arg(long = "upstream-ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Proxy for all upstream requests. Without it, `HTTPS_PROXY` is used for an https URL. Requests
    /// to hosts in `NO_PROXY` use no proxy
    #[arg(long = "upstream-proxy", value_name = "URL", hide_env_values = true,
        value_parser = secret)]
    pub proxy: Option<SecretString>,

    /// The standard environment variables, in upper and lower case.
    #[arg(long, env = "HTTPS_PROXY", hide = true, value_parser = secret)]
    pub https_proxy: Option<SecretString>,
    #[expect(missing_docs, reason = "as above")]
    #[arg(long, env = "https_proxy", hide = true, value_parser = secret)]
    pub https_proxy_lower_case: Option<SecretString>,
    #[expect(missing_docs, reason = "as above")]
    #[arg(long, env = "NO_PROXY", hide = true)]
    pub no_proxy: Option<String>,
    #[expect(missing_docs, reason = "as above")]
    #[arg(long, env = "no_proxy", hide = true)]
    pub no_proxy_lower_case: Option<String>,
}

/// Which requests share one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum QuotaScope {
    /// All requests of the process.
    Process,
    /// The requests of each credential.
    Credential,
}

impl UpstreamConfig {
    /// The default settings for another address.
    pub fn at(url: Url) -> Self {
        Self { url, ..super::flags::defaults() }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err(format!("must be a number from {} to {}", RATES.start(), RATES.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_flags;

    #[test]
    fn a_bad_value_is_refused_with_the_name_of_its_flag() {
        for (flag, value) in [
            ("--upstream-url", "ftp://example.com"),
            ("--upstream-url", "https://user:word@example.com"),
            ("--upstream-url", "https://example.com/?a=b"),
            ("--upstream-timeout", "10"),
            ("--upstream-timeout", "0s"),
            ("--upstream-rps", "0"),
            ("--upstream-rps", "0.0009"),
            ("--upstream-rps", "100001"),
            ("--upstream-rps", "NaN"),
            ("--upstream-burst", "0"),
            ("--quota-scope", "planet"),
            ("--finished-cache", "soon"),
        ] {
            let error = from_flags::<UpstreamConfig>([flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
    }

    #[test]
    fn a_proxy_is_shown_in_no_debug_output() {
        let proxy = ["--upstream-proxy", "http://user:hunter2@proxy.example"];
        let parsed = from_flags::<UpstreamConfig>(proxy).unwrap();
        assert!(!format!("{parsed:?}").contains("hunter2"));
    }
}
