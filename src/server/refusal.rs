//! Gives a reason and details to what tonic refuses by itself, before any handler, as every error has them.

use http::{HeaderMap, HeaderName, Response};
use tonic::{Code, Status, body::Body};

use crate::grpc::status;

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Puts our refusal in place of tonic's, which has no details, and whose message may hold what the
/// caller sent.
pub(super) fn with_details(mut response: Response<Body>) -> Response<Body> {
    let Some(status) = status(response.headers()) else { return response };
    let encodings = response.headers_mut().remove(ACCEPT_ENCODING);
    let mut response = status.into_http();
    if let Some(encodings) = encodings {
        // Belongs to this refusal (gRPC's compression specification).
        response.headers_mut().insert(ACCEPT_ENCODING, encodings);
    }
    response
}

/// Our refusal, if these are the headers of one of tonic's. All that are ours have details.
fn status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(Status::GRPC_STATUS).filter(|_| !headers.contains_key(DETAILS))?;
    match Code::from_bytes(code.as_bytes()) {
        // grpc-go and grpc-java say RESOURCE_EXHAUSTED too.
        Code::OutOfRange => Some(status::message_too_large()),
        Code::Unimplemented if headers.contains_key(ACCEPT_ENCODING) => {
            Some(status::encoding_unsupported())
        }
        Code::Unimplemented => Some(status::method_unknown()),
        Code::Internal => Some(status::message_malformed()),
        _ => None,
    }
}
