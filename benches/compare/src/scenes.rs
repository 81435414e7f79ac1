//! The scenes: what is measured. Each gives one table.

mod calls;
mod fan_out;
mod latency;
mod memory;
mod size;

use anyhow::Result;
use clap::ValueEnum;

use crate::{bench::Bench, report::Table};

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// CPU of `GetSession` if the vendor is asked each time.
    Upstream,
    /// CPU of `GetSession` if it is not.
    Shared,
    /// Time added to the vendor's own.
    Latency,
    /// Memory of an open watch.
    Memory,
    /// CPU of a change that goes to many watchers.
    FanOut,
    /// Binary, idle memory, time to start.
    Size,
}

impl Scene {
    /// The name of its table in the report.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Measures it.
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
