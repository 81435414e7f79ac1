//! The command line with its environment: a variable that is set but empty counts as unset, as for most
//! programs. Templates of containers and units often set all variables, and leave some empty.

use std::env;

use clap::{Command, CommandFactory as _, builder::Resettable};

use super::Cli;

/// The command line, whose empty variables say nothing.
pub(super) fn command() -> Command {
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|argument| {
            let is_empty =
                argument.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
            if is_empty { argument.env(Resettable::Reset) } else { argument }
        })
    })
}
