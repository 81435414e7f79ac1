//! Reads a secret of the service, and stores a new refresh token in its file.

use std::{fs, io, mem, path::Path, time::Duration};

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use crate::{config::secret::Secret, file};

/// The time limit for writing a refresh token. A hanging volume must not hold up the access token.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// A secret that the operator, the vendor or another replica may replace.
#[derive(Debug)]
pub(crate) struct SecretStore {
    source: Secret,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The secret in the source when it was last read.
    source: Option<SecretString>,
    /// The secret that the vendor sent since then, if it could not be written to the source.
    newer: Option<SecretString>,
    /// Whether the source could not be read the last time.
    is_unreadable: bool,
}

impl SecretStore {
    pub(crate) fn new(source: Secret) -> Self {
        Self { source, known: Mutex::default() }
    }

    /// The secret to use now. A change of the file takes precedence over a secret that the vendor
    /// sent. If the file cannot be read any more, this is the latest known secret.
    pub(crate) fn current(&self) -> io::Result<SecretString> {
        let mut known = self.known.lock();
        let source = match self.source.read() {
            Ok(source) => source,
            Err(error) => {
                let was_readable = !mem::replace(&mut known.is_unreadable, true);
                let latest = known.newer.clone().or_else(|| known.source.clone());
                if was_readable && latest.is_some() {
                    warn!(%error, "a secret file cannot be read: the secret in memory is used");
                }
                return latest.ok_or(error);
            }
        };
        known.is_unreadable = false;
        if !is_same(known.source.as_ref(), &source) {
            *known = Known { source: Some(source.clone()), ..Known::default() };
        }
        Ok(known.newer.clone().unwrap_or(source))
    }

    /// Whether the secret in the source has changed since it was last read, or can be read again.
    pub(crate) fn has_changed(&self) -> bool {
        let known = self.known.lock();
        let is_new = |source| known.is_unreadable || !is_same(known.source.as_ref(), &source);
        self.source.read().is_ok_and(is_new)
    }

    /// Whether the secret comes from a file, in which others may replace it.
    pub(crate) fn is_in_file(&self) -> bool {
        self.source.path().is_some()
    }

    /// Stores the new refresh token, if the vendor sent one, because the old one may be invalid
    /// now. Otherwise tries again to write a token that could not be written before.
    pub(crate) async fn store(&self, new: Option<SecretString>) {
        let newer = {
            let mut known = self.known.lock();
            // The new token is used from now on, whether it can be written or not.
            if let Some(new) = new.filter(|new| !is_same(known.source.as_ref(), new)) {
                known.newer = Some(new);
            }
            known.newer.clone()
        };
        let Some(newer) = newer else { return };
        let Some(path) = self.source.path() else {
            warn!(
                "GoToAssist sent a new refresh token, which is lost when this process ends: \
                 give the refresh token as a file (--refresh-token-file)"
            );
            return;
        };
        let (path, secret) = (path.clone(), newer.clone());
        let writing = timeout(WRITE_TIMEOUT, spawn_blocking(move || write(&path, &secret)));
        match async { writing.await?? }.await {
            Ok(()) => {
                *self.known.lock() = Known { source: Some(newer), ..Known::default() };
                info!("GoToAssist sent a new refresh token, which is in the file now");
            }
            Err(error) => error!(
                %error,
                "GoToAssist sent a new refresh token, which COULD NOT BE WRITTEN to the file of \
                 --refresh-token-file: the file keeps the old one, which may be worth nothing; \
                 the new one is lost when this process ends"
            ),
        }
    }
}

fn is_same(known: Option<&SecretString>, other: &SecretString) -> bool {
    known.is_some_and(|known| known.expose_secret() == other.expose_secret())
}

/// Replaces the content of the file. If the path is a link, the link stays and its target is
/// replaced.
fn write(path: &Path, secret: &SecretString) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    file::replace(&path, |file| writeln!(file, "{}", secret.expose_secret()))
}
