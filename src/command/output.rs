//! How commands speak: messages on stdout, everything else on stderr.

use std::{
    error::Error,
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
};

use prost::Message;

use super::{FAILED, UNREAD, USAGE, json};
use crate::client::Failure;

/// What grpcurl adds to a gRPC status code.
const STATUS: u8 = 64;

/// Prints the message of this type as a line of JSON; `Err` is the exit status.
pub fn message(type_name: &str, message: &impl Message) -> Result<(), u8> {
    text(&json::line(type_name, message).map_err(|error| fail(FAILED, &error))?)
}

/// Prints a text, in colour if stdout is a terminal and `NO_COLOR` is not set; `Err` is the exit
/// status.
pub fn text(text: &dyn Display) -> Result<(), u8> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe { UNREAD } else { fail(FAILED, &error) }
    })
}

/// Tells of a call that failed; gives the exit status.
pub fn failure(failure: &Failure) -> u8 {
    note(&format_args!("error: {failure}"));
    for hint in &failure.hints {
        note(&format_args!("  hint: {hint}"));
    }
    STATUS + u8::try_from(i32::from(failure.code)).unwrap_or_default()
}

/// Tells why a command failed; gives `status` back.
pub fn fail(status: u8, reason: &dyn Display) -> u8 {
    note(&format_args!("error: {reason}"));
    status
}

/// A line on stderr. If nobody reads it, so be it.
pub fn note(text: &dyn Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints help or the version as asked for, and what is wrong with a command line as one line.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    note(&one_line(&error.render().to_string()));
    ExitCode::from(USAGE)
}

/// An error with its causes, in one line.
pub fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors repeat their cause in their own words.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// clap's message without its paragraphs on usage.
fn one_line(text: &str) -> String {
    let told = text
        .split("\n\n")
        .filter(|paragraph| !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more"))
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    told.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("; ")
}
