//! Adds a reason and details to the errors that tonic itself returns before any handler runs. All
//! errors of the API have them.

use http::{HeaderMap, HeaderName, Response};
use tonic::{Code, Status, body::Body};

use crate::grpc::status;

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Replaces an error of tonic with our own. tonic's errors have no details, and their messages may
/// contain data of the caller.
pub(super) fn with_details(mut response: Response<Body>) -> Response<Body> {
    let Some(status) = status(response.headers()) else { return response };
    let encodings = response.headers_mut().remove(ACCEPT_ENCODING);
    let mut response = status.into_http();
    if let Some(encodings) = encodings {
        // gRPC's compression specification requires this header in this error.
        response.headers_mut().insert(ACCEPT_ENCODING, encodings);
    }
    response
}

/// Returns our error if these headers are an error of tonic. All our own errors have details.
fn status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(Status::GRPC_STATUS).filter(|_| !headers.contains_key(DETAILS))?;
    match Code::from_bytes(code.as_bytes()) {
        // grpc-go and grpc-java also use RESOURCE_EXHAUSTED.
        Code::OutOfRange => Some(status::message_too_large()),
        Code::Unimplemented if headers.contains_key(ACCEPT_ENCODING) => {
            Some(status::encoding_unsupported())
        }
        Code::Unimplemented => Some(status::method_unknown()),
        Code::Internal => Some(status::message_malformed()),
        _ => None,
    }
}
