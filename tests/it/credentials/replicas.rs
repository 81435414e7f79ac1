//! Several replicas of the service with one refresh token file and single-use refresh tokens.

#![expect(clippy::unwrap_used, reason = "a test")]

use futures_util::future::join_all;
use gotoassist_grpc::{
    clock::Clock,
    config::{SimulateConfig, UpstreamConfig, simulate::RefreshTokens},
    credential::Credential,
    simulator::Rule,
    traffic::{Client, RequestContext},
    wire::{Error, Kind},
};
use tokio::time::sleep;

use super::{seconds, secret_file::TokenFile, silence::Captured};
use crate::kit::{credential::token_source, vendor::Vendor};

struct World {
    vendor: Vendor,
    replicas: Vec<Client>,
    _file: TokenFile,
}

impl World {
    async fn start(count: usize) -> Self {
        let mut config = SimulateConfig::on_free_port();
        config.settings.refresh_tokens = RefreshTokens::SingleUse;
        config.settings.only_issued_tokens = true;
        let (vendor, file) = (Vendor::with(&config).await, TokenFile::new("first"));
        let flag = ["--refresh-token-file", file.path.to_str().unwrap()];
        let upstream = UpstreamConfig::at(vendor.rest_url.parse().unwrap());
        let replica = || {
            let tokens = token_source(&vendor.token_url, &flag);
            Client::new(&upstream, Some(tokens), Clock::system()).unwrap()
        };
        let replicas = (0..count).map(|_| replica()).collect();
        let world = Self { vendor, replicas, _file: file };
        assert!(world.calls().await.iter().all(Result::is_ok));
        world
    }

    /// All tokens expire. The replica that refreshes first gets its answer after the other
    /// replicas.
    fn expire_tokens(&self) {
        self.vendor.expire_issued_tokens();
        let rule = r#"{"fault":{"kind":"right"},"route":"token","times":1,"delay":0.6}"#;
        self.vendor.add_fault(rule.parse::<Rule>().unwrap());
    }

    /// Makes one call on each replica at the same time.
    async fn calls(&self) -> Vec<Result<(), Error>> {
        let call = async |replica: &Client| {
            let id = "250040303".parse().unwrap();
            replica.session(&Credential::SERVICE, &id, RequestContext::default()).await.map(drop)
        };
        join_all(self.replicas.iter().map(call)).await
    }
}

#[tokio::test(start_paused = true)]
async fn all_calls_succeed_if_the_tokens_of_all_replicas_are_refused_at_once() {
    for count in [2, 3] {
        let log = Captured::default();
        let _guard = log.listen();
        let world = World::start(count).await;
        for _ in 0..3 {
            world.expire_tokens();
            let calls = world.calls().await;
            assert!(calls.iter().all(Result::is_ok), "{calls:?}");
            sleep(seconds(40)).await;
        }
        assert!(!log.text().contains("ERROR"), "{}", log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_worked_and_are_refused_again_soon_are_no_missing_seat() {
    let world = World::start(2).await;
    for pause in [4, 12, 19] {
        world.expire_tokens();
        assert!(world.calls().await.iter().all(Result::is_ok));
        sleep(seconds(pause)).await;
        world.expire_tokens();
        let mut longest_wait = seconds(0);
        for call in world.calls().await {
            let error = call.unwrap_err();
            assert_eq!(error.kind, Kind::CredentialUnavailable);
            let wait = error.retry_after.unwrap();
            assert!(wait > seconds(29 - pause) && wait <= seconds(30 - pause), "{wait:?}");
            longest_wait = longest_wait.max(wait);
        }
        sleep(longest_wait).await;
        assert!(world.calls().await.iter().all(Result::is_ok));
        sleep(seconds(40)).await;
    }
}
