//! The metrics of callbacks.

use metrics::{counter, describe_counter};
use strum::{IntoStaticStr, VariantNames};

use super::pace::Offer;

const CALLBACKS: &str = "gotoassist_callbacks_total";
const OLDER_SECRET: &str = "gotoassist_callbacks_with_older_secret_total";

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CallbackResult {
    /// It wakes the polls of a session, at once or at the session's turn.
    Accepted,
    /// A hint for the same session already waits for its turn.
    Merged,
    /// Too many sessions wait for their turn.
    RateLimited,
    /// The body names no session.
    Unreadable,
    /// The body is too large.
    TooLarge,
    /// The body did not arrive in time.
    Incomplete,
    /// The method is not POST.
    WrongMethod,
    /// The secret is wrong or missing.
    WrongSecret,
    /// It is for another path.
    WrongPath,
}

impl From<Offer> for CallbackResult {
    fn from(offer: Offer) -> Self {
        match offer {
            Offer::Accepted => Self::Accepted,
            Offer::Merged => Self::Merged,
            Offer::Refused => Self::RateLimited,
        }
    }
}

/// Describes the metrics. Has no effect before a recorder is installed.
pub(super) fn describe() {
    describe_counter!(CALLBACKS, "Requests at the endpoint for callbacks, by result");
    describe_counter!(OLDER_SECRET, "Callbacks with a secret that is not the newest");
    // Otherwise no alert would see the first event.
    for result in CallbackResult::VARIANTS {
        counter!(CALLBACKS, "result" => *result).increment(0);
    }
    counter!(OLDER_SECRET).increment(0);
}

pub(super) fn count(result: CallbackResult) {
    counter!(CALLBACKS, "result" => <&'static str>::from(result)).increment(1);
}

pub(super) fn count_older_secret() {
    counter!(OLDER_SECRET).increment(1);
}
