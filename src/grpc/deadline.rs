//! When a caller stops waiting.

use tokio::time::Instant;

/// When the caller's `grpc-timeout` is over. In the extensions of a request that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);
