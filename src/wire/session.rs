//! The JSON of a session. The only place that knows the names of its fields.

use serde_json::value::RawValue;

use crate::{
    model::{Collaborator, ListedSession, Session, Status, validator},
    wire::{
        invalid_body::InvalidBody,
        json::{
            ADDITIONAL_FIELDS_LIMIT, JsonType, Object, body_text, elements, limit_size, string,
            type_of,
        },
    },
};

/// The most collaborators of one session. A longer list goes to the unknown fields.
const MAX_COLLABORATORS: usize = 1_000;

/// The name of the token in the list.
const START_TOKEN: &str = "sessionStartToken";

/// Decodes a session from any JSON object except an error object. [`crate::model::validator`] decides
/// whether it is the session that was asked for.
pub fn decode(body: &[u8]) -> Result<Session, InvalidBody> {
    decode_object(Object::parse(body_text(body)?)?)
}

/// Decodes an element of the list. It has an id, a start token or a status.
pub(crate) fn decode_listed(element: &[u8]) -> Result<ListedSession, InvalidBody> {
    let object = Object::parse(body_text(element)?)?;
    let start_token = object.get(START_TOKEN).and_then(|token| match type_of(token) {
        JsonType::String => Some(string(token)),
        JsonType::Number => Some(token.get().to_owned()),
        JsonType::Null | JsonType::Bool | JsonType::Array | JsonType::Object => None,
    });
    let start_token = start_token.filter(|token| !token.is_empty());
    let session = decode_object(object)?;
    if start_token.is_none() && session.session_id.is_empty() {
        validator::check(None, &session)?;
    }
    Ok(ListedSession { session, start_token })
}

fn decode_object(object: Object<'_>) -> Result<Session, InvalidBody> {
    if is_error_object(&object) {
        return Err(InvalidBody::ErrorObject);
    }
    let mut session = session(object);
    let mut left = limit_size(&mut session.additional_fields, ADDITIONAL_FIELDS_LIMIT);
    for collaborator in &mut session.collaborators {
        left = limit_size(&mut collaborator.additional_fields, left);
    }
    Ok(session)
}

/// Whether the object reports an error and does not look like a session with an id.
fn is_error_object(object: &Object<'_>) -> bool {
    let has = |name: &&str| object.get(name).is_some();
    let has_code = ["int_err_code", "errorCode"].iter().any(has);
    let has_text = ["message", "msg", "error"].iter().any(has);
    let status = object.get("status");
    match (has(&"sessionId"), status.is_some()) {
        (true, true) => false,
        (true, false) => has_code,
        (false, _) => {
            let is_documented = |status| Status::named(&string(status)) != Status::Unknown;
            (has_code || has_text) && !status.is_some_and(is_documented)
        }
    }
}

fn session(mut object: Object<'_>) -> Session {
    Session {
        session_id: object.text("sessionId").unwrap_or_default(),
        session_type: object.text("sessionType").unwrap_or_default(),
        upstream_status: object.text("status").unwrap_or_default(),
        account_key: object.text("accountKey").unwrap_or_default(),
        expert_name: object.text("expertName"),
        expert_email: object.text("expertEmail"),
        expert_user_key: object.text("expertUserKey"),
        partner_object: object.text("partnerObject"),
        partner_object_url: object.text("partnerObjectUrl"),
        started_at: object.timestamp("startedAt"),
        customer_joined_at: object.timestamp("customerJoinedAt"),
        ended_at: object.timestamp("endedAt"),
        unattended_machine_name: object.text("unattendedMachineName"),
        unattended_machine_uuid: object.text("unattendedMachineUuid"),
        account_name: object.text("accountName"),
        customer_name: object.text("customerName"),
        customer_email: object.text("customerEmail"),
        customer_join_url: object.text("customerJoinUrl"),
        notes: object.text("notes"),
        session_recording_url: object.text("sessionRecordingUrl"),
        collaborators: object.take("collaborators", collaborators).unwrap_or_default(),
        additional_fields: object.rest(),
    }
}

