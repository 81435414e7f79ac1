//! A typed, streaming gRPC API in front of the `GoToAssist` Remote Support REST API.
//!
//! The rooms, from the ground up; each uses only what stands above it in this list
//! (`tests/it/tidy.rs` holds the ladder):
//!
//! * [`config`] every knob, with its unit and default
//! * [`clock`] what time it is, also in tests
//! * [`model`] what a session is, the order of its statuses, what changed: pure
//! * [`trace`] what a collector of traces is told: the only place that knows `OpenTelemetry`
//! * [`wire`] the vendor's endpoints, JSON and errors: the only place that knows HTTP and JSON
//! * [`credential`] by what right the vendor is asked; the service's own token, kept fresh
//! * [`traffic`] when the vendor may be asked: quota, circuit breaker, retries, shared requests
//! * [`feed`] what stays awake: one poll per watched session and credential
//! * [`proto`] the messages generated from the protos
//! * [`grpc`] the north face: the only place that knows protobuf and gRPC
//! * [`admin`] the operator's side: metrics, probes, status page
//! * [`server`] puts the parts together and takes them apart in order
//! * [`telemetry`] sets up the log
//! * [`client`] beside them: the small client behind `get`, `links`, `watch`
//! * [`simulator`] beside them: the vendor, played
//! * [`command`] what the binary does

pub mod admin;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod credential;
pub mod feed;
pub mod grpc;
pub mod model;
pub mod proto;
pub mod server;
pub mod simulator;
pub mod telemetry;
pub mod trace;
pub mod traffic;
pub mod wire;
