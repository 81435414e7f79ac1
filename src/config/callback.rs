//! The endpoint for the vendor's callbacks.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Settings of the endpoint for the vendor's callbacks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Callbacks")]
#[group(skip)]
pub struct Args {
    /// Address of the endpoint that takes GoToAssist's callbacks, at
    /// /callbacks/session-status/SECRET. A callback only makes the service ask GoToAssist sooner.
    /// The endpoint speaks HTTP without TLS, so it needs a proxy in front
    #[arg(long, value_name = "ADDRESS")]
    pub callback_listen: Option<SocketAddr>,

    /// File with the secrets that the URL of a callback may have, one a line. The first is the
    /// newest. A secret has at least 16 letters, digits, `-`, `.`, `_` or `~`. The service reads
    /// the file again when it changes
    #[arg(long, value_name = "FILE")]
    pub callback_secret_file: Option<PathBuf>,
}

impl Args {
    /// Returns the address and the file of secrets, if there is an endpoint.
    pub fn endpoint(&self) -> Option<(SocketAddr, &Path)> {
        Some((self.callback_listen?, self.callback_secret_file.as_deref()?))
    }

    /// Returns every problem of the configuration, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        match (&self.callback_listen, &self.callback_secret_file) {
            (Some(_), None) => {
                vec!["--callback-listen needs --callback-secret-file.".to_owned()]
            }
            (None, Some(_)) => {
                vec!["--callback-secret-file needs --callback-listen.".to_owned()]
            }
            (Some(_), Some(_)) | (None, None) => Vec::new(),
        }
    }
}
