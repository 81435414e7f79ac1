//! The `google.rpc.ErrorInfo` that every error carries.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of all reasons.
pub const DOMAIN: &str = "remotesupport.gotoassist";

/// An error with its reason, in `UPPER_SNAKE`, and one short sentence for people.
pub fn status(code: Code, reason: &'static str, sentence: &str) -> Status {
    Status::with_error_details(code, sentence, ErrorDetails::with_error_info(reason, DOMAIN, []))
}
