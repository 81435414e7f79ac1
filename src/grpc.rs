//! The north face: the gRPC API. The only place that knows protobuf and gRPC.

pub mod caller;
