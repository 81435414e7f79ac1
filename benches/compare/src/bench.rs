//! Shared parts of the scenes: the peers, the vendor, and the figures of many rounds.

use std::path::PathBuf;

use anyhow::Result;

use crate::peers::{Peer, Programs, Running, Vendor};

/// Rounds of each peer in a scene. The result is the median.
pub const ROUNDS: usize = 9;

/// The programs and the vendor.
pub struct Bench {
    /// The programs to start.
    pub programs: Programs,
    /// The vendor that they call.
    pub vendor: Vendor,
    /// Folder for logs and the configuration of the peers.
    pub folder: PathBuf,
}

impl Bench {
    /// Starts a peer in front of the vendor.
    pub async fn start(&self, peer: Peer) -> Result<Running> {
        Running::start(peer, &self.programs, &self.vendor, &self.folder).await
    }
}

/// The median. For an even number of values, the higher one of the two in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes as text.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
