//! `ListSystemLinks`.

use tonic::{Request, Response, Status};

use super::{Service, status, value};
use crate::{model, proto};

pub(super) async fn list(
    service: &Service,
    request: Request<proto::ListSystemLinksRequest>,
) -> Result<Response<proto::ListSystemLinksResponse>, Status> {
    let domain = status::checked("system_domain", request.get_ref().system_domain.parse())?;
    let credential = service.credential(&request)?;
    let _permit = service.concurrency.admit(&credential)?;
    let context = service.request_context(&request);

    let answer = service
        .client
        .system_links(&credential, &domain, context)
        .await
        .map_err(|error| status::of_system_links(&error))?;

    let system_links = answer.content.into_iter().map(to_proto).collect();
    Ok(Response::new(proto::ListSystemLinksResponse { system_links }))
}

fn to_proto(link: model::SystemLink) -> proto::SystemLink {
    let model::SystemLink {
        system_name,
        system_domain,
        user_email,
        user_token,
        callback_url,
        additional_fields,
    } = link;
    proto::SystemLink {
        system_name,
        system_domain,
        user_email,
        user_token,
        callback_url,
        additional_fields: value::optional_struct(&additional_fields),
    }
}
