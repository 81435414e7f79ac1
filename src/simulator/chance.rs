//! What happens to some sessions and not to others: always to the same ones for the same seed.

use std::hash::{DefaultHasher, Hash, Hasher};

use fastrand::Rng;

/// Whether a session is among the given share of them. `what` is what happens to these.
pub(super) fn strikes(seed: u64, what: &str, id: &str, share: f64) -> bool {
    share > 0.0 && Rng::with_seed(hash(seed, what, id)).f64() < share
}

/// A number that depends on these only.
pub(super) fn hash(seed: u64, what: &str, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what, id).hash(&mut hasher);
    hasher.finish()
}
