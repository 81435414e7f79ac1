//! Calls whose request never completes.

use std::time::Duration;

use bytes::Bytes;
use h2::{SendStream, client::ResponseFuture};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Client, Edge, Settings, soon};

/// The headers of a call, and optionally half a message. The request stays open.
fn begin(client: &mut Client, method: &str, headers: &[(&str, &str)], half: bool) -> Incomplete {
    let path = format!("gotoassist.remotesupport.v1.RemoteSupportService/{method}");
    let mut request = http::Request::post(format!("http://localhost/{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, mut body) = client.send.send_request(request.body(()).unwrap(), false).unwrap();
    if half {
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 10]), false).unwrap();
    }
    Incomplete { response, _body: body }
}

struct Incomplete {
    response: ResponseFuture,
    _body: SendStream<Bytes>,
}

impl Incomplete {
    /// The end of the call, which must be a Trailers-Only answer.
    async fn end(self) -> (Code, String) {
        let response = soon(self.response).await.unwrap();
        let status = Status::from_header_map(response.headers()).expect("Trailers-Only");
        (status.code(), status.get_details_error_info().unwrap().reason)
    }
}

#[tokio::test]
async fn a_call_without_a_deadline_has_the_default_one_from_its_headers_on() {
    let call_limit = Duration::from_millis(300);
    let edge = Edge::start(Settings { call_limit, ..Settings::default() }).await;
    let mut client = edge.client().await;
    let over = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    for method in ["GetSession", "WatchSession"] {
        for half in [false, true] {
            assert_eq!(begin(&mut client, method, &[], half).end().await, over, "{method} {half}");
        }
    }
    // The default deadline does not end a watch that has begun.
    let answer = client.call("WatchSession", "open", &[("grpc-timeout", "900m")]).await.unwrap();
    assert!(answer.took > Duration::from_millis(850), "{:?}", answer.took);
    let answer = client.call("GetSession", "known", &[]).await.unwrap();
    assert_eq!(answer.status().0.code(), Code::Ok);
}

#[tokio::test]
async fn its_own_deadline_counts_from_its_headers_too() {
    let edge = Edge::start(Settings::default()).await;
    let mut client = edge.client().await;
    let call = begin(&mut client, "GetSession", &[("grpc-timeout", "200m")], true);
    assert_eq!(call.end().await, (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
}

#[tokio::test]
async fn a_drain_does_not_wait_for_calls_with_an_incomplete_request() {
    let call_limit = Duration::from_mins(5);
    let edge = Edge::start(Settings { call_limit, ..Settings::default() }).await;
    let mut client = edge.client().await;
    let begun = client.send.clone();
    let incomplete = [("GetSession", false), ("GetSession", true), ("WatchSession", true)]
        .map(|(method, half)| begin(&mut client, method, &[], half));
    // The server reads in order. When it answers this call, it has read the calls above.
    client.call("GetSession", "known", &[]).await.unwrap();
    // A call that has begun continues to its end.
    let mut other = Client { send: begun, connection: tokio::spawn(async { Ok(()) }) };
    let begun = tokio::spawn(async move {
        other.call("GetSession", "silent", &[("grpc-timeout", "700m")]).await.unwrap().status().0
    });
    client.call("GetSession", "known", &[]).await.unwrap();

    edge.shut_down();
    for call in incomplete {
        assert_eq!(call.end().await, (Code::Unavailable, "SERVER_DRAINING".to_owned()));
    }
    assert_eq!(soon(begun).await.unwrap().code(), Code::DeadlineExceeded);
    drop(client.send);
    soon(edge.served).await.unwrap();
}
