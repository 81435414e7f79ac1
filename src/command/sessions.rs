//! `sessions`.

use jiff::Timestamp;

use super::{client, output, session_line};
use crate::{
    clock::Clock,
    config::{ListTime, ListedStatus, OutputFormat, SessionsConfig},
    proto::{ListSessionsRequest, Session, SessionStatus},
};

/// The longest page that the service gives.
const MAX_PAGE_SIZE: u32 = 1_000;

/// Calls `ListSessions` for page after page, and prints each session. `Err` is the exit status.
pub async fn run(config: &SessionsConfig) -> Result<(), u8> {
    let client = client(&config.connection)?;
    let now = Clock::system().now();
    let time = |time: &Option<ListTime>| time.as_ref().map(|time| timestamp(time, now));
    let mut request = ListSessionsRequest {
        from_time: time(&config.from),
        to_time: time(&config.to),
        statuses: config.status.iter().map(|status| status_to_proto(*status).into()).collect(),
        ..ListSessionsRequest::default()
    };
    let format = output::format(config.output);
    let mut left = config.limit;
    while left > 0 {
        let page_size = config.page_size.min(MAX_PAGE_SIZE).min(left);
        request.page_size = i32::try_from(page_size).unwrap_or_default();
        let page = client.list_sessions(request.clone(), config.timeout).await;
        let page = page.map_err(|failure| output::failure(&failure))?;
        print(&page.sessions, format, left == config.limit)?;
        left = left.saturating_sub(u32::try_from(page.sessions.len()).unwrap_or(u32::MAX));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(());
        }
    }
    output::note(&"there are more sessions; a larger --limit shows them");
    Ok(())
}

/// Prints the sessions of a page. The heading of a text is above those of the first page.
fn print(sessions: &[Session], format: OutputFormat, is_first: bool) -> Result<(), u8> {
    match format {
        OutputFormat::Json => sessions.iter().try_for_each(|session| {
            output::message("gotoassist.remotesupport.v1.Session", session)
        }),
        OutputFormat::Text => {
            let heading = is_first.then(session_line::heading);
            let lines = sessions.iter().map(session_line::line);
            heading.into_iter().chain(lines).try_for_each(|line| output::text(&line))
        }
    }
}

fn timestamp(time: &ListTime, now: Timestamp) -> prost_types::Timestamp {
    let time = match time {
        ListTime::At(time) => *time,
        ListTime::Ago(duration) => now.saturating_sub(*duration).unwrap_or(now),
    };
    let nanoseconds = time.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanoseconds.div_euclid(NANOSECONDS)).unwrap_or_default(),
        nanos: i32::try_from(nanoseconds.rem_euclid(NANOSECONDS)).unwrap_or_default(),
    }
}

const NANOSECONDS: i128 = 1_000_000_000;

fn status_to_proto(status: ListedStatus) -> SessionStatus {
    match status {
        ListedStatus::Other => SessionStatus::Unspecified,
        ListedStatus::NotStarted => SessionStatus::NotStarted,
        ListedStatus::Waiting => SessionStatus::Waiting,
        ListedStatus::Active => SessionStatus::Active,
        ListedStatus::Complete => SessionStatus::Complete,
        ListedStatus::Abandoned => SessionStatus::Abandoned,
    }
}
