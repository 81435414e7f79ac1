//! How the demo looks: aligned, calm, in colour only where somebody sees it.

use std::{
    fmt::Display,
    io::{self, Stdout, Write as _},
    time::Duration,
};

use anstream::{AutoStream, adapter::strip_str};
use anstyle::{AnsiColor, Style};

use super::super::{FAILED, UNREAD, output};
use crate::proto::SessionStatus;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
/// The longest transition of a session's ordinary life, notStarted → waiting.
const WHAT_WIDTH: usize = 20;

/// Stdout, with colour if it is a terminal and `NO_COLOR` is not set.
pub struct Screen {
    out: AutoStream<Stdout>,
}

impl Screen {
    /// The process's own.
    pub fn new() -> Self {
        Self { out: anstream::stdout() }
    }

    /// An empty line.
    pub fn space(&mut self) -> Result<(), u8> {
        self.line("")
    }

    /// The head of a part, and what it is about.
    pub fn head(&mut self, name: &str, about: &str) -> Result<(), u8> {
        self.space()?;
        self.line(format_args!("{BOLD}{name}{BOLD:#}  {DIM}{about}{DIM:#}"))
    }

    /// A name and its value.
    pub fn pair(&mut self, name: &str, value: impl Display) -> Result<(), u8> {
        self.line(format_args!("  {DIM}{name:<18}{DIM:#} {value}"))
    }

    /// A message of the watch: what it tells, and what lies behind it.
    pub fn event(&mut self, at: Duration, name: &str, what: &str, behind: &str) -> Result<(), u8> {
        let at = at.as_secs_f64();
        let event = format!("  {DIM}{at:>5.1} s{DIM:#}  {name:<9}  {what}");
        if behind.is_empty() {
            return self.line(event);
        }
        // The width that is seen: without the colours.
        let width = strip_str(what).to_string().chars().count();
        let gap = " ".repeat(WHAT_WIDTH.saturating_sub(width));
        self.line(format_args!("{event}{gap}  {DIM}{behind}{DIM:#}"))
    }

    /// Something to copy.
    pub fn command(&mut self, about: &str, lines: &[String]) -> Result<(), u8> {
        self.space()?;
        self.line(format_args!("  {DIM}# {about}{DIM:#}"))?;
        lines.iter().try_for_each(|line| self.line(format_args!("  {line}")))
    }

    /// A line as it is.
    pub fn line(&mut self, text: impl Display) -> Result<(), u8> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                UNREAD
            } else {
                output::fail(FAILED, &error)
            }
        })
    }
}

/// The vendor's name of a status, in its colour.
pub fn status(status: SessionStatus) -> String {
    let (name, colour) = match status {
        SessionStatus::Unspecified => ("unknown", AnsiColor::Magenta),
        SessionStatus::NotStarted => ("notStarted", AnsiColor::Cyan),
        SessionStatus::Waiting => ("waiting", AnsiColor::Yellow),
        SessionStatus::Active => ("active", AnsiColor::Green),
        SessionStatus::Complete => ("complete", AnsiColor::Blue),
        SessionStatus::Abandoned => ("abandoned", AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    format!("{style}{name}{style:#}")
}

/// Of less weight than the rest.
pub fn aside(text: &str) -> String {
    format!("{DIM}{text}{DIM:#}")
}
