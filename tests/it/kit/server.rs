//! The service without sockets, which also lives on paused time.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::{
    clock::Clock,
    feed::{self, Ask, BoxedReply, Feed, Key, Pace},
    grpc::{
        Service,
        caller::Callers,
        place::Calls,
        resume_token::Sealer,
        watch::{self, Watches},
    },
    proto::{
        remote_support_service_client::RemoteSupportServiceClient,
        serving::remote_support_service_server::RemoteSupportServiceServer,
    },
    server::deadline::{DeadlineLayer, DeadlineService},
    traffic,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

/// One replica, which runs until it is dropped.
pub struct Server {
    pub service: Service,
    cutter: JoinHandle<()>,
}

pub type Client = RemoteSupportServiceClient<DeadlineService<RemoteSupportServiceServer<Service>>>;

impl Server {
    /// The service with its defaults, altered. Unary calls go to `client`, and polls to `read`.
    pub fn assemble(
        client: traffic::Client,
        read: impl Fn(Key, Ask) -> BoxedReply + Send + Sync + 'static,
        callers: Callers,
        clock: Clock,
        alter: impl FnOnce(&mut feed::Settings, &mut watch::Settings),
    ) -> Self {
        let mut feed_settings = feed::Settings {
            pace: Pace::default(),
            confirm_after: Duration::from_secs(1),
            stale_after: 3,
            outage_limit: Duration::from_mins(15),
            linger: Duration::from_secs(2),
        };
        let mut watch_settings = watch::Settings {
            max_age: Duration::from_hours(1),
            stall_limit: Duration::from_mins(1),
            max_watches: 100_000,
            max_per_caller: 100_000,
            max_per_session: 100_000,
        };
        alter(&mut feed_settings, &mut watch_settings);
        let feed = Feed::new(read, feed_settings, clock, client.identities().clone());
        let watches = Watches::new(watch_settings, feed.clone());
        let cut = watches.clone();
        Self {
            service: Service {
                client,
                feed,
                watches,
                calls: Calls::new(1_000),
                sealer: Arc::new(Sealer::new(None)),
                clock,
                callers: Arc::new(callers),
                call_limit: Duration::from_secs(30),
            },
            cutter: tokio::spawn(async move { cut.cut_stalled().await }),
        }
    }

    pub fn client(&self) -> Client {
        let server = RemoteSupportServiceServer::new(self.service.clone());
        let deadlines = DeadlineLayer::new(self.service.call_limit, CancellationToken::new());
        RemoteSupportServiceClient::new(deadlines.layer(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cutter.abort();
    }
}
