//! The board of the watched sessions: one line for each, which is updated in place on a terminal.

use std::{collections::HashMap, fmt::Write as _, io};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use terminal_size::{Height, Width, terminal_size};

use super::{
    news,
    output::{self, DIM, visible_width},
    status,
};
use crate::{
    client::Failure,
    proto::{
        SessionStatus, WatchSessionResponse, WatchSessionsResponse, watch_sessions_response::Body,
    },
};

/// The size of a terminal that does not tell its size.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// The width of the longest status, notStarted.
const STATUS_WIDTH: usize = 10;
/// A longer id is cut.
const LONGEST_ID: usize = 32;

/// The sessions, in the order in which they came.
#[derive(Default)]
pub struct Board {
    rows: Vec<Row>,
    places: HashMap<String, usize>,
    messages: u64,
    /// What happened to the stream, if it is interrupted.
    footer: String,
    /// How many lines are on the terminal.
    drawn: usize,
}

struct Row {
    id: String,
    status: SessionStatus,
    /// When the status began.
    since: String,
    news: String,
    /// The number of the message that changed it last.
    changed_by: u64,
}

impl Board {
    /// Shows a message.
    pub fn note(&mut self, message: &WatchSessionsResponse) {
        self.footer.clear();
        self.messages += 1;
        match &message.body {
            Some(Body::Update(update)) => self.note_update(&message.session_id, update),
            Some(Body::Ended(status)) if status.code != 0 => {
                let failure = Failure::from(status).to_string();
                self.row(&message.session_id).news = failure;
            }
            Some(Body::Ended(_) | Body::Heartbeat(_)) | None => {}
        }
    }

    /// Shows below the board what happened to the stream, until the next message.
    pub fn set_footer(&mut self, text: String) {
        self.footer = text;
    }

    /// Draws the board in place of the one before. `Err` is the exit status.
    pub fn draw(&mut self) -> Result<(), u8> {
        let size = terminal_size();
        let size = size.map(|(Width(width), Height(height))| (width.into(), height.into()));
        let (width, height) = size.unwrap_or(USUAL_SIZE);
        let mut lines = self.lines(width, height.saturating_sub(1)).join("\n");
        if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
            lines = strip_str(&lines).to_string();
        }
        // To the first line of the board before, and clear to the end of the screen.
        let back =
            if self.drawn == 0 { String::new() } else { format!("\x1b[{}F\x1b[J", self.drawn) };
        self.drawn = lines.lines().count();
        output::raw_text(&format_args!("{back}{lines}"))
    }

    /// The board in a terminal of this size. If it is too small for all sessions, those are shown that
    /// have changed last.
    pub fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let room = height.saturating_sub(2 + usize::from(!self.footer.is_empty())).max(1);
        let mut shown: Vec<_> = self.rows.iter().collect();
        if shown.len() > room {
            shown.sort_by_key(|row| std::cmp::Reverse(row.changed_by));
            shown.truncate(room);
            let oldest = shown.last().map_or(0, |row| row.changed_by);
            shown = self.rows.iter().filter(|row| row.changed_by >= oldest).take(room).collect();
        }
        let id_width = shown.iter().map(|row| row.id.chars().count()).max().unwrap_or(0);
        let id_width = id_width.min(LONGEST_ID);
        let mut lines = vec![self.head(width)];
        lines.extend(shown.iter().map(|row| row.line(id_width, width)));
        match self.rows.len() - shown.len() {
            0 => {}
            more => lines.push(format!("{DIM}and {more} more{DIM:#}")),
        }
        if !self.footer.is_empty() {
            lines.push(cut(&self.footer, width));
        }
        lines
    }

    /// How many sessions there are, by status.
    fn head(&self, width: usize) -> String {
        let mut text = format!("{} sessions", self.rows.len());
        for (name, known) in [
            ("not started", SessionStatus::NotStarted),
            ("waiting", SessionStatus::Waiting),
            ("active", SessionStatus::Active),
            ("complete", SessionStatus::Complete),
            ("abandoned", SessionStatus::Abandoned),
        ] {
            let count = self.rows.iter().filter(|row| row.status == known).count();
            if count > 0 {
                let _ = write!(text, " · {count} {name}");
            }
        }
        format!("{DIM}{}{DIM:#}", cut(&text, width))
    }

    fn note_update(&mut self, id: &str, update: &WatchSessionResponse) {
        let since =
            update.transitions.last().and_then(|transition| transition.occurred_at.as_ref());
        let since = since.or(update.observed_at.as_ref()).map(news::time_of_day);
        let row = self.row(id);
        if let Some(session) = &update.session {
            if row.status != session.status() || row.since.is_empty() {
                row.since = since.unwrap_or_default();
            }
            row.status = session.status();
        }
        row.news = if update.transitions.is_empty() && update.session.is_some() {
            // The status is in its own column.
            String::new()
        } else {
            news::of_update(update).unwrap_or_default()
        };
    }

    /// The row of a session, which the current message changes.
    fn row(&mut self, id: &str) -> &mut Row {
        let place = *self.places.entry(id.to_owned()).or_insert_with(|| {
            self.rows.push(Row {
                id: id.to_owned(),
                status: SessionStatus::Unspecified,
                since: String::new(),
                news: String::new(),
                changed_by: 0,
            });
            self.rows.len() - 1
        });
        let row = &mut self.rows[place];
        row.changed_by = self.messages;
        row
    }
}

