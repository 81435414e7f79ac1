//! An access token of the service, and whether it has worked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::HeaderValue;

/// An access token of the service. Its header is marked sensitive, so `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Authorization {
    header: HeaderValue,
    pub(super) generation: u64,
    /// Whether a request with it has succeeded. All clones share it.
    has_worked: Arc<AtomicBool>,
}

impl Authorization {
    pub(super) fn new(header: HeaderValue, generation: u64) -> Self {
        Self { header, generation, has_worked: Arc::default() }
    }

    /// The value of the `authorization` header, marked sensitive.
    pub fn header_value(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Notes that a request with this token succeeded. A later refusal then does not mean that the
    /// user has no seat.
    pub(crate) fn note_success(&self) {
        self.has_worked.store(true, Ordering::Relaxed);
    }

    /// Whether a request with this token has succeeded.
    pub(crate) fn has_worked(&self) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }
}
