//! A typed, streaming gRPC API in front of the `GoToAssist` Remote Support REST API.
//!
//! The rooms, from the ground up; each uses only what stands above it in this list
//! (`tests/it/tidy.rs` holds the ladder):
//!
//! * [`config`] every knob, with its unit and default
//! * [`clock`] what time it is, also in tests
//! * [`model`] what a session is, the order of its statuses, what changed: pure
//! * [`rest`] the south face: the only place that knows HTTP and JSON
//! * [`feed`] what stays awake: one poll per watched session and credential
//! * [`proto`] the messages generated from the protos
//! * [`grpc`] the north face: the only place that knows protobuf and gRPC
//! * [`server`] puts the parts together and takes them apart in order
//! * [`client`] beside them: the small client behind `get`, `links`, `watch`
//! * [`simulator`] beside them: the vendor, played
//! * [`command`] what the binary does

pub mod clock;
pub mod config;
pub mod grpc;
pub mod model;
pub mod proto;
pub mod rest;
