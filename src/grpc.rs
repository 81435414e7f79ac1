//! The north face: the only place that knows protobuf and gRPC.

pub mod deadline;
