//! How the demo looks: aligned, and in colour only where somebody sees it.

use std::{fmt::Display, time::Duration};

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};

use super::super::output::text;
use crate::proto::SessionStatus;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
/// The longest transition of a session's ordinary life, notStarted → waiting.
const WHAT_WIDTH: usize = 20;

/// The head of a part, and what it is about.
pub fn head(name: &str, about: &str) -> Result<(), u8> {
    text(&format_args!("\n{BOLD}{name}{BOLD:#}  {DIM}{about}{DIM:#}"))
}

/// A name and its value.
pub fn pair(name: &str, value: impl Display) -> Result<(), u8> {
    text(&format_args!("  {DIM}{name:<18}{DIM:#} {value}"))
}

/// A message of the watch: when it came, what it says, and more about that.
pub fn event(at: Duration, name: &str, what: &str, more: &str) -> Result<(), u8> {
    let at = at.as_secs_f64();
    let event = format!("  {DIM}{at:>5.1} s{DIM:#}  {name:<9}  {what}");
    if more.is_empty() {
        return text(&event);
    }
    // The width that is seen: without the colours.
    let width = strip_str(what).to_string().chars().count();
    let gap = " ".repeat(WHAT_WIDTH.saturating_sub(width));
    text(&format_args!("{event}{gap}  {DIM}{more}{DIM:#}"))
}

/// A command to copy.
pub fn command(about: &str, lines: &str) -> Result<(), u8> {
    text(&format_args!("\n  {DIM}# {about}{DIM:#}\n  {lines}"))
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
