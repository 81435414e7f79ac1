//! The level of the log, which an operator may change while the process runs.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{enabled, info};
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::{Error, filter};

/// The level of the log. All clones are the same one.
#[derive(Clone, Debug)]
pub struct LogLevel {
    configured: Arc<str>,
    current: Arc<Mutex<String>>,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    pub(super) fn new(configured: &str, filter: reload::Handle<EnvFilter, Registry>) -> Self {
        let current = Arc::new(Mutex::new(configured.to_owned()));
        Self { configured: configured.into(), current, filter }
    }

    /// The level that `--log-level` has set.
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// The level now.
    pub fn current(&self) -> String {
        self.current.lock().clone()
    }

    /// Changes the level, in any form that `--log-level` takes. The log has a line about it, unless it
    /// is off before and after.
    pub fn set(&self, level: &str) -> Result<(), Error> {
        let filter = filter(level)?;
        let mut current = self.current.lock();
        let log = || info!(level, before = *current, "the log level was changed");
        let is_logged = enabled!(tracing::Level::INFO);
        if is_logged {
            log();
        }
        // This fails only when the log has ended, at the end of the process.
        self.filter.reload(filter).map_err(|_| Error::Ended)?;
        if !is_logged {
            log();
        }
        level.clone_into(&mut current);
        Ok(())
    }
}
