//! Reads the command line and the environment, and finds all in them that cannot be read.

use std::ffi::OsString;

use clap::{
    Command, FromArgMatches as _,
    builder::Resettable,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::{Cli, environment};

/// What could be read, and what could not.
#[derive(Debug)]
pub struct Line {
    /// The command, as if nobody had said what could not be read. None if nothing is left of it.
    pub cli: Option<Cli>,
    /// What could not be read, in the order in which it was found.
    pub faults: Vec<Fault>,
}

/// Something that cannot be read.
#[derive(Debug)]
pub struct Fault {
    /// The flag with its dashes, if it is about one.
    pub flag: Option<String>,
    /// What is wrong.
    pub error: Error,
}

impl Line {
    /// Reads `words`, the name of the program first, and the environment. The error is help or
    /// the version, which was asked for.
    ///
    /// clap stops at the first fault, so each is taken out in turn and the rest read again.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut words: Vec<_> = words.into_iter().collect();
        let mut command = environment::command();
        let mut faults: Vec<Fault> = Vec::new();
        loop {
            let matches = command.clone().try_get_matches_from(&words);
            let error = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
                Ok(cli) => return Ok(Self { cli: Some(cli), faults }),
                Err(error) if !error.use_stderr() => return Err(error),
                Err(error) => error,
            };
            let flag = flag(&error);
            let is_new =
                |flag: &String| faults.iter().all(|fault| fault.flag.as_ref() != Some(flag));
            let mut is_progress = false;
            if let Some(flag) = flag.as_ref().filter(|flag| is_new(flag)) {
                let before = words.len();
                remove(&mut words, flag);
                let is_long = flag.starts_with("--");
                command = without_variable(command, flag);
                // A short flag within a word, such as an id that begins with a dash, stays there.
                is_progress = is_long || words.len() < before;
            }
            // What is missing may be what was taken out.
            let is_missing = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            if faults.is_empty() || !is_missing {
                faults.push(Fault { flag, error });
            }
            if !is_progress {
                return Ok(Self { cli: None, faults });
            }
        }
    }
}

/// The word that is to blame, without the name of its value.
fn flag(error: &Error) -> Option<String> {
    let ContextValue::String(argument) = error.get(ContextKind::InvalidArg)? else { return None };
    let flag = argument.split([' ', '=']).next()?;
    flag.starts_with('-').then(|| flag.to_owned())
}

/// Takes a flag out, with what follows it and can be its value.
fn remove(words: &mut Vec<OsString>, flag: &str) {
    let mut is_value = false;
    words.retain(|word| {
        let word = word.to_string_lossy();
        let is_flag = word.split('=').next() == Some(flag);
        let goes = is_flag || (is_value && !word.starts_with('-'));
        is_value = is_flag && !word.contains('=');
        !goes
    });
}

fn without_variable(command: Command, flag: &str) -> Command {
    command.mut_subcommands(|command| {
        command.mut_args(|argument| {
            let is_it =
                argument.get_long().is_some_and(|long| Some(long) == flag.strip_prefix("--"));
            if is_it { argument.env(Resettable::Reset) } else { argument }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> (bool, Vec<String>) {
        let words = ["gotoassist-grpc"].iter().chain(words).map(OsString::from);
        let line = Line::read(words).unwrap();
        let flags = line.faults.into_iter().map(|fault| fault.flag.unwrap_or_default());
        (line.cli.is_some(), flags.collect())
    }

    #[test]
    fn every_fault_is_found_and_the_rest_is_read() {
        for (words, flags) in [
            (&["serve"][..], &[][..]),
            (
                &["serve", "--upstream-rps", "x", "--max-calls=y"],
                &["--upstream-rps", "--max-calls"],
            ),
            (&["serve", "--nonsense", "zz", "--listen", "x"], &["--nonsense", "--listen"]),
            (&["serve", "--max-calls", "1", "--max-calls", "2"], &["--max-calls"]),
            (&["serve", "--upstream-rps", "--max-calls", "x"], &["--upstream-rps", "--max-calls"]),
            (&["serve", "--trust-network=x", "--poll-ended"], &["--trust-network", "--poll-ended"]),
        ] {
            let (is_read, mut found) = read(words);
            let mut flags = flags.to_vec();
            found.sort();
            flags.sort_unstable();
            assert_eq!((is_read, found.iter().map(String::as_str).collect()), (true, flags));
        }
    }

    #[test]
    fn what_is_no_flag_ends_it() {
        assert_eq!(read(&["serve", "x"]), (false, vec![String::new()]));
        assert_eq!(read(&["get", "--timeout", "x"]), (false, vec!["--timeout".to_owned()]));
        assert_eq!(read(&["get"]), (false, vec![String::new()]));
        assert_eq!(read(&["--nonsense", "serve"]), (false, vec!["--nonsense".to_owned()]));
    }

    #[test]
    fn help_that_is_asked_for_is_given() {
        let words = ["gotoassist-grpc", "serve", "--max-calls", "x", "--help"].map(OsString::from);
        assert_eq!(Line::read(words).unwrap_err().kind(), ErrorKind::DisplayHelp);
    }
}
