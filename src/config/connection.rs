//! Where a client finds the service, and what it proves itself with.

use std::path::PathBuf;

use secrecy::SecretString;

/// Where the service is, and who calls it.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "command", derive(clap::Args), command(next_help_heading = "Connection"))]
pub struct ConnectionConfig {
    /// Addresses of the service, separated by commas: http://, https:// or unix:PATH; the next one is
    /// tried when one cannot be reached
    #[cfg_attr(feature = "command", arg(long, value_name = "URL", value_delimiter = ',',
        default_value = "http://127.0.0.1:50051", value_parser = server_address))]
    pub server: Vec<String>,

    /// Certificates (PEM) to trust for https, in place of the system's
    #[cfg_attr(feature = "command", arg(long, value_name = "FILE"))]
    pub ca_file: Option<PathBuf>,

    /// Certificate (PEM, with its chain) to show to the service
    #[cfg_attr(feature = "command", arg(long, value_name = "FILE", requires = "client_key_file"))]
    pub client_certificate_file: Option<PathBuf>,

    /// Private key (PEM) of that certificate
    #[cfg_attr(
        feature = "command",
        arg(long, value_name = "FILE", requires = "client_certificate_file")
    )]
    pub client_key_file: Option<PathBuf>,

    /// Who calls.
    #[cfg_attr(feature = "command", command(flatten))]
    pub credential: CredentialConfig,
}

impl ConnectionConfig {
    /// Plain or system-trusted TLS to `server`, with a bearer token.
    pub fn bearer(server: String, token: &str) -> Self {
        Self {
            server: vec![server],
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            credential: CredentialConfig {
                token: Some(token.into()),
                token_file: None,
                authorization: None,
            },
        }
    }
}

/// Who calls. At most one of them.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "command", derive(clap::Args), group(multiple = false))]
pub struct CredentialConfig {
    /// Access token, sent as `authorization: Bearer TOKEN`
    #[cfg_attr(feature = "command", arg(long, hide_env_values = true, value_name = "TOKEN"))]
    pub token: Option<SecretString>,

    /// File that holds the access token; read again for each call
    #[cfg_attr(feature = "command", arg(long, value_name = "FILE"))]
    pub token_file: Option<PathBuf>,

    /// The whole `authorization`, such as `OAuth oauth_token=TOKEN`
    #[cfg_attr(feature = "command", arg(long, hide_env_values = true, value_name = "VALUE"))]
    pub authorization: Option<SecretString>,
}

/// `host:port` alone means http.
#[cfg(feature = "command")]
fn server_address(text: &str) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let is_path = !path.trim_start_matches('/').is_empty();
        return if is_path { Ok(text.to_owned()) } else { Err("unix: needs a path".to_owned()) };
    }
    let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: http::Uri = address.parse().map_err(|error| format!("{error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(address),
        _ => Err("it must begin with http://, https:// or unix:".to_owned()),
    }
}