impl Row {
    fn line(&self, id_width: usize, width: usize) -> String {
        let id = cut(&self.id, id_width);
        let status = status::name(self.status);
        let gap = " ".repeat(STATUS_WIDTH.saturating_sub(visible_width(&status)));
        let since = &self.since;
        let news_width = width.saturating_sub(id_width + STATUS_WIDTH + 15);
        let news = match visible_width(&self.news) {
            fits if fits <= news_width => self.news.clone(),
            // Without its colours, which a cut could damage.
            _ => cut(&strip_str(&self.news).to_string(), news_width),
        };
        format!("{id:<id_width$}  {status}{gap}  {DIM}{since:<9}{DIM:#}  {news}")
            .trim_end()
            .to_owned()
    }
}

/// The beginning of a text that is too long.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Session, StatusTransition, watch_session_response::EventType};

    fn update(
        id: &str,
        status: SessionStatus,
        before: Option<SessionStatus>,
    ) -> WatchSessionsResponse {
        let at = Some(prost_types::Timestamp { seconds: 6 * 3600 + 3, nanos: 0 });
        let transitions = before.map(|before| StatusTransition {
            from_status: before.into(),
            to_status: status.into(),
            occurred_at: at,
            inferred: false,
        });
        let kind = if before.is_some() { EventType::Changed } else { EventType::Snapshot };
        let update = WatchSessionResponse {
            event_type: kind.into(),
            session: Some(Session { status: status.into(), ..Session::default() }),
            transitions: transitions.into_iter().collect(),
            observed_at: at,
            ..WatchSessionResponse::default()
        };
        WatchSessionsResponse { session_id: id.to_owned(), body: Some(Body::Update(update)) }
    }

    fn plain(board: &Board, width: usize, height: usize) -> Vec<String> {
        board.lines(width, height).iter().map(|line| strip_str(line).to_string()).collect()
    }

    #[test]
    fn a_session_keeps_its_line() {
        let mut board = Board::default();
        board.note(&update("1", SessionStatus::Waiting, None));
        board.note(&update("23", SessionStatus::Active, None));
        board.note(&update("1", SessionStatus::Active, Some(SessionStatus::Waiting)));
        let expected = [
            "2 sessions · 2 active",
            "1   active      06:00:03Z  waiting → active",
            "23  active      06:00:03Z",
        ];
        assert_eq!(plain(&board, 80, 24), expected);
    }

    #[test]
    fn a_small_terminal_shows_what_has_changed_last() {
        let mut board = Board::default();
        for number in 0..100 {
            board.note(&update(&number.to_string(), SessionStatus::Waiting, None));
        }
        board.note(&update("7", SessionStatus::Abandoned, Some(SessionStatus::Waiting)));
        board.set_footer("interrupted".to_owned());
        let lines = plain(&board, 20, 6);
        assert!(lines.iter().all(|line| line.chars().count() <= 34), "{lines:?}");
        let expected = ["7 ", "98", "99"];
        for (line, id) in lines[1..].iter().zip(expected) {
            assert!(line.starts_with(id), "{lines:?}");
        }
        assert_eq!(lines[4..], ["and 97 more", "interrupted"]);
    }
}
