//! Trouble with some sessions: the vendor answers once with an error that asks for a pause of ten
//! minutes.

use std::time::Duration;

use futures_util::future::join_all;
use gotoassist_grpc::{
    proto::watch_session_response::EventType,
    simulator::{Fault, Rule, SessionScript},
};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Load, Messages, open_watch};
use crate::kit::vendor::Vendor;

/// How many watches each troubled session has.
const WATCHERS: usize = 5;

/// The latest time of the report. The service reports a session as stale after 15 seconds, and
/// polls it again after a minute. Before this time, only the clock can trigger the report.
const ON_TIME: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_asks_for_a_long_pause_is_told_on_time_and_to_its_own_watchers_only() {
    let vendor = Vendor::start().await;
    let flags = ["--quota-scope=credential", "--outage-limit=18s"];
    let serve = Load::serve(&vendor.rest_url, &flags).await;
    let mut load = Load::start(&vendor, &serve).await;

    let client = serve.client().await;
    let mut watches = Vec::new();
    for status in [500, 502, 503, 429] {
        let session = format!("session-{status}");
        vendor.put_session(SessionScript::resting(&session, "active")).unwrap();
        // A 429 affects all requests of its credential. Any other error affects only the session.
        let token = if status == 429 { "limited" } else { "watcher" };
        let open = (0..WATCHERS).map(|_| open_watch(&client, session.clone(), token));
        let open = join_all(open).await;
        watches.push((status, session, open));
    }
    let trouble = watches.into_iter().map(async |(status, session, watches)| {
        let rule = Rule::times(1, Fault::status_with_retry_after(status, 600));
        let asked = vendor.counters().of_session(&session);
        let start = Instant::now();
        vendor.add_fault(rule.for_session(&session));
        for end in join_all(watches.into_iter().map(until_outage)).await {
            assert_eq!(end.code(), Code::Unavailable, "{end:?}");
            let info = end.get_details_error_info().unwrap();
            assert_eq!(info.reason, "UPSTREAM_UNAVAILABLE");
            assert_eq!(info.metadata["http_status"], status.to_string());
        }
        assert!(start.elapsed() < ON_TIME, "{status}: {:?}", start.elapsed());
        let asked = vendor.counters().of_session(&session) - asked;
        assert!((1..=2).contains(&asked), "{status}: nobody asked again: {asked}");
    });
    load.is_undisturbed_by(join_all(trouble)).await;
    load.end(&vendor).await;
}

/// Reads to the end of the watch. `STALE` must come before it.
async fn until_outage(mut messages: Messages) -> Status {
    let mut is_stale = false;
    loop {
        match messages.message().await {
            Ok(Some(message)) => is_stale |= message.event_type() == EventType::Stale,
            Ok(None) => panic!("the session goes on"),
            Err(end) => {
                assert!(is_stale, "STALE comes before the end: {end:?}");
                return end;
            }
        }
    }
}
