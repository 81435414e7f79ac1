//! The statuses of sessions and their changes as text, in colour.

use anstyle::{AnsiColor, Style};

use crate::proto::{SessionStatus, StatusTransition};

/// The vendor's name of a status, in the colour of that status.
pub fn name(status: SessionStatus) -> String {
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

/// A change of a status, such as `waiting → active`.
pub fn transition(transition: &StatusTransition) -> String {
    let (from, to) = (name(transition.from_status()), name(transition.to_status()));
    format!("{from} → {to}{}", if transition.inferred { " (inferred)" } else { "" })
}
