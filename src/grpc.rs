//! The north face: the only place that knows protobuf and gRPC.

pub mod deadline;
pub mod health;
pub mod reason;
