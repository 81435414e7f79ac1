//! Every form of a body.

use gotoassist_grpc::{
    config::{
        SimulateConfig,
        simulate::{AbsentForm, CollaboratorForm, KeyForm, LinksForm, Shape, TimestampForm},
    },
    simulator::SessionScript,
};

use super::Running;

async fn shaped(shape: Shape) -> Running {
    let clock = Some("2026-01-02T03:04:30Z".parse().unwrap());
    let mut config = SimulateConfig { clock, ..SimulateConfig::on_free_port() };
    config.settings.shape = shape;
    let simulator = Running::with(config).await;
    let script = SessionScript::new("1")
        .step(-60.0, "waiting")
        .step(-30.0, "active")
        .step(0.0, "complete")
        .raw_field("accountKey", "-99999822536216596540")
        .field("partnerObject", "12345678901234567890");
    simulator.put_session(script).unwrap();
    simulator
}

#[tokio::test]
async fn keys_keep_all_their_digits_as_numbers_and_as_strings() {
    let keys = |keys| Shape { keys: Some(keys), ..Shape::default() };
    let as_scripted = shaped(Shape::default()).await.text("/sessions/1").await;
    assert!(as_scripted.contains(r#""accountKey":-99999822536216596540,"#), "{as_scripted}");
    assert!(as_scripted.contains(r#""partnerObject":"12345678901234567890""#), "{as_scripted}");
    let numbers = shaped(keys(KeyForm::Number)).await.text("/sessions/1").await;
    assert!(numbers.contains(r#""partnerObject":12345678901234567890"#), "{numbers}");
    let strings = shaped(keys(KeyForm::String)).await.text("/sessions/1").await;
    assert!(strings.contains(r#""accountKey":"-99999822536216596540","#), "{strings}");
}

#[tokio::test]
async fn a_session_id_can_be_a_number() {
    let shape = Shape { session_ids: Some(KeyForm::Number), ..Shape::default() };
    let simulator = shaped(shape).await;
    assert_eq!(simulator.json("/sessions/1").await["sessionId"], 1);
    assert_eq!(simulator.json("/sessions/SS-87555").await["sessionId"], "SS-87555");
}

#[tokio::test]
async fn absent_fields_can_be_null() {
    let session = shaped(Shape::default()).await.json("/sessions/1").await;
    assert_eq!(session.get("notes"), None);
    let shape = Shape { absent: Some(AbsentForm::Null), ..Shape::default() };
    let session = shaped(shape).await.json("/sessions/1").await;
    assert!(session.get("notes").unwrap().is_null());
    assert!(session["startedAt"].is_string());
}

#[tokio::test]
async fn collaborators_are_strings_or_objects() {
    for (form, is_object) in [(CollaboratorForm::Strings, false), (CollaboratorForm::Objects, true)]
    {
        let shape = Shape { collaborators: Some(form), ..Shape::default() };
        let session = shaped(shape).await.json("/sessions/1").await;
        assert_eq!(session["collaborators"].as_array().unwrap().len(), 2);
        assert_eq!(session["collaborators"][0].is_object(), is_object);
    }
}

/// `?` stands for values that depend on the time that the test took.
#[tokio::test]
async fn timestamps_come_in_every_form() {
    let forms = [
        (TimestampForm::Zulu, r#""2026-01-02T03:04:0?Z""#),
        (TimestampForm::Fraction, r#""2026-01-02T03:04:0?.??????Z""#),
        (TimestampForm::Offset, r#""2026-01-02T05:04:0?+02:00""#),
        (TimestampForm::BasicOffset, r#""2026-01-02T03:04:0?+0000""#),
        (TimestampForm::Basic, r#""20260102T03040?Z""#),
        (TimestampForm::Local, r#""2026-01-02T03:04:0?""#),
        (TimestampForm::LongFraction, r#""2026-01-02T03:04:0?.????????????Z""#),
        (TimestampForm::SpacedOffset, r#""2026-01-02T03:04:0? +0000""#),
        (TimestampForm::EpochMillis, "176732304????"),
        (TimestampForm::EpochSeconds, "176732304?"),
        (TimestampForm::FarFuture, r#""9999-12-31T23:59:59Z""#),
        (TimestampForm::Unreadable, r#""yesterday""#),
    ];
    for (form, expected) in forms {
        let shape = Shape { timestamps: Some(form), ..Shape::default() };
        let text = shaped(shape).await.text("/sessions/1").await;
        let (_, rest) = text.split_once(r#""customerJoinedAt":"#).unwrap();
        let (joined_at, _) = rest.split_once(',').unwrap();
        let is_alike = joined_at.len() == expected.len()
            && joined_at
                .chars()
                .zip(expected.chars())
                .all(|(is, meant)| meant == '?' || is == meant);
        assert!(is_alike, "{form:?}: {joined_at}");
    }
}

#[tokio::test]
async fn unknown_fields_come_with_sessions_and_links() {
    let shape = Shape { unknown_fields: Some(true), ..Shape::default() };
    let simulator = shaped(shape).await;
    assert_eq!(simulator.json("/sessions/1").await["survey"]["score"], 4.5);
    let links = simulator.text("/systemLinks?systemDomain=one.example.com").await;
    assert!(links.contains(r#""deviceCount":12345678901234567890"#), "{links}");
}

#[tokio::test]
async fn links_are_an_array_or_an_object_or_wrapped() {
    let links = |links| shaped(Shape { links, ..Shape::default() });
    let path = |domain: &str| format!("/systemLinks?systemDomain={domain}.example.com");
    let array = links(None).await;
    assert_eq!(array.json(&path("one")).await[0]["systemName"], "Helpdesk");
    assert_eq!(array.text(&path("unknown")).await, "[]");
    let object = links(Some(LinksForm::Object)).await;
    assert!(object.json(&path("one")).await["callbackURL"].is_string());
    assert_eq!(object.json(&path("two")).await.as_array().unwrap().len(), 2);
    assert_eq!(object.text(&path("unknown")).await, "{}");
    let wrapped = links(Some(LinksForm::Wrapped)).await;
    assert_eq!(wrapped.json(&path("two")).await["systemLinks"].as_array().unwrap().len(), 2);
    assert_eq!(wrapped.status("t", "/systemLinks").await, 400);
}

#[tokio::test]
async fn a_session_can_have_a_shape_of_its_own() {
    let simulator = shaped(Shape { keys: Some(KeyForm::Number), ..Shape::default() }).await;
    let shape = Shape { keys: Some(KeyForm::String), ..Shape::default() };
    let script = SessionScript { shape, ..SessionScript::resting("2", "waiting") };
    simulator.put_session(script).unwrap();
    assert!(simulator.json("/sessions/2").await["accountKey"].is_string());
    assert!(simulator.json("/sessions/1").await["accountKey"].is_number());
}

#[tokio::test]
async fn bodies_are_compressed_for_those_who_accept_it() {
    let simulator = shaped(Shape { compress: Some(true), ..Shape::default() }).await;
    let (plain, _) = simulator.raw("/sessions/1", |bytes| bytes.ends_with(b"}")).await;
    assert!(!String::from_utf8_lossy(&plain).contains("content-encoding"));
    assert_eq!(simulator.json("/sessions/1").await["status"], "complete");
    assert!(simulator.counters().recent.iter().any(|seen| {
        seen.headers.get("accept-encoding").is_some_and(|value| value.contains("gzip"))
    }));
}

#[tokio::test]
async fn the_built_in_sessions_hold_what_the_manual_says() {
    let simulator = Running::start().await;
    let every = simulator.json("/sessions/250040353").await;
    let fields = [
        "sessionId",
        "sessionType",
        "status",
        "accountKey",
        "expertName",
        "expertEmail",
        "expertUserKey",
        "partnerObject",
        "partnerObjectUrl",
        "startedAt",
        "customerJoinedAt",
        "endedAt",
        "unattendedMachineName",
        "unattendedMachineUuid",
        "accountName",
        "customerName",
        "customerEmail",
        "customerJoinUrl",
        "notes",
        "sessionRecordingUrl",
        "collaborators",
    ];
    for field in fields {
        assert!(!every[field].is_null(), "{field}");
    }
    assert_eq!(simulator.json("/sessions/250040354").await.as_object().unwrap().len(), 4);
    let keys = simulator.text("/sessions/250040355").await;
    assert!(keys.contains("99999822536216596540,") && keys.contains("-18422002972480548071"));
    assert!(simulator.text("/sessions/250040356").await.contains("王小明"));
    let notes = simulator.json("/sessions/250040359").await;
    assert!(notes["notes"].as_str().unwrap().len() > 199_000);
    assert!(simulator.json("/sessions/250040360").await["notes"].is_null());
    assert_eq!(simulator.json("/sessions/250040361").await["endedAt"], "yesterday");
    assert_eq!(simulator.status("t", "/sessions/token-250040306").await, 200);
}
