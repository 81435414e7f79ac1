//! Every knob, with its unit and default: one file a command. The only place that reads the
//! environment.

pub mod listen;
pub mod telemetry;
pub mod tls;
pub mod upstream;

pub use upstream::{QuotaScope, UpstreamConfig};
