//! `ListSessions`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Service, session, status, value};
use crate::{
    model::{ListQuery, SessionPage, session_page::StatusSet},
    proto,
    wire::Answer,
};

/// The default and the greatest page size.
const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1_000;

pub(super) async fn list(
    service: &Service,
    request: Request<proto::ListSessionsRequest>,
) -> Result<Response<proto::ListSessionsResponse>, Status> {
    let arguments = arguments(request.get_ref())?;
    let query = match &*request.get_ref().page_token {
        "" => arguments.clone(),
        token => {
            let decoded = service.page_tokens.decode(&arguments, token);
            let (window, after) = status::checked_page_token(decoded)?;
            let (from, to) = (Some(window.from), Some(window.to));
            ListQuery { from, to, after: Some(after), ..arguments }
        }
    };
    let window = query.window(service.clock.now());
    if window.from >= window.to {
        return Err(status::invalid("from_time", "must be before to_time"));
    }
    let credential = service.credential(&request)?;
    let _permit = service.concurrency.admit(&credential)?;
    let context = service.request_context(&request);

    let answer = service.client.list_sessions(&credential, &query, context).await;
    let answer = answer.map_err(|error| status::of_session_list(&error))?;

    let Answer { content, observed_at } = answer;
    let SessionPage { window, sessions, last } = Arc::unwrap_or_clone(content);
    let next = last.map(|last| service.page_tokens.encode(&arguments, window, &last));
    Ok(Response::new(proto::ListSessionsResponse {
        sessions: sessions.into_iter().map(|listed| session::to_proto(listed.session)).collect(),
        next_page_token: next.unwrap_or_default(),
        observed_at: Some(value::timestamp(observed_at)),
    }))
}

/// Parses all arguments except the page token.
fn arguments(request: &proto::ListSessionsRequest) -> Result<ListQuery, Status> {
    let proto::ListSessionsRequest { from_time, to_time, statuses, page_size, page_token: _ } =
        request;
    let time = |field, time: &Option<prost_types::Timestamp>| {
        status::checked(field, time.as_ref().map(value::time).transpose())
    };
    let page_size = match usize::try_from(*page_size) {
        Ok(0) => DEFAULT_PAGE_SIZE,
        Ok(size) => size.min(MAX_PAGE_SIZE),
        Err(_) => return Err(status::invalid("page_size", "must not be negative")),
    };
    let statuses = statuses.iter().map(|number| {
        let known = proto::SessionStatus::try_from(*number);
        known.map(session::status_from_proto).map_err(|_| "must be known")
    });
    Ok(ListQuery {
        from: time("from_time", from_time)?,
        to: time("to_time", to_time)?,
        statuses: status::checked("statuses", statuses.collect::<Result<StatusSet, _>>())?,
        page_size,
        after: None,
    })
}
