//! The settings of `completions` and `man`.

use clap::{Args, ValueEnum};

/// Settings of `completions`.
#[derive(Args, Debug)]
#[command(after_help = "For example: source <(gotoassist-grpc completions bash)")]
pub struct CompletionsConfig {
    /// Shell to print the completions of
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: ShellName,
}

/// A shell that has completions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ShellName {
    /// Bash.
    Bash,
    /// Elvish.
    Elvish,
    /// Fish.
    Fish,
    /// `PowerShell`.
    #[value(name = "powershell")]
    PowerShell,
    /// Zsh.
    Zsh,
}

/// Settings of `man`.
#[derive(Args, Debug)]
#[command(after_help = "For example: gotoassist-grpc man serve | man -l -")]
pub struct ManConfig {
    /// Command to print the page of. Without it, the page of the program
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}
