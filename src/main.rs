//! Parses the command and runs it; all else is in the library.

use std::process::ExitCode;

use gotoassist_grpc::command;
use mimalloc::MiMalloc;

/// Calls take and give back much that is small and short-lived.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match command::parse() {
        Ok(command) => command::run(command),
        Err(status) => status,
    }
}
