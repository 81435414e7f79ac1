//! `man`.

use clap_mangen::Man;

use super::{FAILED, USAGE, output};
use crate::config::{self, ManConfig};

/// Prints a manual page. `Err` is the exit status.
pub fn run(config: &ManConfig) -> Result<(), u8> {
    // This gives each command its whole name, such as `gotoassist-grpc-serve`.
    let mut program = config::command();
    program.build();
    let command = match &config.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            output::fail(USAGE, &format_args!("there is no command `{}`", name.escape_debug()))
        })?,
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(|error| output::fail(FAILED, &error))?;
    output::raw_text(&String::from_utf8_lossy(&page).trim_end())
}
