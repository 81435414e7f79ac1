//! How the messages of a watch are shown: as JSON, as lines of text, or as a board on a terminal.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::time::Instant;

use super::super::{board::Board, news, output};
use crate::{config::OutputFormat, proto::WatchSessionsResponse};

/// The shortest time between two drawings of the board.
const REDRAW: Duration = Duration::from_millis(100);

/// The way in which messages are shown.
pub enum Display {
    /// One line of JSON for each message.
    Json,
    /// One line of text for each message that tells something new.
    Lines,
    /// A board.
    Board {
        /// The sessions.
        board: Box<Board>,
        /// When it is drawn again, if something has changed.
        due_at: Option<Instant>,
    },
}

impl Display {
    /// How to show many sessions. By default, a terminal gets text, and a program JSON.
    pub fn new(format: Option<OutputFormat>) -> Self {
        if Self::is_json(format) { Self::Json } else { Self::text() }
    }

    /// Whether messages are printed as JSON.
    pub fn is_json(format: Option<OutputFormat>) -> bool {
        match format {
            Some(format) => format == OutputFormat::Json,
            None => !io::stdout().is_terminal(),
        }
    }

    /// The board on a terminal, and lines otherwise.
    pub fn text() -> Self {
        if io::stdout().is_terminal() {
            Self::Board { board: Box::default(), due_at: None }
        } else {
            Self::Lines
        }
    }

    /// Shows a message. `Err` is the exit status.
    pub fn show(&mut self, message: &WatchSessionsResponse) -> Result<(), u8> {
        match self {
            Self::Json => {
                output::message("gotoassist.remotesupport.v1.WatchSessionsResponse", message)
            }
            Self::Lines => news::line(message).map_or(Ok(()), |line| output::text(&line)),
            Self::Board { board, due_at } => {
                board.note(message);
                due_at.get_or_insert_with(|| Instant::now() + REDRAW);
                Ok(())
            }
        }
    }

    /// Says what happened to the stream.
    pub fn note(&mut self, text: String) {
        match self {
            Self::Json | Self::Lines => output::note(&text),
            Self::Board { board, due_at } => {
                board.set_footer(text);
                due_at.get_or_insert_with(|| Instant::now() + REDRAW);
            }
        }
    }

    /// Waits until the board must be drawn.
    pub async fn due(&self) {
        match self {
            Self::Board { due_at: Some(at), .. } => tokio::time::sleep_until(*at).await,
            Self::Board { due_at: None, .. } | Self::Json | Self::Lines => {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Draws the board, if it has changed. `Err` is the exit status.
    pub fn draw(&mut self) -> Result<(), u8> {
        match self {
            Self::Board { board, due_at } => match due_at.take() {
                Some(_) => board.draw(),
                None => Ok(()),
            },
            Self::Json | Self::Lines => Ok(()),
        }
    }
}
