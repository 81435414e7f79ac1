//! Replicas that share the token of the service's user. The vendor accepts each refresh token once.

use gotoassist_grpc::config::{SimulateConfig, simulate::RefreshTokens};
use tokio::time::{Instant, sleep};
use tonic::Request;

use super::{ms, redis::Redis};
use crate::kit::{process::Serve, request::session, soon, vendor::Vendor};

struct World {
    vendor: Vendor,
    redis: Redis,
}

impl World {
    async fn start() -> Option<Self> {
        let redis = Redis::start().await?;
        let mut config = SimulateConfig::on_free_port();
        config.settings.refresh_tokens = RefreshTokens::SingleUse;
        config.settings.only_issued_tokens = true;
        Some(Self { vendor: Vendor::with(&config).await, redis })
    }

    /// A replica with this refresh token, which it keeps in no file.
    async fn replica(&self, refresh_token: &str) -> Serve {
        let mut flags = self.redis.replica_flags();
        for (flag, value) in [
            ("credentials", "service"),
            ("client-id", "id"),
            ("client-secret", "hush-secret"),
            ("token-url", &self.vendor.token_url),
            ("refresh-token", refresh_token),
        ] {
            flags.push(format!("--{flag}={value}"));
        }
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        Serve::before(&self.vendor, &flags).await
    }

    fn refreshes(&self) -> u64 {
        self.vendor.counters().token_requests
    }

    /// All that Redis keeps, as text.
    async fn everything(&self) -> String {
        let keys = self.redis.command(&["KEYS", "*"]).await;
        let mut text = keys.clone();
        for key in keys.lines() {
            text += &self.redis.command(&["HGETALL", key]).await;
        }
        text
    }
}

async fn call(replica: &Serve) {
    let call =
        async { replica.client().await.get_session(Request::new(session("250040303"))).await };
    soon(call).await.unwrap();
}

#[tokio::test]
async fn one_replica_refreshes_and_all_others_use_its_token() {
    let Some(world) = World::start().await else { return };
    let (one, two, three) =
        tokio::join!(world.replica("first"), world.replica("first"), world.replica("first"));
    for replica in [&one, &two, &three] {
        call(replica).await;
    }
    assert_eq!(world.refreshes(), 1);

    // All notice at once that the token is refused.
    world.vendor.expire_issued_tokens();
    tokio::join!(call(&one), call(&two), call(&three));
    assert_eq!(world.refreshes(), 2);

    let kept = world.everything().await;
    assert!(kept.contains(":token:"), "{kept}");
    for secret in ["first", "hush", "example.com", "Bearer", "id:"] {
        assert!(!kept.contains(secret), "{secret}: {kept}");
    }

    // A replica that starts later has a refresh token that is used up.
    one.kill().await;
    let late = world.replica("first").await;
    call(&late).await;
    assert_eq!(world.refreshes(), 2);

    // The operator gives a new one.
    let renewed = world.replica("second").await;
    call(&renewed).await;
    assert_eq!(world.refreshes(), 3);
    let log = [two.stop().await, three.stop().await, late.stop().await, renewed.stop().await];
    assert!(!log.concat().contains("hush"), "{log:?}");
}

#[tokio::test]
async fn what_others_write_is_ignored_and_a_claim_ends_by_itself() {
    let Some(world) = World::start().await else { return };
    let one = world.replica("first").await;
    call(&one).await;
    let keys = world.redis.command(&["KEYS", "*:token:*"]).await;
    let key = keys.trim();
    world.redis.command(&["HSET", key, "value", "forged-forged-forged-forged-forged"]).await;
    one.stop().await;
    // Nobody can know the token that only the ended replica and Redis had, so the operator gives
    // another one.
    let two = world.replica("second").await;
    call(&two).await;
    two.until_logged("was not written by a replica of this fleet").await;
    assert_eq!(world.refreshes(), 2);

    // A replica was killed during its refresh.
    let soon_over = jiff::Timestamp::now().as_millisecond() + 2_000;
    world.redis.command(&["HSET", key, "holder", "gone", "until", &soon_over.to_string()]).await;
    world.vendor.expire_issued_tokens();
    let began_at = Instant::now();
    call(&two).await;
    assert!(began_at.elapsed() > ms(1_000), "{:?}", began_at.elapsed());
    assert_eq!(world.refreshes(), 3);
}

#[tokio::test]
async fn without_redis_a_replica_refreshes_alone_and_tells_the_others_later() {
    let Some(mut world) = World::start().await else { return };
    let one = world.replica("first").await;
    call(&one).await;
    while one.metric("gotoassist_fleet_joined").await < 1.0 {
        sleep(ms(50)).await;
    }
    world.redis.kill().await;
    world.vendor.expire_issued_tokens();
    // The replica knows its share of the quota, so it goes on alone.
    call(&one).await;
    assert_eq!(world.refreshes(), 2);
    world.redis.restart().await;
    soon(async {
        while world.redis.command(&["KEYS", "*:token:*"]).await.trim().is_empty()
            || !world.everything().await.contains("stored")
        {
            sleep(ms(50)).await;
        }
    })
    .await;
    let late = world.replica("first").await;
    call(&late).await;
    assert_eq!(world.refreshes(), 2);
}
