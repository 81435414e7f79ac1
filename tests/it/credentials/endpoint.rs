//! A fake token endpoint for the tests of the token source.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::AbortHandle, time::Instant};

/// The content of one request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub authorization: String,
    pub form: HashMap<String, String>,
}

/// A token endpoint on its own port. It stops when it is dropped.
pub struct TokenEndpoint {
    pub url: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    answers: Mutex<VecDeque<(StatusCode, Value)>>,
    usual: Mutex<Option<(StatusCode, Value)>>,
    held: Mutex<Option<Arc<Semaphore>>>,
}

impl TokenEndpoint {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let app = Router::new().route("/oauth/token", post(answer)).with_state(shared.clone());
        let serve = async move { axum::serve(listener, app).await.unwrap() };
        let server = tokio::spawn(serve).abort_handle();
        Self { url, shared, server }
    }

    /// Gives this answer to the next request. Later requests get a token that is valid for an hour.
    pub fn answer_next(&self, status: u16, body: Value) {
        let status = StatusCode::from_u16(status).unwrap();
        self.shared.answers.lock().unwrap().push_back((status, body));
    }

    /// Gives this answer to every request from now on.
    pub fn answer_always(&self, status: u16, body: Value) {
        let status = StatusCode::from_u16(status).unwrap();
        *self.shared.usual.lock().unwrap() = Some((status, body));
    }

    /// Gives every request a token that is valid for an hour again.
    pub fn answer_well(&self) {
        *self.shared.usual.lock().unwrap() = None;
    }

    /// Holds all answers back until a permit is added.
    pub fn hold(&self) -> Arc<Semaphore> {
        let held = Arc::new(Semaphore::new(0));
        *self.shared.held.lock().unwrap() = Some(Arc::clone(&held));
        held
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub async fn until_asked(&self, times: usize) {
        let start = Instant::now();
        while self.asked().len() < times {
            assert!(start.elapsed() < Duration::from_hours(1), "it is not asked");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    let form = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let authorization = headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let number = {
        let mut asked = shared.asked.lock().unwrap();
        asked.push(Asked { at: Instant::now(), authorization, form });
        asked.len()
    };
    let held = shared.held.lock().unwrap().clone();
    if let Some(held) = held {
        held.acquire().await.unwrap().forget();
    }
    let next = shared.answers.lock().unwrap().pop_front();
    let usual = || shared.usual.lock().unwrap().clone();
    let (status, body) = next.or_else(usual).unwrap_or_else(|| {
        (StatusCode::OK, json!({"access_token": format!("access-{number}"), "expires_in": 3600}))
    });
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    (status, [(header::CONTENT_TYPE, "application/json")], text)
}
