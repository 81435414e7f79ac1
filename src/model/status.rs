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

    /// The status that the vendor calls `text`, whatever its letter case and separators: `Active`,
    /// `NOT_STARTED` and `not-started` are recognised too.
    pub fn named(text: &str) -> Self {
        let is_named = |status: &Status| letters(status.name()).eq(letters(text));
        Self::ALL.into_iter().find(is_named).unwrap_or(Status::Unknown)
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

/// The characters of a status that tell it from others.
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
        for (text, status) in [
            ("active", Status::Active),
            ("Active", Status::Active),
            ("ACTIVE ", Status::Active),
            ("notStarted", Status::NotStarted),
            ("NOT_STARTED", Status::NotStarted),
            ("not-started", Status::NotStarted),
            ("Not Started", Status::NotStarted),
            ("COMPLETE", Status::Complete),
        ] {
            assert_eq!(Status::named(text), status, "{text}");
        }
        for text in ["", "-", "paused", "activated", "not", "inactive"] {
            assert_eq!(Status::named(text), Status::Unknown, "{text}");
        }
    }
}
