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
//!
//! The Cargo feature `client` builds [`proto`] and [`client`] alone, `simulator` the [`simulator`],
//! `service` the [`server`] and all below it, and `command`, the default, everything.

#[cfg(feature = "service")]
pub mod admin;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "service", feature = "simulator"))]
pub mod clock;
#[cfg(feature = "command")]
pub mod command;
pub mod config;
#[cfg(feature = "service")]
pub mod credential;
#[cfg(feature = "service")]
pub mod feed;
#[cfg(feature = "service")]
pub mod grpc;
#[cfg(feature = "service")]
pub mod model;
#[cfg(any(feature = "client", feature = "service"))]
pub mod proto;
#[cfg(feature = "service")]
pub mod server;
#[cfg(feature = "simulator")]
pub mod simulator;
#[cfg(feature = "command")]
pub mod telemetry;
#[cfg(feature = "service")]
pub mod trace;
#[cfg(feature = "service")]
pub mod traffic;
#[cfg(feature = "service")]
pub mod wire;
