//! What an operator does with the real binary and sees of it: checks, limits, numbers, silence.

mod causes;
mod check;
mod collector;
mod descriptors;
mod limits;
mod load;
mod numbers;
mod redaction;
mod reload;
mod runbook;
mod stuck;
mod traces;

use crate::kit::{
    LIMIT,
    process::{Serve, binary, binary_after, can_bind_over, run},
    reason,
    request::{links, session, signed, watch},
    soon,
};
