//! The service with valid upstream answers, and its upstream requests, over real sockets.

use std::collections::BTreeSet;

use gotoassist_grpc::proto::{
    GetSessionRequest, ListSystemLinksRequest, Session, SessionStatus, WatchSessionRequest,
    health::{HealthCheckRequest, health_client::HealthClient},
    watch_session_response::EventType,
};
use prost_types::{Struct, value::Kind};
use tonic::{Code, Request, Status};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use crate::kit::{harness::Harness, request::authorized, soon};

const SERVICE: &str = "gotoassist.remotesupport.v1.RemoteSupportService";

async fn get(harness: &Harness, id: &str) -> Result<Session, Status> {
    let request = GetSessionRequest { session_id: id.to_owned() };
    let answer = soon(harness.client().get_session(authorized("t", request))).await?;
    Ok(answer.into_inner().session.expect("a session"))
}

#[tokio::test]
async fn every_field_of_a_session_arrives() {
    let harness = Harness::start().await;
    let session = get(&harness, "250040353").await.unwrap();
    assert_eq!(session.session_id, "250040353");
    assert_eq!(session.session_type, "screen_sharing");
    assert_eq!(session.status(), SessionStatus::Complete);
    assert_eq!(session.upstream_status, "complete");
    assert_eq!(session.account_key, "1842200297248054807");
    for (field, expected) in [
        (&session.expert_name, "Erika Expert"),
        (&session.expert_email, "erika.expert@example.com"),
        (&session.expert_user_key, "9999982253621659654"),
        (&session.partner_object, "8817265"),
        (&session.partner_object_url, "https://tickets.example.com/8817265"),
        (&session.unattended_machine_name, "FRONT-DESK-07"),
        (&session.unattended_machine_uuid, "5f0a54b2-6a3b-4d5e-9f6e-3b0d2c9f7a11"),
        (&session.account_name, "Example GmbH"),
        (&session.customer_name, "Carl Customer"),
        (&session.customer_email, "carl.customer@example.com"),
        (&session.customer_join_url, "https://www.fastsupport.example/?join=250040353"),
        (&session.notes, "Replaced the printer driver."),
        (&session.session_recording_url, "https://recordings.example.com/250040353"),
    ] {
        assert_eq!(field.as_deref(), Some(expected));
    }
    // The session began an hour ago. The customer joined after six minutes and left after thirty.
    let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().unwrap().seconds;
    let began = seconds(&session.started_at);
    assert_eq!(seconds(&session.customer_joined_at) - began, 360);
    assert_eq!(seconds(&session.ended_at) - began, 1800);

    let [tina, tom] = session.collaborators.as_slice() else { panic!("two collaborators") };
    assert_eq!((&*tina.name, &*tina.email), ("Tina Technician", "tina@example.com"));
    assert_eq!(tina.user_key, "7004410");
    assert_eq!(tom.name, "Tom Technician");

    let more = session.additional_fields.as_ref().unwrap();
    assert_eq!(more.fields.keys().collect::<Vec<_>>(), ["sessionStartToken", "survey"]);
    assert_eq!(text(more, "sessionStartToken"), "start-token");

    let debug = format!("{session:?} {tina:?}");
    for secret in ["Carl", "Tina", "join=", "printer", "250040353", "start-token"] {
        assert!(!debug.contains(secret), "{debug}");
    }
}

#[tokio::test]
async fn what_the_vendor_leaves_out_is_absent() {
    let harness = Harness::start().await;
    for id in ["250040354", "250040360"] {
        let session = get(&harness, id).await.unwrap();
        assert_eq!(session.notes, None, "{id}");
        assert_eq!(session.customer_name, None, "{id}");
        assert_eq!(session.ended_at, None, "{id}");
        assert!(session.collaborators.is_empty(), "{id}");
    }
}

#[tokio::test]
async fn keys_keep_every_digit() {
    let harness = Harness::start().await;
    let session = get(&harness, "250040355").await.unwrap();
    assert_eq!(session.account_key, "99999822536216596540");
    assert_eq!(session.partner_object.as_deref(), Some("-18422002972480548071"));
}

#[tokio::test]
async fn a_status_without_a_name_and_times_without_sense_are_no_errors() {
    let harness = Harness::start().await;
    let session = get(&harness, "250040357").await.unwrap();
    assert_eq!(session.status(), SessionStatus::Unspecified);
    assert_eq!(session.upstream_status, "onHold");
    let session = get(&harness, "250040361").await.unwrap();
    assert_eq!(session.ended_at, None);
    assert_eq!(text(session.additional_fields.as_ref().unwrap(), "endedAt"), "yesterday");
}

