//! The output of commands: messages on stdout, everything else on stderr.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anstream::adapter::strip_str;
use anstyle::Style;
use clap::error::ErrorKind;
use prost::Message;

use super::{FAILED, UNREAD, USAGE, json, text};
use crate::{client::Failure, config::OutputFormat};

pub use crate::server::causes::whole;

/// The style of what is less important.
pub const DIM: Style = Style::new().dimmed();

/// grpcurl exits with this number plus the gRPC status code.
const STATUS: u8 = 64;

/// Prints a message of this type as a line of JSON. `Err` is the exit status.
pub fn message(type_name: &str, message: &impl Message) -> Result<(), u8> {
    text(&json::line(type_name, message).map_err(|error| fail(FAILED, &error))?)
}

/// Prints a message of this type for people, or as JSON. `Err` is the exit status.
pub fn message_as(format: OutputFormat, type_name: &str, message: &impl Message) -> Result<(), u8> {
    match format {
        OutputFormat::Json => self::message(type_name, message),
        OutputFormat::Text => {
            let lines = json::dynamic(type_name, message).and_then(|message| text::lines(&message));
            self::text(&lines.map_err(|error| fail(FAILED, &error))?)
        }
    }
}

/// Prints a text, in colour if stdout is a terminal and `NO_COLOR` is not set. `Err` is the exit
/// status.
pub fn text(text: &dyn Display) -> Result<(), u8> {
    write(anstream::stdout().lock(), text)
}

/// Prints a text with all of its escape codes. `Err` is the exit status.
pub fn raw_text(text: &dyn Display) -> Result<(), u8> {
    write(io::stdout().lock(), text)
}

fn write(mut stdout: impl io::Write, text: &dyn Display) -> Result<(), u8> {
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe { UNREAD } else { fail(FAILED, &error) }
    })
}

/// The number of characters that are visible: those that are not in the escape codes of colours.
pub fn visible_width(text: &str) -> usize {
    strip_str(text).to_string().chars().count()
}

/// The format that the user chose. By default, a terminal gets text, and a program JSON.
pub fn format(chosen: Option<OutputFormat>) -> OutputFormat {
    chosen.unwrap_or_else(|| {
        if io::stdout().is_terminal() { OutputFormat::Text } else { OutputFormat::Json }
    })
}

/// Prints a failed call on stderr, and returns the exit status.
pub fn failure(failure: &Failure) -> u8 {
    note(&format_args!("error: {failure}"));
    for hint in failure.hints.iter().map(String::as_str).chain(flags(failure)) {
        note(&format_args!("  hint: {hint}"));
    }
    status(failure)
}

/// The flags that may help after a failed call.
fn flags(failure: &Failure) -> Option<&'static str> {
    match failure.reason.as_deref()? {
        "CREDENTIAL_MISSING" | "CREDENTIAL_REJECTED" | "CALLER_NOT_AUTHENTICATED" => {
            Some("--token-file, --token or --authorization sets the credential")
        }
        "CALLER_NOT_ALLOWED" => {
            Some("--client-certificate-file and --client-key-file set the certificate")
        }
        "DEADLINE_EXCEEDED" => Some("--timeout sets how long the call may take"),
        _ => None,
    }
}

/// The exit status of a failed call.
pub fn status(failure: &Failure) -> u8 {
    STATUS + u8::try_from(i32::from(failure.code)).unwrap_or_default()
}

/// Prints on stderr why a command failed, and returns `status`.
pub fn fail(status: u8, reason: &dyn Display) -> u8 {
    note(&format_args!("error: {reason}"));
    status
}

/// Prints a line on stderr. Errors are ignored, because there is no other place to report them.
pub fn note(text: &dyn Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints the help or the version, if the user asked for it, or a command-line error as one line.
/// Without any argument, the help goes to stderr.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        note(&one_line(&error.render().to_string()));
    }
    ExitCode::from(USAGE)
}

/// The message of clap without its last paragraph, which names `--help`.
fn one_line(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .filter(|paragraph| !paragraph.starts_with("For more"))
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let paragraphs = paragraphs.filter(|paragraph| !paragraph.is_empty());
    paragraphs.collect::<Vec<_>>().join("; ").replace("; Usage: ", "; usage: ")
}
