//! Parses the command and runs it; all else is in the library.

use std::process::ExitCode;

use gotoassist_grpc::command;

fn main() -> ExitCode {
    match command::parse() {
        Ok(command) => command::run(command),
        Err(status) => status,
    }
}
