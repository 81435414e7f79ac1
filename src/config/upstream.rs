//! How the vendor is reached: address, limits, retries, proxy and certificates.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use humantime::parse_duration;
use secrecy::SecretString;
use url::Url;

use super::value::{base_url, positive, positive_duration, secret};

/// The vendor's API, as its documentation gives it.
pub const VENDOR_URL: &str = "https://api.getgo.com/G2A/rest/v1";

/// What `--upstream-rps` may be. The quota remembers the requests of a second one by one.
pub const RATES: RangeInclusive<f64> = 0.001..=100_000.0;

/// How long requests fail at once after the breaker has opened for the first time. Short, because
/// while it lasts a vendor that works again is not asked.
const BREAKER_PAUSE: Duration = Duration::from_secs(5);

/// How the vendor is reached. Durations are written like `10s`, `500ms` or `1m 30s`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Upstream (the GoToAssist REST API)")]
pub struct UpstreamConfig {
    /// Base URL of the REST API
    #[arg(long = "upstream-url", value_name = "URL", default_value = VENDOR_URL,
        value_parser = base_url)]
    pub url: Url,

    /// Longest time for one attempt, from sending the request to the last byte of the answer
    #[arg(long = "upstream-timeout", value_name = "DURATION", default_value = "10s",
        value_parser = positive_duration)]
    pub timeout: Duration,

    /// Longest time for setting up a connection: DNS, TCP, TLS and proxy together
    #[arg(long = "upstream-connect-timeout", value_name = "DURATION", default_value = "3s",
        value_parser = positive_duration)]
    pub connect_timeout: Duration,

    /// How often a unary call is tried again after a failed connect, a reset, 502, 503, 504, or
    /// 429 with a Retry-After that fits (0 = never)
    #[arg(long = "upstream-retries", value_name = "COUNT", default_value_t = 3)]
    pub retries: u32,

    /// Requests per second, all callers and watches together, from 0.001 to 100000; the vendor allows
    /// 10
    #[arg(long = "upstream-rps", value_name = "RATE", default_value_t = 8.0, value_parser = rate)]
    pub rps: f64,

    /// Requests that may go out at once after a quiet time
    #[arg(long = "upstream-burst", value_name = "COUNT", default_value_t = 8,
        value_parser = positive::<u32>)]
    pub burst: u32,

    /// Who shares one quota: the whole process, or each credential its own (only where every
    /// caller brings a vendor client of its own)
    #[arg(long, value_name = "SCOPE", value_enum, default_value_t = QuotaScope::Process)]
    pub quota_scope: QuotaScope,

    /// How long a finished session (complete, abandoned) is served from memory (0 = never)
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub finished_cache: Duration,

    /// Failures in a row (transport, 5xx) of one session after which calls for it fail at once
    /// instead of trying; of three sessions or more: all calls of that credential (0 = never)
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub breaker_failures: u32,

    /// How long they fail at once before a call is let through to try; doubles up to 1 min while
    /// the trials fail.
    #[arg(skip = BREAKER_PAUSE)]
    pub breaker_pause: Duration,

    /// PEM file with certificate authorities to trust besides the system's
    #[arg(long = "upstream-ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Proxy for all requests; without it `HTTPS_PROXY` counts for an https URL. Hosts in
    /// `NO_PROXY` are reached directly
    #[arg(long = "upstream-proxy", value_name = "URL", hide_env_values = true,
        value_parser = secret)]
    pub proxy: Option<SecretString>,

    /// The usual variables, in both of their usual spellings.
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

/// Who shares one quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum QuotaScope {
    /// All traffic of the process.
    Process,
    /// The traffic of each credential.
    Credential,
}

impl UpstreamConfig {
    /// The defaults, for another address.
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
