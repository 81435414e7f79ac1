//! How a client reaches the service, and which credential it sends.

use std::path::PathBuf;

use secrecy::SecretString;

/// How to reach the service, and which credential to send.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "command", derive(clap::Args), command(next_help_heading = "Connection"))]
pub struct ConnectionConfig {
    /// Addresses of the service, separated by commas: http://, https:// or unix:PATH. If one cannot
    /// be reached, the client tries the next one
    #[cfg_attr(feature = "command", arg(long, value_name = "URL", value_delimiter = ',',
        default_value = "http://127.0.0.1:50051", value_parser = server_address))]
    pub server: Vec<String>,

    /// PEM file with the certificate authorities to trust for https. They replace those of the
    /// system
    #[cfg_attr(feature = "command", arg(long, value_name = "FILE"))]
    pub ca_file: Option<PathBuf>,

    /// PEM file with the client certificate and its chain. Set it if the service requires mTLS
    #[cfg_attr(feature = "command", arg(long, value_name = "FILE", requires = "client_key_file"))]
    pub client_certificate_file: Option<PathBuf>,

    /// PEM file with the private key of the client certificate
    #[cfg_attr(
        feature = "command",
        arg(long, value_name = "FILE", requires = "client_certificate_file")
    )]
    pub client_key_file: Option<PathBuf>,

    /// The credential of the caller.
    #[cfg_attr(feature = "command", command(flatten))]
    pub credential: CredentialConfig,
}

impl ConnectionConfig {
    /// Connects to `server` with a bearer token. An https address uses the system's certificate
    /// authorities.
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

/// The credential of the caller. At most one field is set.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "command", derive(clap::Args), group(multiple = false))]
pub struct CredentialConfig {
    /// Access token, which the client sends as `authorization: Bearer TOKEN`
    #[cfg_attr(feature = "command", arg(long, hide_env_values = true, value_name = "TOKEN"))]
    pub token: Option<SecretString>,

    /// File with the access token. The client reads it again for each call
    #[cfg_attr(feature = "command", arg(long, value_name = "FILE"))]
    pub token_file: Option<PathBuf>,

    /// The whole `authorization` value, such as `OAuth oauth_token=TOKEN`
    #[cfg_attr(feature = "command", arg(long, hide_env_values = true, value_name = "VALUE"))]
    pub authorization: Option<SecretString>,
}

/// Parses an address of the service. `host:port` without a scheme means http.
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
