//! The health protocol, as probes and client libraries use it.

use std::time::Duration;

use gotoassist_grpc::{
    grpc::health::{OVERALL, REMOTE_SUPPORT, UPSTREAM},
    proto::health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest,
        health_check_response::ServingStatus, health_client::HealthClient,
    },
};
use tokio::time::timeout;
use tonic::{Code, Streaming, transport::Channel};

use super::{Edge, Settings, soon};

async fn probe(edge: &Edge) -> HealthClient<Channel> {
    let channel = Channel::from_shared(format!("http://{}", edge.address)).unwrap();
    HealthClient::new(channel.connect().await.unwrap())
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    soon(watch.message()).await.unwrap().map(|message| message.status())
}

#[tokio::test]
async fn a_check_tells_each_service_and_refuses_an_unknown_one() {
    let edge = Edge::start(Settings::default()).await;
    let mut probe = probe(&edge).await;
    edge.health.set(REMOTE_SUPPORT, true);

    for (service, status) in [
        (OVERALL, ServingStatus::NotServing),
        (REMOTE_SUPPORT, ServingStatus::Serving),
        (UPSTREAM, ServingStatus::NotServing),
    ] {
        let answer = probe.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), status, "{service}");
    }
    assert_eq!(probe.check(of("nobody")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_list_tells_all_services() {
    let edge = Edge::start(Settings::default()).await;
    edge.health.set(OVERALL, true);
    let answer = probe(&edge).await.list(HealthListRequest {}).await.unwrap().into_inner();
    let mut statuses: Vec<_> =
        answer.statuses.iter().map(|(service, answer)| (&**service, answer.status())).collect();
    statuses.sort_unstable();
    assert_eq!(
        statuses,
        [
            (OVERALL, ServingStatus::Serving),
            (REMOTE_SUPPORT, ServingStatus::NotServing),
            (UPSTREAM, ServingStatus::NotServing),
        ]
    );
}

#[tokio::test]
async fn a_watch_tells_changes_and_nothing_twice() {
    let edge = Edge::start(Settings::default()).await;
    let mut watch = probe(&edge).await.watch(of(UPSTREAM)).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));

    edge.health.set(UPSTREAM, false);
    edge.health.set(OVERALL, true);
    assert!(timeout(Duration::from_millis(100), watch.message()).await.is_err());

    edge.health.set(UPSTREAM, true);
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
}

#[tokio::test]
async fn a_watch_of_an_unknown_service_stays_open_until_it_is_known() {
    let edge = Edge::start(Settings::default()).await;
    let mut watch = probe(&edge).await.watch(of("later")).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));

    edge.health.set(OVERALL, true);
    assert!(timeout(Duration::from_millis(100), watch.message()).await.is_err());
    edge.health.set("later", true);
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
}

#[tokio::test]
async fn a_drained_server_never_serves_again_and_a_closed_one_ends_its_watches() {
    let mut edge = Edge::start(Settings::default()).await;
    edge.health.set(OVERALL, true);
    let mut watch = probe(&edge).await.watch(of(OVERALL)).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));

    edge.health.drain();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    edge.health.set(OVERALL, true);
    assert!(!edge.health.is_ready());

    edge.shut_down();
    assert!(timeout(Duration::from_millis(100), &mut edge.served).await.is_err());
    edge.health.close();
    assert_eq!(next(&mut watch).await, None);
    soon(edge.served).await.unwrap();
}
