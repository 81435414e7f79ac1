//! An HTTP endpoint that takes status callbacks and keeps them.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, routing::any};
use http::{HeaderMap, Method, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// One request, as it came.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) at: Instant,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: String,
}

impl Post {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Takes callbacks until it is dropped.
pub(super) struct Receiver {
    pub(super) url: String,
    posts: Arc<Mutex<Vec<Post>>>,
    running: JoinHandle<()>,
}

impl Receiver {
    /// A receiver that answers with a status.
    pub(super) async fn start(status: StatusCode) -> Self {
        Self::after(Duration::ZERO, status).await
    }

    /// A receiver that answers after some time.
    pub(super) async fn after(pause: Duration, status: StatusCode) -> Self {
        let posts = Arc::new(Mutex::new(Vec::new()));
        let known = posts.clone();
        let take = async move |method, uri: Uri, headers: HeaderMap, body: Bytes| {
            known.lock().push(Post {
                at: Instant::now(),
                method,
                path: uri.to_string(),
                content_type: headers["content-type"].to_str().unwrap().into(),
                body: String::from_utf8(body.to_vec()).unwrap(),
            });
            sleep(pause).await;
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callback/secret?a=b", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(take));
        let running = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, posts, running }
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        self.posts.lock().clone()
    }

    /// The statuses that were received, with the id of each session.
    pub(super) fn statuses(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.to_string().trim_matches('"').to_owned();
        let told = self.posts().into_iter().map(|post| post.json());
        told.map(|told| (text(&told["sessionId"]), text(&told["status"]))).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.running.abort();
    }
}
