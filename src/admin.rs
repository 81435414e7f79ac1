//! The operator's side: metrics, probes, status page.

pub mod failures;
