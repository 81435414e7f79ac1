//! The layout of the demo's output. It is aligned, and coloured only on a terminal.

use std::{fmt::Display, time::Duration};

use anstyle::Style;

use super::super::output::{DIM, text, visible_width};
use crate::proto::watch_session_response::EventType;

const BOLD: Style = Style::new().bold();
/// The width of the longest transition in an ordinary life, notStarted → waiting.
const WHAT_WIDTH: usize = 20;

/// The name of an event, without its prefix.
pub fn event_name(event: EventType) -> &'static str {
    event.as_str_name().trim_start_matches("EVENT_TYPE_")
}

/// Prints the heading of a part, with a remark.
pub fn head(name: &str, about: &str) -> Result<(), u8> {
    text(&format_args!("\n{BOLD}{name}{BOLD:#}  {DIM}{about}{DIM:#}"))
}

/// Prints a name and its value.
pub fn pair(name: &str, value: impl Display) -> Result<(), u8> {
    text(&format_args!("  {DIM}{name:<18}{DIM:#} {value}"))
}

/// Prints a message of the watch: its time, its text, and details.
pub fn event(at: Duration, name: &str, what: &str, more: &str) -> Result<(), u8> {
    let at = at.as_secs_f64();
    let event = format!("  {DIM}{at:>5.1} s{DIM:#}  {name:<9}  {what}");
    if more.is_empty() {
        return text(&event);
    }
    let gap = " ".repeat(WHAT_WIDTH.saturating_sub(visible_width(what)));
    text(&format_args!("{event}{gap}  {DIM}{more}{DIM:#}"))
}

/// Prints a command to copy.
pub fn command(about: &str, lines: &str) -> Result<(), u8> {
    text(&format_args!("\n  {DIM}# {about}{DIM:#}\n  {lines}"))
}
