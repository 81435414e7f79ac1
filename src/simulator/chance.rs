//! Chooses a share of the sessions. The same seed always chooses the same sessions.

use std::hash::{DefaultHasher, Hash, Hasher};

use fastrand::Rng;

/// Whether a session belongs to the chosen share of all sessions. `what` names the effect on the
/// chosen sessions, so that each effect chooses other ones.
pub(super) fn is_chosen(seed: u64, what: &str, id: &str, share: f64) -> bool {
    share > 0.0 && Rng::with_seed(hash(seed, what, id)).f64() < share
}

/// A number that depends only on the arguments.
pub(super) fn hash(seed: u64, what: &str, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what, id).hash(&mut hasher);
    hasher.finish()
}
