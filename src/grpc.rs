//! The north face: the only place that knows protobuf and gRPC.

pub mod code;
pub mod deadline;
pub mod health;
pub mod methods;
pub mod peer;
pub mod reason;
