//! A browser without a screen: it follows no redirect by itself.

use std::time::Duration;

use reqwest::{Client, redirect::Policy};

/// An HTTP client that shows redirects, and uses no proxy.
pub fn browser() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        // Reading the machine's certificates would take longer than the test.
        .tls_certs_only([])
        .redirect(Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

/// Gets a page that redirects. Returns where to.
pub async fn redirected(client: &Client, url: &str) -> String {
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 302, "{url}");
    answer.headers()["location"].to_str().unwrap().to_owned()
}
