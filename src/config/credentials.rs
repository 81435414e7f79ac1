//! Which credential the service sends to the vendor, and who may call the service.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use url::{Host, Url};

use super::secret::Secret;

/// The vendor's token endpoint, from the vendor's documentation.
pub const VENDOR_TOKEN_URL: &str = "https://authentication.logmeininc.com/oauth/token";

/// Which credential the service sends to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The `authorization` metadata of the caller
    Caller,
    /// The service's own credential, which it refreshes at the token endpoint
    Service,
}

/// Which credential the service sends to the vendor, and who may call the service.
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Credentials")]
pub struct CredentialsConfig {
    /// Which credential the service sends to GoToAssist
    #[arg(long = "credentials", value_name = "WHOSE", value_enum, default_value_t = Mode::Caller)]
    pub mode: Mode,

    /// OAuth client id of the service
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,

    /// OAuth client secret of the service. Prefer the file: flags show in the process list
    #[arg(long, value_name = "SECRET", hide_env_values = true)]
    pub client_secret: Option<SecretString>,

    /// File with the client secret. The service reads it at each refresh
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,

    /// OAuth refresh token of the service. Prefer the file: the service can then store a new token
    /// that the vendor sends
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub refresh_token: Option<SecretString>,

    /// File with the refresh token. The service reads it at each refresh, and replaces it when the
    /// vendor sends a new token
    #[arg(long, value_name = "FILE")]
    pub refresh_token_file: Option<PathBuf>,

    /// Personal access token of the service. Set it instead of a refresh token
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub personal_access_token: Option<SecretString>,

    /// File with the personal access token. The service reads it at each refresh
    #[arg(long, value_name = "FILE")]
    pub personal_access_token_file: Option<PathBuf>,

    /// URL of the endpoint that issues access tokens
    #[arg(long, value_name = "URL", default_value = VENDOR_TOKEN_URL)]
    pub token_url: Url,

    /// PEM file with the certificate authority of the callers. The service then refuses callers
    /// without a certificate of that authority
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// DNS or URI (SPIFFE) alternative name that the certificate of a caller must have. It may end
    /// in `*`, and the flag may be repeated [default: any certificate of the authority]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_client: Vec<String>,

    /// File with the SHA-256 digests of the bearer tokens that callers may use, one a line. The
    /// service reads it again when it changes
    #[arg(long, value_name = "FILE")]
    pub client_tokens_file: Option<PathBuf>,

    /// Accept every caller without a check. Set it only if a mesh or a network policy admits nobody
    /// else
    #[arg(long)]
    pub trust_network: bool,
}

/// The grant that the service uses at the token endpoint.
#[derive(Clone, Debug)]
pub enum Grant {
    /// `refresh_token` (RFC 6749 §6).
    RefreshToken(Secret),
    /// `personal_access_token`, the vendor's own grant.
    PersonalAccessToken(Secret),
}

impl CredentialsConfig {
    /// The client secret, if exactly one flag gives it.
    pub fn client_secret(&self) -> Option<Secret> {
        Secret::of(self.client_secret.as_ref(), self.client_secret_file.as_ref())
    }

