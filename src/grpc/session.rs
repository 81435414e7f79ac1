//! `GetSession`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Service, optional_metadata, status, value};
use crate::{
    feed::Key,
    model::{self, Collaborator},
    proto,
    wire::Answer,
};

/// With this metadata, a caller accepts the latest answer of a running watch. The value is the
/// greatest age of the answer, such as `5s` or `500ms`. Without it, the service asks the vendor.
const MAX_STALENESS: &str = "max-staleness";

pub(super) async fn get(
    service: &Service,
    request: Request<proto::GetSessionRequest>,
) -> Result<Response<proto::GetSessionResponse>, Status> {
    let session = status::checked("session_id", request.get_ref().session_id.parse())?;
    service.note_session(&request, &session);
    let max_staleness = match optional_metadata(&request, MAX_STALENESS)? {
        None => None,
        Some(text) => Some(status::checked(MAX_STALENESS, humantime::parse_duration(text))?),
    };
    let credential = service.credential(&request)?;
    let _permit = service.concurrency.admit(&credential)?;
    let context = service.request_context(&request);

    let key = Key { credential, session };
    let watched = match max_staleness {
        None => None,
        Some(limit) => service.feed.latest(&key, limit).await,
    };
    let answer = if let Some(answer) = watched {
        answer
    } else {
        let answer = service.client.session(&key.credential, &key.session, context).await;
        let answer = answer
            .map_err(|error| status::of_session(&error, &key.session, &service.session_digests))?;
        service.feed.note_unary_answer(&key, &answer);
        answer
    };

    let Answer { content, observed_at } = answer;
    Ok(Response::new(proto::GetSessionResponse {
        session: Some(to_proto(Arc::unwrap_or_clone(content))),
        observed_at: Some(value::timestamp(observed_at)),
    }))
}

/// Converts a session to its message.
pub fn to_proto(session: model::Session) -> proto::Session {
    let status = status_to_proto(session.status()).into();
    // Destructured, so that a new field of the model cannot be forgotten here.
    let model::Session {
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
    proto::Session {
        session_id,
        session_type,
        status,
        upstream_status,
        account_key,
        expert_name,
        expert_email,
        expert_user_key,
        partner_object,
        partner_object_url,
        started_at: started_at.map(value::timestamp),
        customer_joined_at: customer_joined_at.map(value::timestamp),
        ended_at: ended_at.map(value::timestamp),
        unattended_machine_name,
        unattended_machine_uuid,
        account_name,
        customer_name,
        customer_email,
        customer_join_url,
        notes,
        session_recording_url,
        collaborators: collaborators.into_iter().map(collaborator_to_proto).collect(),
        additional_fields: value::optional_struct(&additional_fields),
    }
}

fn collaborator_to_proto(collaborator: Collaborator) -> proto::Collaborator {
    let Collaborator { name, email, user_key, additional_fields } = collaborator;
    let additional_fields = value::optional_struct(&additional_fields);
    proto::Collaborator { name, email, user_key, additional_fields }
}

/// Converts a status to its enum value.
pub(super) fn status_to_proto(status: model::Status) -> proto::SessionStatus {
    match status {
        model::Status::Unknown => proto::SessionStatus::Unspecified,
        model::Status::NotStarted => proto::SessionStatus::NotStarted,
        model::Status::Waiting => proto::SessionStatus::Waiting,
        model::Status::Active => proto::SessionStatus::Active,
        model::Status::Complete => proto::SessionStatus::Complete,
        model::Status::Abandoned => proto::SessionStatus::Abandoned,
    }
}

/// Converts an enum value to a status.
pub(super) fn status_from_proto(status: proto::SessionStatus) -> model::Status {
    match status {
        proto::SessionStatus::Unspecified => model::Status::Unknown,
        proto::SessionStatus::NotStarted => model::Status::NotStarted,
        proto::SessionStatus::Waiting => model::Status::Waiting,
        proto::SessionStatus::Active => model::Status::Active,
        proto::SessionStatus::Complete => model::Status::Complete,
        proto::SessionStatus::Abandoned => model::Status::Abandoned,
    }
}
