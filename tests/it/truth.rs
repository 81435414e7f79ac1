//! Misleading answers of the vendor, over real sockets: the service reports only the session's own
//! state.

use gotoassist_grpc::{
    config::simulate::{Shape, StatusForm, TimestampForm},
    proto::{
        GetSessionRequest, Session, SessionStatus, WatchSessionRequest, WatchSessionResponse,
        watch_session_response::EventType,
    },
    simulator::{Fault, Rule, SessionScript},
};
use prost::Message as _;
use prost_types::value::Kind;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::kit::{harness::Harness, request::authorized, soon};

const ID: &str = "250040303";
/// The content of another customer's session.
const STRANGER: &str = "250040399";

async fn harness() -> Harness {
    let flags = ["--upstream-retries=0", "--upstream-rps=1000", "--upstream-burst=1000"];
    let polls = ["--poll-active=1s", "--poll-waiting=1s"];
    Harness::with(&[&flags[..], &polls].concat()).await
}

async fn get(harness: &Harness, id: &str) -> Result<Session, Status> {
    let request = GetSessionRequest { session_id: id.to_owned() };
    let answer = soon(harness.client().get_session(authorized("t", request))).await?;
    Ok(answer.into_inner().session.expect("a session"))
}

async fn watch(harness: &Harness, id: &str) -> Streaming<WatchSessionResponse> {
    let request = WatchSessionRequest { session_id: id.to_owned(), ..Default::default() };
    soon(harness.client().watch_session(authorized("t", request))).await.unwrap().into_inner()
}

fn play(harness: &Harness, fault: Fault) -> u64 {
    harness.vendor.add_fault(Rule { session_id: Some(ID.to_owned()), ..Rule::from(fault) })
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn another_sessions_body_is_told_neither_by_a_watch_nor_by_a_call_nor_remembered() {
    let harness = harness().await;
    let mut messages = watch(&harness, ID).await;
    let first = soon(messages.message()).await.unwrap().unwrap();
    assert_eq!(first.session.unwrap().session_id, ID);

    let fault = play(&harness, Fault::ForeignSession { id: STRANGER.to_owned() });
    let error = get(&harness, ID).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(reason(&error), "UPSTREAM_MALFORMED_RESPONSE");
    let stale = soon(messages.message()).await.unwrap().unwrap();
    assert_eq!(stale.event_type(), EventType::Stale);
    assert!(stale.session.is_none());

    harness.vendor.delete_fault(fault);
    assert_eq!(get(&harness, ID).await.unwrap().session_id, ID, "it was not remembered");
    let back = soon(messages.message()).await.unwrap().unwrap();
    assert_eq!(back.event_type(), EventType::Heartbeat);
}

#[tokio::test]
async fn a_new_watch_is_never_behind_what_a_call_was_told() {
    let harness = harness().await;
    let script = |status: &str| -> SessionScript {
        serde_json::from_value(
            serde_json::json!({ "id": ID, "steps": [{ "at": -60, "status": status }] }),
        )
        .unwrap()
    };
    harness.vendor.put_session(script("active")).unwrap();
    let mut watcher = watch(&harness, ID).await;
    soon(watcher.message()).await.unwrap().unwrap();

    // The vendor tells the poll to wait for ten minutes, and the session ends during this time.
    let fault = serde_json::json!({ "kind": "status", "status": 503, "retryAfter": 600 });
    let fault: Fault = serde_json::from_value(fault).unwrap();
    let rule = Rule { times: Some(1), ..Rule::from(fault) };
    let number = harness.vendor.add_fault(rule);
    soon(async {
        while harness
            .vendor
            .faults()
            .iter()
            .any(|(known, _, played)| *known == number && *played == 0)
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    harness.vendor.put_session(script("complete")).unwrap();

    assert_eq!(get(&harness, ID).await.unwrap().status(), SessionStatus::Complete);
    let first = soon(watch(&harness, ID).await.message()).await.unwrap().unwrap();
    assert_eq!(first.session.unwrap().status(), SessionStatus::Complete);
    assert!(first.terminal);
    // The earlier watcher also gets the end of the session, without waiting for ten minutes.
    let mut told = soon(watcher.message()).await.unwrap().unwrap();
    while !told.terminal {
        told = soon(watcher.message()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn half_a_body_changes_nothing_in_a_watch() {
    let harness = harness().await;
    let mut messages = watch(&harness, ID).await;
    soon(messages.message()).await.unwrap().unwrap();
    let rule = Rule { times: Some(1), ..Rule::from(Fault::HalfSession) };
    harness.vendor.add_fault(rule);
    let asked = harness.vendor.counters().of_session(ID);
    soon(async {
        while harness.vendor.counters().of_session(ID) < asked + 4 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let silence = tokio::time::timeout(std::time::Duration::from_millis(100), messages.message());
    assert!(silence.await.is_err(), "nothing changed, so nothing is told");
}

#[tokio::test]
async fn statuses_in_other_letters_are_recognised() {
    let harness = harness().await;
    let right = get(&harness, ID).await.unwrap();
    let shape = Shape { statuses: Some(StatusForm::UpperSnake), ..Shape::default() };
    play(&harness, Fault::Shape(shape));
    let loud = get(&harness, ID).await.unwrap();
    assert_eq!(loud.status(), right.status());
    assert_ne!(loud.status(), SessionStatus::Unspecified);
    assert_eq!(loud.upstream_status, right.upstream_status.to_uppercase());
}

#[tokio::test]
async fn times_are_read_in_every_form() {
    let harness = harness().await;
    let id = "250040353";
    let right = get(&harness, id).await.unwrap();
    for form in [
        TimestampForm::LongFraction,
        TimestampForm::SpacedOffset,
        TimestampForm::EpochSeconds,
        TimestampForm::EpochMillis,
    ] {
        harness.vendor.clear_faults();
        let shape = Shape { timestamps: Some(form), ..Shape::default() };
        harness.vendor.add_fault(Fault::Shape(shape));
        let harness_client = harness.client();
        let request = GetSessionRequest { session_id: id.to_owned() };
        // Each request is from another caller, who has not seen the finished session before.
        let token = format!("{form:?}");
        let answer = soon(harness_client.clone().get_session(authorized(&token, request))).await;
        let session = answer.unwrap().into_inner().session.unwrap();
        let seconds = |session: &Session| {
            [&session.started_at, &session.customer_joined_at, &session.ended_at]
                .map(|time| time.as_ref().map(|time| time.seconds))
        };
        assert_eq!(seconds(&session), seconds(&right), "{form:?}");
    }
}

#[tokio::test]
async fn a_mebibyte_of_unknown_fields_is_bounded_and_says_so() {
    let harness = harness().await;
    play(&harness, Fault::ManyUnknownFields { bytes: 1_000_000 });
    let session = get(&harness, ID).await.unwrap();
    let additional = session.additional_fields.as_ref().unwrap();
    assert!(session.encoded_len() < 2_000_000, "{}", session.encoded_len());
    assert!(additional.encoded_len() < 260 * 1024, "{}", additional.encoded_len());
    let Some(Kind::StructValue(omitted)) = &additional.fields["omittedFields"].kind else {
        panic!("no marker")
    };
    let Some(Kind::NumberValue(count)) = omitted.fields["count"].kind else { panic!("no count") };
    assert!(count >= 1.0);
}
