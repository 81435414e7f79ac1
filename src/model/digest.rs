//! What makes two sessions different: the content digest and the field diff.

use std::sync::LazyLock;

use ring::digest::{Context, SHA256};

use super::{
    Collaborator, FieldSet, Fields, Identity, Session, UtcTime, Value,
    field::{FIELD_COUNT, FIELD_NAMES},
};

/// A fingerprint of a session's content: equal digests mean equal content.
///
/// It also holds a short fingerprint of each field, so that a watcher of whom only the digest is
/// known can still be told which fields changed. The encoding behind it is part of the resume
/// token: the same on every replica and in every release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The fingerprint of the whole: 128 bits, no collision to be expected.
    pub content: [u8; 16],
    /// The fingerprint of each field, in the order of `session.proto`: 32 bits each.
    pub fields: [u32; FIELD_COUNT],
}

impl Digest {
    /// The fingerprint of `session`.
    pub fn of(session: &Session) -> Self {
        let mut whole = Context::new(&SHA256);
        let mut fields = [0; FIELD_COUNT];
        for ((name, content), short) in named_fields(session).into_iter().zip(&mut fields) {
            let field = fingerprint(name, &content);
            *short = u32::from_be_bytes(head(field.as_ref()));
            whole.update(field.as_ref());
        }
        Self { content: head(whole.finish().as_ref()), fields }
    }

    /// The fields in which the content behind `after` differs. A field goes unnoticed once in four
    /// thousand million changes.
    pub fn changed(&self, after: &Digest) -> FieldSet {
        FieldSet::of_different(&self.fields, &after.fields)
    }

    /// The fields that hold nothing.
    pub fn absent(&self) -> FieldSet {
        FieldSet::ALL.without(self.changed(&NOTHING))
    }

    /// The identity of the session, if it has an id.
    pub fn shown_identity(&self) -> Option<Identity> {
        let [session_id, ..] = self.fields;
        let [nothing, ..] = NOTHING.fields;
        (session_id != nothing).then_some(Identity(session_id))
    }

    /// The identity of the session with this id: the fingerprint of that field.
    pub(super) fn identity(session_id: &str) -> Identity {
        let [name, ..] = FIELD_NAMES;
        let field = fingerprint(name, &Content::Text(Some(session_id)));
        Identity(u32::from_be_bytes(head(field.as_ref())))
    }
}

/// The digest of a session that has no field.
static NOTHING: LazyLock<Digest> = LazyLock::new(|| Digest::of(&Session::default()));

/// The fields in which two sessions differ, by their names in `session.proto`.
pub fn changed_fields(before: &Session, after: &Session) -> Vec<&'static str> {
    let contents = |session| named_fields(session).map(|(_, content)| content);
    FieldSet::of_different(&contents(before), &contents(after)).names().collect()
}

fn fingerprint(name: &str, content: &Content<'_>) -> ring::digest::Digest {
    let mut hash = Context::new(&SHA256);
    hash.update(name.as_bytes());
    content.feed(&mut hash);
    hash.finish()
}

