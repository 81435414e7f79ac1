//! Requests of callers.

use gotoassist_grpc::proto::{GetSessionRequest, ListSystemLinksRequest, WatchSessionRequest};
use tonic::Request;

/// `message` with a bearer token.
pub fn authorized<T>(token: &str, message: T) -> Request<T> {
    signed(message, &format!("Bearer {token}"))
}

/// `message` with any authorization.
pub fn signed<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    request
}

pub fn session(id: &str) -> GetSessionRequest {
    GetSessionRequest { session_id: id.to_owned() }
}

pub fn watch(id: &str) -> WatchSessionRequest {
    WatchSessionRequest { session_id: id.to_owned(), ..WatchSessionRequest::default() }
}

pub fn links(domain: &str) -> ListSystemLinksRequest {
    ListSystemLinksRequest { system_domain: domain.to_owned() }
}
