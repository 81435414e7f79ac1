//! Tests of the whole service from outside, in one binary.

#![cfg(feature = "command")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod api_page;
mod callback;
mod client;
mod command;
mod credentials;
mod docs;
mod edge;
mod fleet;
mod kit;
mod operations;
mod quota;
mod service;
mod session_list;
mod simulator;
mod status;
mod tidy;
mod truth;
mod upstream;
mod watch;
mod watch_sessions;