#[tokio::test]
async fn links_arrive_with_their_tokens_which_no_debug_shows() {
    let harness = Harness::start().await;
    let links = async |domain: &str| {
        let request = ListSystemLinksRequest { system_domain: domain.to_owned() };
        let answer = soon(harness.client().list_system_links(authorized("t", request))).await;
        answer.unwrap().into_inner()
    };
    assert!(links("unknown.example.com").await.system_links.is_empty());
    let answer = links("two.example.com").await;
    let [helpdesk, billing] = answer.system_links.as_slice() else { panic!("two links") };
    assert_eq!((&*helpdesk.system_name, &*billing.system_name), ("Helpdesk", "Billing"));
    assert_eq!(helpdesk.system_domain, "two.example.com");
    assert_eq!(helpdesk.user_email, "helpdesk@example.com");
    assert_eq!(helpdesk.callback_url, "https://helpdesk.example.com/callback");
    assert_eq!(helpdesk.user_token, "8f14e45fceea167a5a36dedd4bea2543");
    let debug = format!("{answer:?} {helpdesk:?}");
    assert!(!debug.contains("8f14e") && !debug.contains("helpdesk@"), "{debug}");
}

#[tokio::test]
async fn an_argument_is_one_segment_or_value_whatever_is_in_it() {
    let harness = Harness::start().await;
    let longest = "x".repeat(512);
    for (argument, encoded) in [
        ("../systemLinks", "..%2FsystemLinks"),
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("a b&c=d+e;f", "a%20b%26c%3Dd%2Be%3Bf"),
        ("%2F", "%252F"),
        ("%2e%2e", "%252e%252e"),
        ("...", "..."),
        ("a\\b", "a%5Cb"),
        ("Zoë 王", "Zo%C3%AB%20%E7%8E%8B"),
        ("\u{202e}\u{1f527}", "%E2%80%AE%F0%9F%94%A7"),
        (&longest, &longest),
    ] {
        harness.vendor.reset_counters();
        assert_eq!(get(&harness, argument).await.unwrap_err().code(), Code::NotFound);
        let request = ListSystemLinksRequest { system_domain: argument.to_owned() };
        let answer = soon(harness.client().list_system_links(authorized("t", request))).await;
        assert!(answer.unwrap().into_inner().system_links.is_empty());
        let session = format!("/G2A/rest/v1/sessions/{encoded}");
        let links = format!("/G2A/rest/v1/systemLinks?systemDomain={encoded}");
        assert_eq!(harness.targets(), [session, links]);
    }
    assert_eq!(get(&harness, "a/b?c%2F d").await.unwrap().session_id, "a/b?c%2F d");
}

#[tokio::test]
async fn an_argument_that_could_be_more_is_refused_and_nothing_sent() {
    let harness = Harness::start().await;
    let too_long = "x".repeat(513);
    let two_bytes_each = "é".repeat(257);
    for argument in
        ["", ".", "..", "a\r\nb", "\0", "\t", "\u{7f}", "\u{85}", &too_long, &two_bytes_each]
    {
        let refused = |status: Status, field: &str| {
            assert_eq!(status.code(), Code::InvalidArgument, "{argument:?}");
            assert_eq!(status.get_details_error_info().unwrap().reason, "ARGUMENT_INVALID");
            let violations = status.get_details_bad_request().unwrap().field_violations;
            assert_eq!(violations.len(), 1);
            assert_eq!(violations[0].field, field);
            assert!(!violations[0].description.is_empty());
        };
        refused(get(&harness, argument).await.unwrap_err(), "session_id");
        let request = WatchSessionRequest { session_id: argument.to_owned(), ..Default::default() };
        let answer = soon(harness.client().watch_session(authorized("t", request))).await;
        refused(answer.unwrap_err(), "session_id");
        let request = ListSystemLinksRequest { system_domain: argument.to_owned() };
        let answer = soon(harness.client().list_system_links(authorized("t", request))).await;
        refused(answer.unwrap_err(), "system_domain");
    }
    assert_eq!(harness.vendor.counters().requests, 0);
}

#[tokio::test]
async fn the_callers_credential_goes_upstream_in_both_of_its_forms() {
    let harness = Harness::start().await;
    for authorization in ["Bearer own-token", "OAuth oauth_token=own-token"] {
        let mut request = Request::new(GetSessionRequest { session_id: "250040301".into() });
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        soon(harness.client().get_session(request)).await.unwrap();
    }
    assert_eq!(harness.vendor.counters().of_credential("own-token"), 2);
}

