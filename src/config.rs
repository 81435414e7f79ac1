//! Every knob, with its unit and default: one file a command. The only place that reads the
//! environment.

pub mod simulate;

pub use simulate::SimulateConfig;
