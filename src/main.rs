//! Runs the command. The library has all other code.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Calls make many small and short-lived allocations.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gotoassist_grpc::command::run()
}
