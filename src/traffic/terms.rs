//! What a call brings to each of its requests.

use tokio::time::Instant;

use super::call_stats::CallStats;
use crate::trace::Cause;

/// How a unary call wants to be served.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// When the caller stops waiting; bounds the wait for quota and every attempt.
    pub deadline: Option<Instant>,
    /// The call, as the traces know it.
    pub cause: Cause,
    /// Counts what the call asks of the vendor.
    pub call_stats: CallStats,
    /// Whether the vendor is to be asked even for a finished session that is in memory.
    pub skips_cache: bool,
}

impl Terms {
    pub(super) fn asking(&self) -> Asking {
        Asking { call_stats: self.call_stats.clone(), cause: self.cause.clone() }
    }
}

/// On whose behalf requests are sent.
#[derive(Clone, Default)]
pub(super) struct Asking {
    /// What they add up to.
    pub call_stats: CallStats,
    /// What the traces say they are for.
    pub cause: Cause,
}
