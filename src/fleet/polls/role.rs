//! The parts that a replica can have in the poll of a session.

use super::link::Membership;

/// Who asks the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// This replica, because it has reached no other.
    Alone,
    /// It is not known yet.
    Joining(Membership),
    /// This replica, by its lease with this fencing number.
    Holder(Membership, u64),
    /// The replica of this name. `None` if the lease was released a moment ago.
    Follower(Membership, Option<String>),
}

impl Role {
    /// The name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Joining(_) => "joining",
            Self::Holder(..) => "holder",
            Self::Follower(..) => "follower",
        }
    }
}
