//! The scenes of the comparison. Each measures one thing and prints one table.

mod calls;
mod fan_out;
mod latency;
mod memory;
mod size;

use anyhow::Result;
use clap::ValueEnum;

use crate::{bench::Bench, report::Table};

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// CPU time of `GetSession` with an upstream request for each call.
    Upstream,
    /// CPU time of `GetSession` without an upstream request for each call.
    Shared,
    /// Latency added to the vendor's own.
    Latency,
    /// Memory of an open watch.
    Memory,
    /// CPU time of an update to many watchers.
    FanOut,
    /// Binary size, idle memory, time to start.
    Size,
}

impl Scene {
    /// The name of its table in the report.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Runs the measurement.
    pub async fn measure(self, bench: &Bench) -> Result<Table> {
        match self {
            Self::Upstream => calls::upstream(bench).await,
            Self::Shared => calls::shared(bench).await,
            Self::Latency => latency::latency(bench).await,
            Self::Memory => memory::memory(bench).await,
            Self::FanOut => fan_out::fan_out(bench).await,
            Self::Size => size::size(bench).await,
        }
    }
}
