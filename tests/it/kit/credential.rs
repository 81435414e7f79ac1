//! The service's own credential.

use clap::Parser;
use gotoassist_grpc::{
    config::{UpstreamConfig, credentials::CredentialsConfig},
    credential::token::TokenSource,
    wire::HttpClient,
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    credentials: CredentialsConfig,
}

/// The credential of `serve` with these flags, for the token endpoint at `token_url`.
pub fn token_source(token_url: &str, flags: &[&str]) -> TokenSource {
    let service = ["serve", "--credentials", "service", "--client-id", "id"];
    let common = ["--client-secret", "hush:secret", "--token-url", token_url];
    let line = service.iter().chain(&common).chain(flags);
    let config = Line::try_parse_from(line).unwrap().credentials;
    assert_eq!(config.problems(false, false), Vec::<String>::new());
    let url = &config.token_url;
    let http = HttpClient::new(&UpstreamConfig::at(url.clone()), url).unwrap();
    TokenSource::new(&config, http, None).unwrap()
}