    /// The grant, if exactly one flag gives it.
    pub fn grant(&self) -> Option<Grant> {
        let refresh = Secret::of(self.refresh_token.as_ref(), self.refresh_token_file.as_ref());
        let personal = Secret::of(
            self.personal_access_token.as_ref(),
            self.personal_access_token_file.as_ref(),
        );
        match (refresh, personal) {
            (Some(secret), None) => Some(Grant::RefreshToken(secret)),
            (None, Some(secret)) => Some(Grant::PersonalAccessToken(secret)),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// Returns every problem of the configuration, each as a sentence. `is_exposed` is whether
    /// other machines can reach the service. `has_tls` is whether the service serves TLS.
    pub fn problems(&self, is_exposed: bool, has_tls: bool) -> Vec<String> {
        let mut problems = Vec::new();
        match self.mode {
            Mode::Caller => self.check_unused(&mut problems),
            Mode::Service => {
                self.check_grant(&mut problems);
                self.check_files(&mut problems);
                problems.extend(url_problems(
                    "--token-url",
                    &self.token_url,
                    Some(self.trust_network),
                ));
                self.check_callers(is_exposed, has_tls, &mut problems);
            }
        }
        problems
    }

    /// Reports secrets that are set and not used, because they hide a mistake.
    fn check_unused(&self, problems: &mut Vec<String>) {
        let flags = [
            ("--client-id", self.client_id.is_some()),
            ("--client-secret", self.client_secret.is_some()),
            ("--client-secret-file", self.client_secret_file.is_some()),
            ("--refresh-token", self.refresh_token.is_some()),
            ("--refresh-token-file", self.refresh_token_file.is_some()),
            ("--personal-access-token", self.personal_access_token.is_some()),
            ("--personal-access-token-file", self.personal_access_token_file.is_some()),
            ("--client-ca", self.client_ca.is_some()),
            ("--allow-client", !self.allow_client.is_empty()),
            ("--client-tokens-file", self.client_tokens_file.is_some()),
        ];
        let used = flags.into_iter().filter(|(_, is_set)| *is_set);
        problems.extend(used.map(|(flag, _)| format!("{flag} needs --credentials service.")));
    }

    fn check_grant(&self, problems: &mut Vec<String>) {
        if self.client_id.as_ref().is_none_or(String::is_empty) {
            problems.push("--credentials service needs --client-id.".to_owned());
        }
        let pairs = [
            ("client-secret", self.client_secret.is_some(), self.client_secret_file.is_some()),
            ("refresh-token", self.refresh_token.is_some(), self.refresh_token_file.is_some()),
            (
                "personal-access-token",
                self.personal_access_token.is_some(),
                self.personal_access_token_file.is_some(),
            ),
        ];
        for (flag, _, _) in pairs.iter().filter(|(_, is_given, is_file)| *is_given && *is_file) {
            problems.push(format!("Only one of --{flag} and --{flag}-file can be used."));
        }
        let [has_secret, has_refresh, has_personal] =
            pairs.map(|(_, is_given, is_file)| is_given || is_file);
        if !has_secret {
            let text = "--credentials service needs --client-secret-file or --client-secret.";
            problems.push(text.to_owned());
        }
        if has_refresh == has_personal {
            let text = "--credentials service needs either a refresh token \
                (--refresh-token-file) or a personal access token (--personal-access-token-file).";
            problems.push(text.to_owned());
        }
    }

    fn check_files(&self, problems: &mut Vec<String>) {
        let secrets = [
            ("--client-secret-file", &self.client_secret_file),
            ("--refresh-token-file", &self.refresh_token_file),
            ("--personal-access-token-file", &self.personal_access_token_file),
        ];
        for (flag, path) in secrets {
            let secret = path.as_ref().map(|path| Secret::File(path.clone()));
            if let Some(Err(error)) = secret.map(|secret| secret.read()) {
                problems.push(format!("The file of {flag} cannot be used: {error}."));
            }
        }
    }

    fn check_callers(&self, is_exposed: bool, has_tls: bool, problems: &mut Vec<String>) {
        let has_ca = self.client_ca.is_some();
        let has_tokens = self.client_tokens_file.is_some();
        if has_ca && has_tokens {
            problems
                .push("Only one of --client-ca and --client-tokens-file can be used.".to_owned());
        }
        if has_ca && !has_tls {
            problems.push("--client-ca needs the service to serve TLS.".to_owned());
        }
        if !has_ca && !self.allow_client.is_empty() {
            problems.push("--allow-client needs --client-ca.".to_owned());
        }
        for name in self.allow_client.iter().filter(|name| !is_name_or_prefix(name)) {
            problems.push(format!(
                "--allow-client {name:?} is not a DNS name or URI, or its `*` could match another \
                 host: use it only at the end, after the host of a URI."
            ));
        }
        if is_exposed && !has_ca && !has_tokens && !self.trust_network {
            let text = "--credentials service lets every client that can connect use the \
                credential: set --client-ca or --client-tokens-file, listen on loopback, or set \
                --trust-network.";
            problems.push(text.to_owned());
        }
    }
}

/// What is wrong with the URL of a login. Secrets may travel in clear text only within this machine,
/// or in a network that the operator trusts. `trust_network` is `None` for a command without this flag.
pub(super) fn url_problems(flag: &str, url: &Url, trust_network: Option<bool>) -> Vec<String> {
    let is_safe = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_local(url) || (trust_network == Some(true) && url.has_host()),
        _ => false,
    };
    let mut problems = Vec::new();
    if !is_safe {
        let exception = if trust_network.is_some() { ", or with --trust-network" } else { "" };
        problems.push(format!("{flag} must be https. Use http only on this machine{exception}."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        problems.push(format!("{flag} must not hold a user name or password."));
    }
    problems
}

/// Whether the host of the URL is this machine.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Whether the pattern names one host, or a prefix that cannot match another domain. For example,
/// the `*` of `spiffe://example.org*` could match `.evil.example`.
fn is_name_or_prefix(name: &str) -> bool {
    let prefix = name.strip_suffix('*');
    let stem = prefix.unwrap_or(name);
    if stem.is_empty() || stem.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control()) {
        return false;
    }
    match (prefix, stem.split_once("://")) {
        (Some(_), Some((_, rest))) => rest.contains('/'),
        (_, None) => !stem.contains('/'),
        (None, Some((scheme, rest))) => !scheme.is_empty() && !rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        credentials: CredentialsConfig,
    }

    fn problems(line: &str, is_exposed: bool, has_tls: bool) -> Vec<String> {
        let words = std::iter::once("serve").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().credentials.problems(is_exposed, has_tls)
    }

    const SERVICE: &str = "--credentials service --client-id i --client-secret s --refresh-token r";

    #[test]
    fn caller_mode_needs_no_flags_and_reports_unused_secrets() {
        assert!(problems("", true, false).is_empty());
        assert_eq!(problems("--client-secret x --allow-client y", true, false).len(), 2);
    }

    #[test]
    fn all_problems_are_reported_together() {
        let line = "--credentials service --refresh-token a --refresh-token-file /nowhere/b \
            --token-url http://example.org/token --allow-client *";
        let problems = problems(line, true, false);
        assert_eq!(problems.len(), 8, "{problems:#?}");
    }

    #[test]
    fn an_exposed_service_with_its_own_credential_must_check_its_callers() {
        assert_eq!(problems(SERVICE, true, true).len(), 1);
        assert!(problems(SERVICE, false, false).is_empty());
        for known in ["--trust-network", "--client-tokens-file t", "--client-ca c"] {
            let problems = problems(&format!("{SERVICE} {known}"), true, true);
            assert!(problems.is_empty(), "{known}: {problems:?}");
        }
        assert_eq!(problems(&format!("{SERVICE} --client-ca c"), true, false).len(), 1);
    }

    #[test]
    fn a_prefix_cannot_match_another_host() {
        for name in ["web", "web.example.org", "web-*", "spiffe://a/ns/*", "spiffe://a/ns/b"] {
            assert!(is_name_or_prefix(name), "{name}");
        }
        for name in ["", "*", "*.example.org", "a*b", "spiffe://a*", "spiffe://", "a b", "a/b"] {
            assert!(!is_name_or_prefix(name), "{name}");
        }
    }

    #[test]
    fn no_secret_shows_in_help_or_debug() {
        let line =
            Line::try_parse_from(["serve", "--client-secret", "hush", "--refresh-token", "hush"]);
        let debug = format!("{:?}", line.unwrap().credentials);
        assert!(!debug.contains("hush"), "{debug}");
    }
}
