//! The secret and the URL of the demo's callbacks.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
};

use tempfile::NamedTempFile;

use crate::config::simulate::callback::{CallbackUrl, InvalidCallbackUrl};

/// The secret of this run, in a file that is removed at the end.
pub struct Secret {
    file: NamedTempFile,
    text: String,
}

impl Secret {
    /// Makes a secret. It only keeps apart what runs on this machine, so it need not be hard to guess.
    pub fn new() -> io::Result<Self> {
        let text = format!("{:032x}", fastrand::u128(..));
        let mut file = tempfile::Builder::new().prefix("gotoassist-demo-").tempfile()?;
        writeln!(file, "{text}")?;
        Ok(Self { file, text })
    }

    /// The file for `--callback-secret-file`.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The URL that the vendor calls back.
    pub fn url(&self, endpoint: SocketAddr) -> Result<CallbackUrl, InvalidCallbackUrl> {
        format!("http://{endpoint}/callbacks/session-status/{}", self.text).parse()
    }
}
