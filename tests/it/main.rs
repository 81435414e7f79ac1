//! The whole service from outside, in one test binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod client;
mod command;
mod fake_service;
