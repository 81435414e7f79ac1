//! A typed, streaming gRPC API in front of the `GoToAssist` Remote Support REST API.
//!
//! The modules, from the bottom up. Each uses only modules above it in this list
//! (`tests/it/tidy.rs` checks this):
//!
//! * [`config`] every setting, with its unit and default
//! * [`clock`] the time of day, also in tests
//! * [`file`] files that change all at once
//! * [`model`] a session, the order of its statuses, and its changes, without I/O
//! * [`trace`] spans for a collector of traces; only it uses `OpenTelemetry`
//! * [`wire`] the vendor's endpoints, JSON and errors; only it uses HTTP and JSON
//! * [`credential`] the credential of upstream requests, and the refresh of the service's own token
//! * [`fleet`] makes several replicas one client of the vendor
//! * [`traffic`] the traffic policy of upstream requests: quota, circuit breaker, retries, shared
//!   requests
//! * [`feed`] one poll for each watched session and credential
//! * [`proto`] the messages generated from the protos
//! * [`grpc`] the gRPC API; only it uses protobuf and gRPC
//! * [`admin`] the admin port: metrics, probes, status page
//! * [`callback`] the endpoint for the vendor's callbacks
//! * [`server`] starts the parts and stops them in order
//! * [`telemetry`] beside them: the log
//! * [`client`] beside them: the client behind `get`, `sessions`, `links`, `watch`
//! * [`simulator`] beside them: a simulated vendor
//! * [`command`] the commands of the binary
//!
//! The Cargo feature `client` builds [`proto`] and [`client`] alone, `simulator` the [`simulator`],
//! `service` the [`server`] and the modules it uses, and `command`, the default, everything.

#[cfg(feature = "service")]
pub mod admin;
#[cfg(feature = "service")]
pub mod callback;
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
pub mod file;
#[cfg(feature = "service")]
pub mod fleet;
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
