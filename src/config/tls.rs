//! The server's certificate.

use std::{path::PathBuf, time::Duration};

use humantime::parse_duration;

/// TLS settings of the gRPC port.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
#[group(skip)]
pub struct Args {
    /// PEM file with the server's certificate and its intermediates. Without it the server speaks
    /// HTTP/2 without TLS. The service reads it again when it changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Time between two checks of the certificate, key and client CA for changes. SIGHUP checks at
    /// once
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub tls_reload_interval: Duration,
}

impl Args {
    /// Returns every problem of the configuration, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => vec!["--tls-cert needs --tls-key.".to_owned()],
            (None, Some(_)) => vec!["--tls-key needs --tls-cert.".to_owned()],
            (Some(_), Some(_)) | (None, None) => Vec::new(),
        }
    }
}