#[tokio::test]
async fn who_accepts_some_staleness_is_served_by_a_watch() {
    let harness = Harness::with(&["--poll-active=1h"]).await;
    let id = "250040303";
    let asked = || harness.vendor.counters().of_session(id);
    let request = WatchSessionRequest { session_id: id.into(), ..Default::default() };
    let watch = soon(harness.client().watch_session(authorized("t", request))).await;
    let mut watch = watch.unwrap().into_inner();
    let snapshot = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(snapshot.event_type(), EventType::Snapshot);
    assert_eq!(asked(), 1);

    let get = async |token: &str, max_staleness: Option<&str>| {
        let mut request = authorized(token, GetSessionRequest { session_id: id.into() });
        if let Some(age) = max_staleness {
            request.metadata_mut().insert("max-staleness", age.parse().unwrap());
        }
        soon(harness.client().get_session(request)).await
    };
    let answer = get("t", Some("1m")).await.unwrap().into_inner();
    assert_eq!(answer.session, snapshot.session);
    assert_eq!(answer.observed_at, snapshot.observed_at);
    assert_eq!(asked(), 1, "the watch had it");
    get("t", Some("0s")).await.unwrap();
    assert_eq!(asked(), 2, "so fresh it was not");
    get("t", None).await.unwrap();
    assert_eq!(asked(), 3, "the vendor is asked unless the caller says otherwise");
    get("another", Some("1m")).await.unwrap();
    assert_eq!(asked(), 4, "nothing is shared with another credential");
    let refusal = get("t", Some("soon")).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let violations = refusal.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "max-staleness");
    assert_eq!(asked(), 4);
}

#[tokio::test]
async fn a_watch_of_a_finished_session_is_one_terminal_snapshot() {
    let harness = Harness::start().await;
    let request = WatchSessionRequest { session_id: "250040304".into(), ..Default::default() };
    let watch = soon(harness.client().watch_session(authorized("t", request))).await;
    let mut watch = watch.unwrap().into_inner();
    let only = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(only.event_type(), EventType::Snapshot);
    assert!(only.terminal);
    assert_eq!(soon(watch.message()).await.unwrap(), None);
}

#[tokio::test]
async fn both_reflections_list_everything_and_hold_every_message() {
    let harness = Harness::start().await;
    let expected = [
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    assert_eq!(v1_services(&harness).await, expected.map(String::from).into());
    assert_eq!(v1alpha_services(&harness).await, expected.map(String::from).into());
}

macro_rules! services {
    ($name:ident, $version:ident) => {
        /// The services that this version of reflection lists. It must also have the file of each
        /// service.
        async fn $name(harness: &Harness) -> BTreeSet<String> {
            use $version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let ask = async |message_request| {
                let request = ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(message_request),
                };
                let mut client = ServerReflectionClient::new(harness.channel());
                let answers =
                    client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
                let answer = soon(answers.into_inner().message()).await.unwrap().unwrap();
                answer.message_response.unwrap()
            };
            let MessageResponse::ListServicesResponse(list) =
                ask(MessageRequest::ListServices(String::new())).await
            else {
                panic!("no list")
            };
            let names: BTreeSet<_> = list.service.into_iter().map(|service| service.name).collect();
            let messages = ["WatchSessionResponse", "Session", "SystemLink"]
                .map(|message| format!("gotoassist.remotesupport.v1.{message}"));
            for symbol in names.iter().chain(&messages) {
                let answer = ask(MessageRequest::FileContainingSymbol(symbol.clone())).await;
                let MessageResponse::FileDescriptorResponse(files) = answer else {
                    panic!("{symbol} is not described")
                };
                assert!(!files.file_descriptor_proto.is_empty(), "{symbol}");
            }
            names
        }
    };
}

services!(v1_services, v1);
services!(v1alpha_services, v1alpha);

#[tokio::test]
async fn health_is_told_for_the_server_and_the_service() {
    let harness = Harness::start().await;
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        soon(HealthClient::new(harness.channel()).check(request)).await
    };
    for service in ["", SERVICE] {
        let answer = check(service).await.unwrap().into_inner();
        assert_eq!(answer.status().as_str_name(), "SERVING", "{service}");
    }
    assert_eq!(check("nobody").await.unwrap_err().code(), Code::NotFound);
}

fn text<'a>(fields: &'a Struct, name: &str) -> &'a str {
    match fields.fields[name].kind.as_ref() {
        Some(Kind::StringValue(text)) => text,
        _ => panic!("{name} is no text"),
    }
}