#[derive(PartialEq)]
enum Content<'a> {
    Number(u8),
    Text(Option<&'a str>),
    Time(Option<UtcTime>),
    Collaborators(&'a [Collaborator]),
    Fields(&'a Fields),
}

fn named_fields(session: &Session) -> [(&'static str, Content<'_>); FIELD_COUNT] {
    // Destructured, so that a field added to Session cannot be forgotten here.
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
    let contents = [
        Content::Text(Some(session_id)),
        Content::Text(Some(session_type)),
        Content::Number(session.status() as u8),
        Content::Text(Some(upstream_status)),
        Content::Text(Some(account_key)),
        Content::Text(expert_name.as_deref()),
        Content::Text(expert_email.as_deref()),
        Content::Text(expert_user_key.as_deref()),
        Content::Text(partner_object.as_deref()),
        Content::Text(partner_object_url.as_deref()),
        Content::Time(*started_at),
        Content::Time(*customer_joined_at),
        Content::Time(*ended_at),
        Content::Text(unattended_machine_name.as_deref()),
        Content::Text(unattended_machine_uuid.as_deref()),
        Content::Text(account_name.as_deref()),
        Content::Text(customer_name.as_deref()),
        Content::Text(customer_email.as_deref()),
        Content::Text(customer_join_url.as_deref()),
        Content::Text(notes.as_deref()),
        Content::Text(session_recording_url.as_deref()),
        Content::Collaborators(collaborators),
        Content::Fields(additional_fields),
    ];
    let mut names = FIELD_NAMES.into_iter();
    contents.map(|content| (names.next().unwrap_or_default(), content))
}

impl Content<'_> {
    fn feed(&self, context: &mut Context) {
        match self {
            Content::Number(number) => context.update(&[*number]),
            Content::Text(None) | Content::Time(None) => context.update(&[0]),
            Content::Text(Some(text)) => {
                context.update(&[1]);
                feed_text(text, context);
            }
            Content::Time(Some(time)) => {
                context.update(&[1]);
                context.update(&time.nanoseconds().to_be_bytes());
            }
            Content::Collaborators(collaborators) => {
                feed_length(collaborators.len(), context);
                for Collaborator { name, email, user_key, additional_fields } in *collaborators {
                    feed_text(name, context);
                    feed_text(email, context);
                    feed_text(user_key, context);
                    feed_fields(additional_fields, context);
                }
            }
            Content::Fields(fields) => feed_fields(fields, context),
        }
    }
}

fn feed_fields(fields: &Fields, context: &mut Context) {
    feed_length(fields.len(), context);
    for (name, value) in fields {
        feed_text(name, context);
        feed_value(value, context);
    }
}

fn feed_value(value: &Value, context: &mut Context) {
    match value {
        Value::Null => context.update(&[0]),
        Value::Bool(answer) => context.update(&[1, u8::from(*answer)]),
        Value::Number(number) => {
            context.update(&[2]);
            context.update(&number.to_bits().to_be_bytes());
        }
        Value::Text(text) => {
            context.update(&[3]);
            feed_text(text, context);
        }
        Value::List(values) => {
            context.update(&[4]);
            feed_length(values.len(), context);
            for value in values {
                feed_value(value, context);
            }
        }
        Value::Object(fields) => {
            context.update(&[5]);
            feed_fields(fields, context);
        }
    }
}

fn feed_text(text: &str, context: &mut Context) {
    feed_length(text.len(), context);
    context.update(text.as_bytes());
}

fn feed_length(length: usize, context: &mut Context) {
    context.update(&(length as u64).to_be_bytes());
}

/// The first bytes of a digest, which is longer than any `N` used here.
fn head<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&digest[..N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alter(session: &mut Session, field: usize, text: &str) {
        let time = || UtcTime::from_nanoseconds(i128::try_from(text.len()).unwrap());
        let text = || text.to_owned();
        match field {
            0 => session.session_id = text(),
            1 => session.session_type = text(),
            2 => session.upstream_status = format!("other {}", text()),
            3 => session.account_key = text(),
            4 => session.expert_name = Some(text()),
            5 => session.expert_email = Some(text()),
            6 => session.expert_user_key = Some(text()),
            7 => session.partner_object = Some(text()),
            8 => session.partner_object_url = Some(text()),
            9 => session.started_at = time(),
            10 => session.customer_joined_at = time(),
            11 => session.ended_at = time(),
            12 => session.unattended_machine_name = Some(text()),
            13 => session.unattended_machine_uuid = Some(text()),
            14 => session.account_name = Some(text()),
            15 => session.customer_name = Some(text()),
            16 => session.customer_email = Some(text()),
            17 => session.customer_join_url = Some(text()),
            18 => session.notes = Some(text()),
            19 => session.session_recording_url = Some(text()),
            20 => {
                let name = text();
                session.collaborators.push(Collaborator { name, ..Collaborator::default() });
            }
            _ => drop(session.additional_fields.insert(text(), Value::Text(text()))),
        }
    }

    const FIELDS: usize = 22;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Equal digests mean equal content, and what changed is named.
        #[test]
        fn a_digest_tells_contents_apart(
            first in prop::collection::vec((0..FIELDS, "[a-z]{0,3}"), 0..6),
            second in prop::collection::vec((0..FIELDS, "[a-z]{0,3}"), 0..6),
        ) {
            let make = |changes: &[(usize, String)]| {
                let mut session = Session::default();
                for (field, text) in changes {
                    alter(&mut session, *field, text);
                }
                session
            };
            let (first, second) = (make(&first), make(&second));
            let (before, after) = (Digest::of(&first), Digest::of(&second));
            prop_assert_eq!(before.content == after.content, first == second);
            let named: Vec<_> = before.changed(&after).names().collect();
            prop_assert_eq!(named, changed_fields(&first, &second));
            prop_assert_eq!(changed_fields(&first, &second).is_empty(), first == second);
        }
    }

    /// Resume tokens outlive releases: if this fails, tokens from before give one needless CHANGED.
    #[test]
    fn the_digest_of_a_session_does_not_change_with_the_program() {
        let session = Session {
            session_id: "250040353".to_owned(),
            upstream_status: "active".to_owned(),
            notes: Some("n".to_owned()),
            ..Session::default()
        };
        let digest = Digest::of(&session);
        let content = u128::from_be_bytes(digest.content);
        assert_eq!(content, 0x2834_a013_a4ef_423b_f068_0ed3_2c40_bc80);
    }
}
