//! Connections to the vendor that fail in different ways, each with its cause.

use futures_util::future::join_all;
use gotoassist_grpc::{
    proto::watch_session_response::EventType,
    simulator::{Fault, Rule, SessionScript},
};
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use super::{
    super::{Serve, session, soon},
    Load, Messages,
    gate::{Gate, Treatment},
    open_watch,
};
use crate::kit::{request::authorized, vendor::Vendor};

/// More connections than the load needs at once.
const CONNECTIONS: usize = 50;

/// How a new connection fails, and the name of the cause. The last one is permanent.
const FAILURES: [(Treatment, &str); 5] = [
    (Treatment::Reset, "reset"),
    (Treatment::Garbage, "tls"),
    (Treatment::Stranger, "certificate_unknown_issuer"),
    (Treatment::Silence, "timed_out"),
    (Treatment::Refuse, "refused"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_tells_its_cause_to_those_who_need_it_and_nobody_else_notices() {
    let vendor = Vendor::start().await;
    let gate = Gate::before(&vendor).await;
    let authority = gate.authority();
    let trusted = ["--upstream-ca-file", &authority];
    let flags = ["--upstream-retries=1", "--upstream-connect-timeout=2s"];
    let serve = Load::serve(&gate.url(), &[&trusted[..], &flags].concat()).await;
    open_connections(&vendor, &serve).await;
    let mut load = Load::start(&vendor, &serve).await;

    let mut client = serve.client().await;
    let trouble = async {
        for (treatment, cause) in FAILURES {
            vendor.put_session(SessionScript::resting(cause, "active")).unwrap();
            let watch = open_watch(&client, cause.to_owned(), cause).await;
            gate.treat(treatment).await;
            // The vendor closes the connection instead of answering, so a new one is needed.
            vendor.add_fault(Rule::from(Fault::Close).for_session(cause));
            assert_eq!(stale_cause(watch).await, cause);
            let call = client.get_session(authorized(cause, session(cause)));
            let info = call.await.unwrap_err().get_details_error_info().unwrap();
            assert_eq!(info.reason, "UPSTREAM_CONNECT_FAILED");
            assert_eq!(info.metadata["cause"], cause);
        }
    };
    load.is_undisturbed_by(trouble).await;
    let metrics = serve.page("/metrics").await;
    for (_, cause) in FAILURES {
        let line = format!(r#"gotoassist_connection_failures_total{{cause="{cause}"}}"#);
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    load.end(&vendor).await;
}

/// Makes the service open connections, which it keeps, so that the load needs no new ones.
async fn open_connections(vendor: &Vendor, serve: &Serve) {
    let slow = vendor.add_fault(Rule { delay: 3.0, ..Rule::default() });
    let client = serve.client().await;
    let calls = (0..CONNECTIONS).map(async |number| {
        // Calls of one caller for one session would share a request.
        let request = authorized(&format!("first-{number}"), session("250040353"));
        client.clone().get_session(request).await.unwrap();
    });
    soon(join_all(calls)).await;
    let at_once = vendor.counters().max_in_flight;
    assert!(at_once == CONNECTIONS, "only {at_once} connections");
    vendor.delete_fault(slow);
}

/// The cause in the first `STALE` message.
async fn stale_cause(mut watch: Messages) -> String {
    let stale = async {
        loop {
            let message = watch.message().await.unwrap().unwrap();
            if message.event_type() == EventType::Stale {
                break message.stale_cause.unwrap();
            }
        }
    };
    let status = soon(stale).await;
    let mut info = status.get_details_error_info().unwrap();
    info.metadata.remove("cause").unwrap_or_default()
}
