//! Every knob, with its unit and default: one file a command. The only place that reads the
//! environment.

pub mod credentials;
pub mod secret;
