//! The service's secrets: where they come from, and where a new refresh token is kept.

use std::{
    fs,
    io::{self, Write as _},
    mem,
    path::Path,
    time::Duration,
};

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use crate::config::secret::Secret;

/// The longest time for writing a refresh token: a volume that hangs must not hold up the access
/// token that came with it.
const WRITE: Duration = Duration::from_secs(4);

/// A secret that may be replaced by the operator, by the vendor, or by another replica.
#[derive(Debug)]
pub(crate) struct Kept {
    source: Secret,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// What the source held when it was last looked at.
    source: Option<SecretString>,
    /// What the vendor sent since, if it could not be written there.
    newer: Option<SecretString>,
    /// Whether the source could not be read when it was last looked at.
    is_unreadable: bool,
}

impl Kept {
    pub(crate) fn new(source: Secret) -> Self {
        Self { source, known: Mutex::default() }
    }

    /// The secret to use now. What somebody put into the file goes before what the vendor sent. If
    /// the file cannot be read any more, it is the latest secret known.
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

    /// Whether the source holds another secret than when it was last looked at, or can be read
    /// again.
    pub(crate) fn has_changed(&self) -> bool {
        let known = self.known.lock();
        let is_news = |source| known.is_unreadable || !is_same(known.source.as_ref(), &source);
        self.source.read().is_ok_and(is_news)
    }

    /// Whether it comes from a file, in which others may replace it.
    pub(crate) fn is_in_file(&self) -> bool {
        self.source.path().is_some()
    }

    /// The vendor sent a new token with its answer, if any: from now on the old one may be worth
    /// nothing. One that could not be written before is tried again.
    pub(crate) async fn replace(&self, new: Option<SecretString>) {
        let Some(newer) = self.newer(new) else { return };
        let Some(path) = self.source.path() else {
            warn!(
                "GoToAssist sent a new refresh token, which is lost when this process ends: \
                 give the refresh token as a file (--refresh-token-file)"
            );
            return;
        };
        let (path, secret) = (path.clone(), newer.clone());
        let writing = timeout(WRITE, spawn_blocking(move || write(&path, &secret)));
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

    /// What is newer than the source. Known from here on, written or not.
    fn newer(&self, new: Option<SecretString>) -> Option<SecretString> {
        let mut known = self.known.lock();
        if let Some(new) = new.filter(|new| !is_same(known.source.as_ref(), new)) {
            known.newer = Some(new);
        }
        known.newer.clone()
    }
}

fn is_same(known: Option<&SecretString>, other: &SecretString) -> bool {
    known.is_some_and(|known| known.expose_secret() == other.expose_secret())
}

/// Puts the secret into the file, so that whenever the machine stops, the file holds the old one
/// or the new one, whole. A link stays, and the file it leads to is replaced.
fn write(path: &Path, secret: &SecretString) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    // Only its owner may read it. It is removed again if anything fails.
    let mut file = tempfile::Builder::new().prefix(".refresh-token-").tempfile_in(directory)?;
    writeln!(file, "{}", secret.expose_secret())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // Now the new name is on the disk too, not only the new content.
    fs::File::open(directory)?.sync_all()
}
