//! The statuses of a session, and their order.

/// The statuses that the vendor documents. The vendor may add others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// There is no status, or one that the vendor does not document.
    Unknown,
    /// The technician created the session, but did not start it.
    NotStarted,
    /// The session waits for the customer to join.
    Waiting,
    /// The customer joined.
    Active,
    /// The session ended after the customer had joined.
    Complete,
    /// The session ended without any customer.
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

    /// The status with this name, in any letter case and with any separators: `Active`, `NOT_STARTED`
    /// and `not-started` are recognised too.
    pub fn named(text: &str) -> Self {
        let is_named = |status: &Status| letters(status.name()).eq(letters(text));
        Self::ALL.into_iter().find(is_named).unwrap_or(Status::Unknown)
    }

    /// The vendor's name; empty for [`Status::Unknown`].
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

    /// The place of this status in the life of a session. The rank of a session never goes down.
    /// `None` for an unknown status.
    pub fn rank(self) -> Option<u8> {
        match self {
            Status::Unknown => None,
            Status::NotStarted => Some(1),
            Status::Waiting => Some(2),
            Status::Active => Some(3),
            Status::Complete | Status::Abandoned => Some(4),
        }
    }

    /// Whether the session is over. Only late notes and the recording can still come.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Complete | Status::Abandoned)
    }

    /// Whether a session with this status must have had the status `earlier` before.
    ///
    /// This follows from the meanings that the vendor documents. `complete` means "ended after the
    /// customer joined", so the session was active. Every session after `notStarted` was waiting.
    pub(super) fn implies(self, earlier: Status) -> bool {
        match earlier {
            Status::Waiting => {
                matches!(self, Status::Active | Status::Complete | Status::Abandoned)
            }
            Status::Active => self == Status::Complete,
            Status::Unknown | Status::NotStarted | Status::Complete | Status::Abandoned => false,
        }
    }
}

/// The characters that distinguish a status.
pub(super) fn letters(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .filter(|letter| !matches!(letter, '_' | '-') && !letter.is_whitespace())
        .flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_recognised_in_any_letter_case_and_with_any_separator() {
        for (texts, status) in [
            ("active|Active|ACTIVE ", Status::Active),
            ("notStarted|NOT_STARTED|not-started|Not Started", Status::NotStarted),
            ("COMPLETE", Status::Complete),
        ] {
            for text in texts.split('|') {
                assert_eq!(Status::named(text), status, "{text}");
            }
        }
        for text in ["", "-", "paused", "activated", "not", "inactive"] {
            assert_eq!(Status::named(text), Status::Unknown, "{text}");
        }
    }
}
