//! The fields of a session by their names in `session.proto`, and sets of fields.

use std::sync::LazyLock;

use super::{
    session::{Collaborator, Session},
    time::UtcTime,
    value::Fields,
};

/// The number of fields.
pub const FIELD_COUNT: usize = 23;

/// The content of one field.
#[derive(PartialEq)]
pub(crate) enum Content<'a> {
    Number(u8),
    Text(Option<&'a str>),
    Time(Option<UtcTime>),
    Collaborators(&'a [Collaborator]),
    Fields(&'a Fields),
}

/// The fields of a session with their names, in the order of `session.proto`.
pub(crate) fn named_fields(session: &Session) -> [(&'static str, Content<'_>); FIELD_COUNT] {
    // A new field of `Session` must be added here. Otherwise this does not compile.
    let Session {
        session_id,
        session_type,
        upstream_status,
        account_key,
        expert_name,
        expert_email,
        expert_user_key,
        partner_object,
        partner_object_url,
        started_at,
        customer_joined_at,
        ended_at,
        unattended_machine_name,
        unattended_machine_uuid,
        account_name,
        customer_name,
        customer_email,
        customer_join_url,
        notes,
        session_recording_url,
        collaborators,
        additional_fields,
    } = session;
    [
        ("session_id", Content::Text(Some(session_id))),
        ("session_type", Content::Text(Some(session_type))),
        ("status", Content::Number(session.status() as u8)),
        ("upstream_status", Content::Text(Some(upstream_status))),
        ("account_key", Content::Text(Some(account_key))),
        ("expert_name", Content::Text(expert_name.as_deref())),
        ("expert_email", Content::Text(expert_email.as_deref())),
        ("expert_user_key", Content::Text(expert_user_key.as_deref())),
        ("partner_object", Content::Text(partner_object.as_deref())),
        ("partner_object_url", Content::Text(partner_object_url.as_deref())),
        ("started_at", Content::Time(*started_at)),
        ("customer_joined_at", Content::Time(*customer_joined_at)),
        ("ended_at", Content::Time(*ended_at)),
        ("unattended_machine_name", Content::Text(unattended_machine_name.as_deref())),
        ("unattended_machine_uuid", Content::Text(unattended_machine_uuid.as_deref())),
        ("account_name", Content::Text(account_name.as_deref())),
        ("customer_name", Content::Text(customer_name.as_deref())),
        ("customer_email", Content::Text(customer_email.as_deref())),
        ("customer_join_url", Content::Text(customer_join_url.as_deref())),
        ("notes", Content::Text(notes.as_deref())),
        ("session_recording_url", Content::Text(session_recording_url.as_deref())),
        ("collaborators", Content::Collaborators(collaborators)),
        ("additional_fields", Content::Fields(additional_fields)),
    ]
}

static NAMES: LazyLock<[&str; FIELD_COUNT]> =
    LazyLock::new(|| named_fields(&Session::default()).map(|(name, _)| name));

/// The names of the fields in which two sessions differ.
pub fn changed_fields(before: &Session, after: &Session) -> Vec<&'static str> {
    FieldSet::of_different(&named_fields(before), &named_fields(after)).names().collect()
}

/// A set of fields of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u32);

impl FieldSet {
    /// No field.
    pub const NONE: Self = Self(0);
    /// Every field.
    pub const ALL: Self = Self((1 << FIELD_COUNT) - 1);
    /// The field that holds the unknown fields.
    pub const ADDITIONAL_FIELDS: Self = Self(1 << (FIELD_COUNT - 1));
    /// The fields that show the progress of the session: its id, its status and its times.
    pub const COURSE: Self = Self(0b1_1100_0000_1101);

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Whether all fields of this set are in `other` too.
    pub fn is_subset_of(self, other: Self) -> bool {
        self.without(other).is_empty()
    }

    /// The fields that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The fields of both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The fields that are in `other` too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names in `session.proto`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(i, _)| self.0 & (1 << i) != 0).map(|(_, name)| *name)
    }

    pub(super) fn of_different<T: PartialEq>(
        before: &[T; FIELD_COUNT],
        after: &[T; FIELD_COUNT],
    ) -> Self {
        let different = before.iter().zip(after).map(|(before, after)| before != after);
        Self(different.enumerate().fold(0, |set, (i, differs)| set | (u32::from(differs) << i)))
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