/// Reads all collaborators or none. If one cannot be read, the unknown fields keep the whole list.
fn collaborators(json: &RawValue) -> Option<Vec<Collaborator>> {
    let elements = elements(json.get()).ok()?;
    if elements.len() > MAX_COLLABORATORS {
        return None;
    }
    elements.into_iter().map(collaborator).collect()
}

/// The vendor does not document the form of a collaborator. This function accepts an object with
/// the names that the vendor uses elsewhere, a text that is a name or an e-mail address, and a
/// number that is a user key.
fn collaborator(json: &RawValue) -> Option<Collaborator> {
    let nobody = Collaborator::default();
    match type_of(json) {
        JsonType::String => Some(match string(json) {
            email if email.contains('@') => Collaborator { email, ..nobody },
            name => Collaborator { name, ..nobody },
        }),
        JsonType::Number => Some(Collaborator { user_key: json.get().to_owned(), ..nobody }),
        JsonType::Object => {
            let mut object = Object::parse(json.get()).ok()?;
            let mut text = |names: &[&str]| object.text_of_any(names).unwrap_or_default();
            Some(Collaborator {
                name: text(&["name", "expertName"]),
                email: text(&["email", "expertEmail"]),
                user_key: text(&["userKey", "expertUserKey"]),
                additional_fields: object.rest(),
            })
        }
        JsonType::Null | JsonType::Bool | JsonType::Array => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    fn read(json: &str) -> Session {
        decode(json.as_bytes()).unwrap()
    }

    #[test]
    fn keys_keep_every_digit_and_sign() {
        for digits in ["-1842200297248054807", "99999999999999999999", "0", "-0", "1e3", "00123"] {
            let quoted = format!(r#"{{"accountKey":"{digits}"}}"#);
            assert_eq!(read(&quoted).account_key, digits);
            if digits != "00123" {
                let bare = format!(r#"{{"accountKey":{digits}}}"#);
                assert_eq!(read(&bare).account_key, digits);
            }
        }
    }

    #[test]
    fn null_and_absent_are_the_same_and_an_unknown_status_is_kept() {
        let nulls = r#"{"status":"onHold","notes":null,"startedAt":null,"collaborators":null}"#;
        let session = read(nulls);
        assert_eq!(session, read(r#"{"status":"onHold"}"#));
        assert_eq!((session.status(), &*session.upstream_status), (Status::Unknown, "onHold"));
        assert_eq!(read("{}"), Session::default());
    }

    #[test]
    fn what_a_field_cannot_hold_is_kept_under_the_vendors_name() {
        let session = read(
            r#"{"notes":{"text":"x"},"startedAt":"soon","endedAt":7,"customerName":["a"],
               "expertName":true,"sessionStartToken":"t"}"#,
        );
        assert_eq!((session.notes, session.started_at, session.ended_at), (None, None, None));
        let kept: Vec<_> = session.additional_fields.keys().map(String::as_str).collect();
        assert_eq!(
            kept,
            ["customerName", "endedAt", "expertName", "notes", "sessionStartToken", "startedAt"]
        );
        assert_eq!(session.additional_fields["startedAt"], Value::Text("soon".to_owned()));
        assert_eq!(session.additional_fields["endedAt"], Value::Number(7.0));
    }

    #[test]
    fn collaborators_are_texts_keys_or_objects() {
        let session = read(
            r#"{"collaborators":["Ann","bob@example.com",17,
               {"name":"Cy","email":"cy@example.com","userKey":9999982253621659654,"role":"x"},
               {"expertName":"Di","expertEmail":null}]}"#,
        );
        let [ann, bob, key, cy, di] = &session.collaborators[..] else { panic!() };
        assert_eq!((ann.name.as_str(), bob.email.as_str()), ("Ann", "bob@example.com"));
        assert_eq!((key.user_key.as_str(), cy.user_key.as_str()), ("17", "9999982253621659654"));
        assert_eq!(cy.additional_fields["role"], Value::Text("x".to_owned()));
        assert_eq!(di.name, "Di");

        let odd = read(r#"{"collaborators":["Ann",null]}"#);
        assert!(odd.collaborators.is_empty());
        assert!(
            matches!(&odd.additional_fields["collaborators"], Value::List(all) if all.len() == 2)
        );
    }
}
