//! The settings of `login`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::{
    credentials::{VENDOR_TOKEN_URL, is_local, url_problems},
    secret::Secret,
    upstream::RouteConfig,
    value::{plain, positive_duration},
};

/// The page where a person signs in, from the vendor's documentation.
pub const VENDOR_AUTHORIZE_URL: &str = "https://authentication.logmeininc.com/oauth/authorize";

const NOTES: &str = "\
Open the page that it prints in a browser on this machine, and sign in as the user of the service. \
The OAuth client must allow the redirect URL. Give it with its port if the client needs the exact URL:
  gotoassist-grpc login --client-id ID --client-secret-file secret --refresh-token-file token \\
      --redirect-url http://localhost:8085/callback

Exit status: 0 if the file has a new refresh token, 2 if the command line is wrong, otherwise 1";

/// Settings of `login`.
#[derive(Args, Clone, Debug)]
#[command(after_help = NOTES)]
pub struct LoginConfig {
    /// OAuth client id of the service
    #[arg(long, value_name = "ID")]
    pub client_id: String,

    /// OAuth client secret of the service. Prefer the file: flags show in the process list
    #[arg(
        long,
        value_name = "SECRET",
        hide_env_values = true,
        conflicts_with = "client_secret_file",
        required_unless_present = "client_secret_file"
    )]
    pub client_secret: Option<SecretString>,

    /// File with the client secret
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,

    /// File that gets the refresh token, the same as for `serve`. A file that exists is replaced when
    /// the login has succeeded. Only its owner can read it
    #[arg(long, value_name = "FILE")]
    pub refresh_token_file: PathBuf,

    /// Where GoToAssist sends the browser after the login: http on this machine's loopback address, such
    /// as 127.0.0.1 or localhost. Port 0 means any free port
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:0/callback",
        value_parser = redirect_url)]
    pub redirect_url: Url,

    /// URL of the page where the user signs in
    #[arg(long, value_name = "URL", default_value = VENDOR_AUTHORIZE_URL)]
    pub authorize_url: Url,

    /// URL of the endpoint that issues the tokens
    #[arg(long, value_name = "URL", default_value = VENDOR_TOKEN_URL)]
    pub token_url: Url,

    /// Longest time for the login, as a duration
    #[arg(long, env = "GOTOASSIST_LOGIN_TIMEOUT", value_name = "DURATION", default_value = "5m",
        value_parser = positive_duration)]
    pub timeout: Duration,

    /// How the request gets to the token endpoint.
    #[command(flatten)]
    pub route: RouteConfig,
}

impl LoginConfig {
    /// The client secret. clap makes sure that one flag gives it.
    pub fn client_secret(&self) -> Option<Secret> {
        Secret::of(self.client_secret.as_ref(), self.client_secret_file.as_ref())
    }

    /// Returns every problem of the configuration, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let urls = [("--authorize-url", &self.authorize_url), ("--token-url", &self.token_url)];
        let mut problems: Vec<_> =
            urls.into_iter().flat_map(|(flag, url)| url_problems(flag, url, None)).collect();
        if self.client_id.is_empty() {
            problems.push("--client-id is empty.".to_owned());
        }
        problems
    }
}

/// The page redirects the browser of the person who runs the command, so no other machine can be
/// meant.
fn redirect_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() == "http" && is_local(&url) {
        plain(url)
    } else {
        Err("must be http on 127.0.0.1, [::1] or localhost".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_this_machine_only() {
        for url in ["http://127.0.0.1:0/callback", "http://localhost:8085/", "http://[::1]:1/a/b"] {
            assert_eq!(redirect_url(url).unwrap().as_str(), url);
        }
        for url in [
            "https://127.0.0.1/callback",
            "http://example.com:8085/callback",
            "http://127.0.0.1.example.com/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1/?a=b",
            "127.0.0.1:8085",
        ] {
            assert!(redirect_url(url).is_err(), "{url}");
        }
    }
}
