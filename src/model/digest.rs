//! Fingerprints of a session: of its content, of each field, of its id.

use std::sync::LazyLock;

use ring::digest::{Context, SHA256};

use super::{
    field::{Content, FIELD_COUNT, FieldSet, named_fields},
    session::{Collaborator, Session},
    value::{Fields, Value},
};

/// A fingerprint of a session's content: equal digests mean equal content.
///
/// It also holds a short fingerprint of each field. So the changed fields are known even if only
/// the digest of the earlier content is available. Resume tokens hold digests, so the encoding must
/// stay the same on every replica and in every release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The fingerprint of all fields: 128 bits, so that no collision is expected.
    pub content: [u8; 16],
    /// The fingerprint of each field, in the order of `session.proto`: 32 bits each.
    pub fields: [u32; FIELD_COUNT],
}

impl Digest {
    /// The fingerprint of `session`.
    pub fn of(session: &Session) -> Self {
        let mut whole = Context::new(&SHA256);
        let fields = named_fields(session).map(|(name, content)| {
            let field = fingerprint(name, &content);
            whole.update(field.as_ref());
            u32::from_be_bytes(head(field.as_ref()))
        });
        Self { content: head(whole.finish().as_ref()), fields }
    }

    /// The fields that differ in `after`. One change of a field in four billion goes unnoticed.
    pub fn changed(&self, after: &Digest) -> FieldSet {
        FieldSet::of_different(&self.fields, &after.fields)
    }

    /// The fields that are empty.
    pub fn absent(&self) -> FieldSet {
        FieldSet::ALL.without(self.changed(&EMPTY))
    }
}

/// The digest of a session without any field.
static EMPTY: LazyLock<Digest> = LazyLock::new(|| Digest::of(&Session::default()));

/// A fingerprint of the vendor's session id. It distinguishes sessions without revealing their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(u32);

impl Identity {
    /// The identity of a session, if it has an id.
    pub fn of(session: &Session) -> Option<Self> {
        (!session.session_id.is_empty()).then(|| Self::of_id(&session.session_id))
    }

    /// The identity of the session with this id. It is the fingerprint of that field.
    pub fn of_id(session_id: &str) -> Self {
        let field = fingerprint("session_id", &Content::Text(Some(session_id)));
        Self(u32::from_be_bytes(head(field.as_ref())))
    }

    /// The identity of the session that has this digest, if the session has an id.
    pub(super) fn of_digest(digest: &Digest) -> Option<Self> {
        let ([session_id, ..], [empty, ..]) = (digest.fields, EMPTY.fields);
        (session_id != empty).then_some(Self(session_id))
    }
}

fn fingerprint(name: &str, content: &Content<'_>) -> ring::digest::Digest {
    let mut hash = Hash(Context::new(&SHA256));
    hash.0.update(name.as_bytes());
    hash.content(content);
    hash.0.finish()
}

/// Encodes the content of a field, and hashes the encoding to a fingerprint.
struct Hash(Context);

impl Hash {
    fn content(&mut self, content: &Content<'_>) {
        match content {
            Content::Number(number) => self.0.update(&[*number]),
            Content::Text(None) | Content::Time(None) => self.0.update(&[0]),
            Content::Text(Some(text)) => {
                self.0.update(&[1]);
                self.text(text);
            }
            Content::Time(Some(time)) => {
                self.0.update(&[1]);
                self.0.update(&time.nanoseconds().to_be_bytes());
            }
            Content::Collaborators(collaborators) => {
                self.length(collaborators.len());
                for Collaborator { name, email, user_key, additional_fields } in *collaborators {
                    for text in [name, email, user_key] {
                        self.text(text);
                    }
                    self.fields(additional_fields);
                }
            }
            Content::Fields(fields) => self.fields(fields),
        }
    }

    fn fields(&mut self, fields: &Fields) {
        self.length(fields.len());
        for (name, value) in fields {
            self.text(name);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(&[0]),
            Value::Bool(answer) => self.0.update(&[1, u8::from(*answer)]),
            Value::Number(number) => {
                self.0.update(&[2]);
                self.0.update(&number.to_bits().to_be_bytes());
            }
            Value::Text(text) => {
                self.0.update(&[3]);
                self.text(text);
            }
            Value::List(values) => {
                self.0.update(&[4]);
                self.length(values.len());
                for value in values {
                    self.value(value);
                }
            }
            Value::Object(fields) => {
                self.0.update(&[5]);
                self.fields(fields);
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text.as_bytes());
    }

    fn length(&mut self, length: usize) {
        self.0.update(&(length as u64).to_be_bytes());
    }
}

/// The first bytes of a SHA-256 digest. The digest is longer than any `N` used here.
fn head<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&digest[..N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{field::changed_fields, time::UtcTime},
        *,
    };

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

        /// Equal digests mean equal content, and the changed fields are named.
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

    /// Resume tokens outlive releases. If this test fails, each older token leads to one needless
    /// CHANGED message.
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
