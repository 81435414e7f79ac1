//! A session as the vendor writes it. The only place that knows its JSON names.

use serde_json::value::RawValue;

use super::lenient::{Kind, Malformed, Members, elements, kind, text, unquoted};
use crate::model::{Collaborator, Session};

/// Reads a session: any JSON object is one.
pub(super) fn decode(body: &[u8]) -> Result<Session, Malformed> {
    let mut members = Members::of(text(body)?)?;
    Ok(Session {
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
    })
}

/// All of them or none, so that what cannot be read is kept whole.
fn collaborators(json: &RawValue) -> Option<Vec<Collaborator>> {
    elements(json.get()).ok()?.into_iter().map(collaborator).collect()
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
