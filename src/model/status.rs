//! The statuses of a session and their order.

/// Where a session is in its life, as the vendor documents it. The set is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// None was sent, or one that the documentation does not name.
    Unknown,
    /// Created, never started by the technician.
    NotStarted,
    /// Waits for the customer to join.
    Waiting,
    /// The customer joined.
    Active,
    /// Ended after the customer had joined.
    Complete,
    /// Ended without any customer.
    Abandoned,
}

impl Status {
    /// Every status, in the order of a session's life.
    pub const ALL: [Status; 6] = [
        Status::Unknown,
        Status::NotStarted,
        Status::Waiting,
        Status::Active,
        Status::Complete,
        Status::Abandoned,
    ];

    /// The status that the vendor calls `text`.
    pub fn named(text: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.name() == text).unwrap_or(Status::Unknown)
    }

    /// What the vendor calls it; empty for [`Status::Unknown`].
    pub fn name(self) -> &'static str {
        match self {
            Status::Unknown => "",
            Status::NotStarted => "notStarted",
            Status::Waiting => "waiting",
            Status::Active => "active",
            Status::Complete => "complete",
            Status::Abandoned => "abandoned",
        }
    }

    /// The place in a session's life; a session never goes down. `None` for a status whose place
    /// nobody knows.
    pub fn rank(self) -> Option<u8> {
        match self {
            Status::Unknown => None,
            Status::NotStarted => Some(1),
            Status::Waiting => Some(2),
            Status::Active => Some(3),
            Status::Complete | Status::Abandoned => Some(4),
        }
    }

    /// Whether nothing can follow but late notes and the recording.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Complete | Status::Abandoned)
    }

    /// Whether a session that gets here must have been `earlier` before.
    ///
    /// From the vendor's meanings: `complete` is "ended after the customer joined", so it was
    /// active; whatever is past `notStarted` was waiting.
    pub(super) fn implies(self, earlier: Status) -> bool {
        match earlier {
            Status::Waiting => {
                matches!(self, Status::Active | Status::Complete | Status::Abandoned)
            }
            Status::Active => self == Status::Complete,
            _ => false,
        }
    }
}
