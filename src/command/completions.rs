//! `completions`.

use clap_complete::{Shell, generate};

use super::output;
use crate::config::{self, CompletionsConfig, ShellName};

/// Prints the completions of a shell. `Err` is the exit status.
pub fn run(config: &CompletionsConfig) -> Result<(), u8> {
    let shell = match config.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Elvish => Shell::Elvish,
        ShellName::Fish => Shell::Fish,
        ShellName::PowerShell => Shell::PowerShell,
        ShellName::Zsh => Shell::Zsh,
    };
    let mut command = config::command();
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    generate(shell, &mut command, name, &mut script);
    output::raw_text(&String::from_utf8_lossy(&script).trim_end())
}
