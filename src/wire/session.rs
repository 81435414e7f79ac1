//! A session as the vendor writes it. The only place that knows its JSON names.

use serde_json::value::RawValue;

use crate::{
    model::{Collaborator, Session, Status},
    wire::json::{
        ADDITIONAL_FIELDS_LIMIT, Kind, Malformed, Members, bound, elements, kind, text, unquoted,
    },
};

/// Collaborators of one session; with more, the field counts as unreadable.
const COLLABORATOR_LIMIT: usize = 1_000;

/// Reads a session from any JSON object but an error object. Whether it is believed is decided by
/// [`crate::model::validator`].
pub fn decode(body: &[u8]) -> Result<Session, Malformed> {
    let members = Members::of(text(body)?)?;
    if is_error_object(&members) {
        return Err(Malformed::ErrorObject);
    }
    let mut session = session(members);
    let mut left = bound(&mut session.additional_fields, ADDITIONAL_FIELDS_LIMIT);
    for collaborator in &mut session.collaborators {
        left = bound(&mut collaborator.additional_fields, left);
    }
    Ok(session)
}

/// Whether it says what went wrong, and does not show a session with its id.
fn is_error_object(members: &Members<'_>) -> bool {
    const CODES: [&str; 2] = ["int_err_code", "errorCode"];
    const TEXTS: [&str; 3] = ["message", "msg", "error"];
    let has_any = |names: &[&str]| names.iter().any(|name| members.has(name));
    let is_documented = || {
        let status = members.peek_text("status").unwrap_or_default();
        Status::named(&status) != Status::Unknown
    };
    match (members.has("sessionId"), members.has("status")) {
        (true, true) => false,
        (true, false) => has_any(&CODES),
        (false, _) => (has_any(&CODES) || has_any(&TEXTS)) && !is_documented(),
    }
}

fn session(mut members: Members<'_>) -> Session {
    Session {
        session_id: members.text("sessionId").unwrap_or_default(),
        session_type: members.text("sessionType").unwrap_or_default(),
        upstream_status: members.text("status").unwrap_or_default(),
        account_key: members.text("accountKey").unwrap_or_default(),
        expert_name: members.text("expertName"),
        expert_email: members.text("expertEmail"),
        expert_user_key: members.text("expertUserKey"),
        partner_object: members.text("partnerObject"),
        partner_object_url: members.text("partnerObjectUrl"),
        started_at: members.timestamp("startedAt"),
        customer_joined_at: members.timestamp("customerJoinedAt"),
        ended_at: members.timestamp("endedAt"),
        unattended_machine_name: members.text("unattendedMachineName"),
        unattended_machine_uuid: members.text("unattendedMachineUuid"),
        account_name: members.text("accountName"),
        customer_name: members.text("customerName"),
        customer_email: members.text("customerEmail"),
        customer_join_url: members.text("customerJoinUrl"),
        notes: members.text("notes"),
        session_recording_url: members.text("sessionRecordingUrl"),
        collaborators: members.take("collaborators", collaborators).unwrap_or_default(),
        additional_fields: members.rest(),
    }
}

/// All of them or none, so that what cannot be read is kept whole.
fn collaborators(json: &RawValue) -> Option<Vec<Collaborator>> {
    let elements = elements(json.get()).ok()?;
    if elements.len() > COLLABORATOR_LIMIT {
        return None;
    }
    elements.into_iter().map(collaborator).collect()
}

/// The vendor does not document the shape: an object with the names it uses elsewhere, a text that
/// is a name or an e-mail address, or a user key.
fn collaborator(json: &RawValue) -> Option<Collaborator> {
    match kind(json) {
        Kind::Text => {
            let text = unquoted(json).into_owned();
            Some(if text.contains('@') {
                Collaborator { email: text, ..Collaborator::default() }
            } else {
                Collaborator { name: text, ..Collaborator::default() }
            })
        }
        Kind::Number => {
            Some(Collaborator { user_key: json.get().to_owned(), ..Collaborator::default() })
        }
        Kind::Object => {
            let mut members = Members::of(json.get()).ok()?;
            Some(Collaborator {
                name: members.text_of_any(&["name", "expertName"]).unwrap_or_default(),
                email: members.text_of_any(&["email", "expertEmail"]).unwrap_or_default(),
                user_key: members.text_of_any(&["userKey", "expertUserKey"]).unwrap_or_default(),
                additional_fields: members.rest(),
            })
        }
        Kind::Null | Kind::Bool | Kind::List => None,
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
    fn a_session_with_every_documented_field_leaves_nothing_over() {
        let session = read(
            r#"{
            "sessionId": 250040353, "sessionType": "screen_sharing", "status": "complete",
            "accountKey": 9999982253621659654, "expertName": "E", "expertEmail": "e@example.com",
            "expertUserKey": "1842200297248054807", "partnerObject": 42,
            "partnerObjectUrl": "https://p.example/42",
            "startedAt": "2021-04-30T06:00:00Z", "customerJoinedAt": "2021-04-30T06:01:00.5+00:00",
            "endedAt": "2021-04-30T06:30:00+0000",
            "unattendedMachineName": "M", "unattendedMachineUuid": "U", "accountName": "A",
            "customerName": "C", "customerEmail": "c@example.com",
            "customerJoinUrl": "https://j.example", "notes": "line\nbreak \"quoted\"",
            "sessionRecordingUrl": "https://r.example", "collaborators": []
            }"#,
        );
        assert_eq!(session.session_id, "250040353");
        assert_eq!(session.status(), Status::Complete);
        assert_eq!(session.account_key, "9999982253621659654");
        assert_eq!(session.expert_user_key.as_deref(), Some("1842200297248054807"));
        assert_eq!(session.partner_object.as_deref(), Some("42"));
        assert_eq!(session.notes.as_deref(), Some("line\nbreak \"quoted\""));
        assert_eq!(session.ended_at.unwrap().to_timestamp().to_string(), "2021-04-30T06:30:00Z");
        assert!(session.additional_fields.is_empty());
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
        let session =
            read(r#"{"status":"onHold","notes":null,"startedAt":null,"collaborators":null}"#);
        assert_eq!(session, read(r#"{"status":"onHold"}"#));
        assert_eq!(
            (session.status(), session.upstream_status.as_str()),
            (Status::Unknown, "onHold")
        );
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
