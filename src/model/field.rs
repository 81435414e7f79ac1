//! The fields of a session by their names, and sets of them.

/// How many fields of a session are told apart.
pub const FIELD_COUNT: usize = 23;

/// Their names in `session.proto`, in its order.
pub(super) const FIELD_NAMES: [&str; FIELD_COUNT] = [
    "session_id",
    "session_type",
    "status",
    "upstream_status",
    "account_key",
    "expert_name",
    "expert_email",
    "expert_user_key",
    "partner_object",
    "partner_object_url",
    "started_at",
    "customer_joined_at",
    "ended_at",
    "unattended_machine_name",
    "unattended_machine_uuid",
    "account_name",
    "customer_name",
    "customer_email",
    "customer_join_url",
    "notes",
    "session_recording_url",
    "collaborators",
    "additional_fields",
];

/// Some of the fields of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u32);

impl FieldSet {
    /// No field.
    pub const NONE: Self = Self(0);
    /// Every field.
    pub const ALL: Self = Self((1 << FIELD_COUNT) - 1);
    /// The fields that the schema does not name.
    pub const ADDITIONAL_FIELDS: Self = Self(1 << (FIELD_COUNT - 1));
    /// What tells the course of the session: its id, its statuses and their times.
    pub const COURSE: Self = Self(0b1_1100_0000_1101);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Whether all of them are in `other`.
    pub fn is_subset_of(self, other: Self) -> bool {
        self.without(other).is_empty()
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// These and those in `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in `other` too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Their names in `session.proto`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FIELD_NAMES
            .into_iter()
            .enumerate()
            .filter(move |(place, _)| self.0 & (1 << place) != 0)
            .map(|(_, name)| name)
    }

    pub(super) fn of_different<T: PartialEq>(
        before: &[T; FIELD_COUNT],
        after: &[T; FIELD_COUNT],
    ) -> Self {
        let different = before.iter().zip(after).map(|(before, after)| before != after);
        Self(different.enumerate().fold(0, |set, (place, is)| set | (u32::from(is) << place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_of_a_session_is_its_id_statuses_and_times() {
        let names = ["session_id", "status", "upstream_status"];
        let times = ["started_at", "customer_joined_at", "ended_at"];
        assert!(FieldSet::COURSE.names().eq(names.into_iter().chain(times)));
    }
}
