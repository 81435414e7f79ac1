//! A session as a line of text, for people.

use jiff::Timestamp;
use prost_types::value::Kind;

use super::{output::DIM, status, text::clean};
use crate::proto::{Session, SessionStatus};

/// The line above the sessions.
pub fn heading() -> String {
    let line = columns("STARTED", "STATUS    ", "SESSION", "CUSTOMER", "EXPERT");
    format!("{DIM}{line}{DIM:#}")
}

/// The line of a session. It has the id that `get` and `watch` take: the start token if the session
/// has no id yet.
pub fn line(session: &Session) -> String {
    let started_at = session.started_at.and_then(|time| Timestamp::from_second(time.seconds).ok());
    let started_at = started_at.map(|time| time.to_string()).unwrap_or_default();
    let (name, style) = status::name_and_style(session.status());
    let name = match session.status() {
        SessionStatus::Unspecified => clean(&session.upstream_status),
        SessionStatus::NotStarted
        | SessionStatus::Waiting
        | SessionStatus::Active
        | SessionStatus::Complete
        | SessionStatus::Abandoned => name.to_owned(),
    };
    let name = format!("{style}{name:<10}{style:#}");
    let id = match &*session.session_id {
        "" => start_token(session).unwrap_or_default(),
        id => id,
    };
    let [customer, expert] = [&session.customer_name, &session.expert_name]
        .map(|name| clean(name.as_deref().unwrap_or_default()));
    columns(&started_at, &name, &clean(id), &customer, &expert)
}

fn columns(started_at: &str, status: &str, id: &str, customer: &str, expert: &str) -> String {
    let line = format!("{started_at:<20}  {status}  {id:<12}  {customer:<24}  {expert}");
    line.trim_end().to_owned()
}

fn start_token(session: &Session) -> Option<&str> {
    let token = session.additional_fields.as_ref()?.fields.get("sessionStartToken")?;
    match token.kind.as_ref()? {
        Kind::StringValue(token) => Some(token),
        Kind::NullValue(_)
        | Kind::NumberValue(_)
        | Kind::BoolValue(_)
        | Kind::StructValue(_)
        | Kind::ListValue(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use prost_types::{Struct, Value};

    use super::*;

    fn plain(line: &str) -> String {
        strip_str(line).to_string()
    }

    #[test]
    fn the_columns_stand_below_their_headings() {
        let session = Session {
            session_id: "250040353".into(),
            started_at: Some(prost_types::Timestamp { seconds: 1_619_762_400, nanos: 5 }),
            status: SessionStatus::NotStarted.into(),
            customer_name: Some("Bob Example".into()),
            expert_name: Some("Ann Example".into()),
            ..Session::default()
        };
        let (heading, line) = (plain(&heading()), plain(&line(&session)));
        assert_eq!(
            line,
            "2021-04-30T06:00:00Z  notStarted  250040353     Bob Example               Ann Example"
        );
        for (name, value) in [("STATUS", "not"), ("SESSION", "250"), ("CUSTOMER", "Bob")] {
            assert_eq!(heading.find(name), line.find(value), "{heading}\n{line}");
        }
    }

    #[test]
    fn a_session_without_an_id_is_named_by_its_token_and_nothing_commands_the_terminal() {
        let token = Value { kind: Some(Kind::StringValue("77".into())) };
        let fields = [("sessionStartToken".to_owned(), token)].into();
        let session = Session {
            upstream_status: "on\u{1b}[31mhold".into(),
            customer_name: Some("\u{9b}2J\nBob".into()),
            additional_fields: Some(Struct { fields }),
            ..Session::default()
        };
        let line = line(&session);
        let words: Vec<_> = line.split_whitespace().collect();
        assert!(words.contains(&"77") && words.contains(&"\u{fffd}2J\u{fffd}Bob"), "{line:?}");
        assert!(line.contains("on\u{fffd}[31mhold") && !line.contains('\n'), "{line:?}");
    }
}
