//! What is answered to a message that is too large.

use http::Response;
use tonic::{Code, Status, body::Body};

use crate::grpc::status;

/// Puts our refusal in place of tonic's `OUT_OF_RANGE`, which nobody else here answers with.
pub(super) fn tell(response: Response<Body>) -> Response<Body> {
    let code = response.headers().get(Status::GRPC_STATUS);
    let code = code.map(|code| Code::from_bytes(code.as_bytes()));
    if code == Some(Code::OutOfRange) { status::message_too_large().into_http() } else { response }
}
