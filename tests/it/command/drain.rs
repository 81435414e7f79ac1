//! How `serve` ends.

use super::run;
use crate::kit::{process::Serve, soon};

#[tokio::test]
async fn a_drain_waits_for_load_balancers_only_if_there_may_be_one() {
    let flags = ["--drain-delay", "1h", "--drain-grace", "2h"];
    let idle = Serve::start(&flags).await;
    idle.signal("-INT").await;
    idle.ended().await;

    let asked = Serve::start(&flags).await;
    assert!(asked.page("/readyz").await.contains("200 OK"));
    let connected = Serve::start(&flags).await;
    let channel = connected.channel().await;
    for mut serve in [asked, connected] {
        serve.signal("-INT").await;
        serve.until_logged("draining watches=0").await;
        assert!(serve.page("/readyz").await.contains("503"), "it still waits");
        serve.signal("-INT").await;
        assert_eq!(serve.exit_code().await, Some(130));
    }
    drop(channel);
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let mut serve = Serve::start(&["--drain-delay", "1h", "--drain-grace", "2h"]).await;
    let server = serve.url();
    // Without a probe there would be nobody to wait for.
    assert_eq!(run(&["health", "--server", &server]).await.0, 0);
    serve.signal("-TERM").await;
    // When health fails, the first signal has arrived.
    let turned = async { while run(&["health", "--server", &server]).await.0 == 0 {} };
    soon(turned).await;
    serve.signal("-TERM").await;
    assert_eq!(serve.exit_code().await, Some(143));
}
