//! Runs the real binary as an operator does: checks, limits, metrics, redaction.

mod causes;
mod check;
mod collector;
mod deploy;
mod descriptors;
mod limits;
mod load;
mod log_level;
mod numbers;
mod redaction;
mod reload;
mod runbook;
mod session_digest;
mod stuck;
mod traces;

use crate::kit::{
    LIMIT,
    process::{Serve, binary, binary_after, can_bind_over, run},
    reason,
    request::{links, session, signed, watch},
    soon,
};
