//! The service without sockets, which also runs on paused time.

use std::{sync::Arc, time::Duration};

use gotoassist_grpc::{
    admin::failures::Failures,
    clock::Clock,
    feed::{self, Ask, BoxedReply, Feed, Key, List},
    grpc::{
        Service,
        caller::Callers,
        concurrency::CallConcurrency,
        page_token::PageTokenCodec,
        resume_token::ResumeTokenCodec,
        session_digest::SessionDigests,
        watch::{self, Watches},
    },
    proto::{
        remote_support_service_client::RemoteSupportServiceClient,
        serving::remote_support_service_server::RemoteSupportServiceServer,
    },
    server::call::{CallSettings, Calls},
    trace::Tracer,
    traffic,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One replica. It runs until it is dropped.
pub struct Server {
    pub service: Service,
    calls: Calls,
    cutter: JoinHandle<()>,
}

pub type Client = RemoteSupportServiceClient<Calls>;

impl Server {
    /// The service with the defaults, which `alter` can change. Unary calls go to `client`, polls to
    /// `read`, and sweeps to `list`.
    pub fn assemble(
        client: traffic::Client,
        read: impl Fn(Key, Ask) -> BoxedReply + Send + Sync + 'static,
        list: Option<Box<List>>,
        callers: Callers,
        clock: Clock,
        alter: impl FnOnce(&mut feed::Settings, &mut watch::Settings),
    ) -> Self {
        let mut feed_settings = feed::Settings::default();
        let mut watch_settings = watch::Settings {
            max_age: Duration::from_hours(1),
            slow_consumer_limit: Duration::from_mins(1),
            max_watches: 100_000,
            max_per_caller: 100_000,
            max_per_session: 100_000,
            max_streams: 1_000,
            max_streams_per_caller: 1_000,
            max_per_stream: 10_000,
        };
        alter(&mut feed_settings, &mut watch_settings);
        let feed = Feed::new(read, list, feed_settings, clock, client.identities().clone());
        let watches = Watches::new(watch_settings, feed.clone());
        let cut = watches.clone();
        let service = Service {
            client,
            feed,
            watches,
            concurrency: CallConcurrency::new(1_000),
            resume_tokens: Arc::new(ResumeTokenCodec::new(None)),
            session_digests: SessionDigests::new(None),
            page_tokens: Arc::new(PageTokenCodec::new(None)),
            clock,
            callers: Arc::new(callers),
            default_deadline: Duration::from_secs(30),
        };
        let settings = CallSettings {
            log_ok_calls: 0.0,
            default_deadline: service.default_deadline,
            failures: Failures::default(),
            tracer: Tracer::default(),
            drain: CancellationToken::new(),
        };
        let calls = Calls::new(RemoteSupportServiceServer::new(service.clone()), settings);
        Self { service, calls, cutter: tokio::spawn(async move { cut.cut_slow_consumers().await }) }
    }

    /// The service as the client of a connection sees it.
    pub fn calls(&self) -> Calls {
        self.calls.clone()
    }

    pub fn client(&self) -> Client {
        RemoteSupportServiceClient::new(self.calls())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cutter.abort();
    }
}
