//! Hints that a session has changed. A hint only makes a poll come sooner. What is told is always the
//! answer of the session's own request.

use strum::IntoStaticStr;

/// Where a hint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum HintSource {
    /// The vendor called back.
    Callback,
    /// The vendor's list shows something that the latest answer does not.
    Sweep,
}

impl HintSource {
    /// All sources.
    pub const ALL: [Self; 2] = [Self::Callback, Self::Sweep];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
