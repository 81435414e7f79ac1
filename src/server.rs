//! Puts the parts together and takes them apart in order. The only place, beside the polls, that
//! starts tasks.

pub mod accept;
pub mod call;
pub mod connection;
pub mod deadline;
pub mod listen;
pub mod panic;
pub mod tls;
