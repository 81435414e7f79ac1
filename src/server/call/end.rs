//! How a call ended, and what that means to an operator.

use tonic::Code;
use tonic_types::ErrorInfo;

use crate::grpc::{code, status};

/// What the error of a call says about itself.
pub(super) struct Why {
    pub reason: String,
    /// What was wrong with the connection to the vendor, if that is why.
    pub cause: Option<String>,
}

impl Why {
    pub fn of(mut info: ErrorInfo) -> Self {
        Self { cause: info.metadata.remove("cause"), reason: info.reason }
    }
}

/// What an end means to an operator.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// All is well: OK, or an end that was planned.
    Fine,
    /// The caller is at fault, or nobody.
    Refused,
    /// The service or the vendor is at fault.
    Failed,
}

impl Verdict {
    pub fn of(code: Code, why: Option<&Why>) -> Self {
        if code == Code::Ok || why.is_some_and(|why| status::is_planned(&why.reason)) {
            Self::Fine
        } else if code::is_fault(code) {
            Self::Failed
        } else {
            Self::Refused
        }
    }
}
