//! Runs the command; all else is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Calls take and give back much that is small and short-lived.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gotoassist_grpc::command::run()
}
