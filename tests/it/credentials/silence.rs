//! Logs and errors never have secrets.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::time::advance;
use tracing::{Dispatch, subscriber::DefaultGuard};

use super::{TokenEndpoint, invalid_grant, seconds, secret_file::TokenFile};

#[tokio::test(start_paused = true)]
async fn no_secret_reaches_the_log_or_an_error() {
    let log = Captured::default();
    let _guard = log.listen();
    let endpoint = TokenEndpoint::start().await;
    let file = TokenFile::new("hush-file");
    let source = file.source(&endpoint);
    let answer = json!({"access_token": "hush-access", "refresh_token": "hush-new"});
    endpoint.answer_next(400, invalid_grant());
    endpoint.answer_next(503, json!("hush-body"));
    endpoint.answer_next(200, json!({"access_token": "hush-odd", "expires_in": {}, "error": 1}));
    endpoint.answer_next(200, answer);
    let mut seen = format!("{source:?}");
    for _ in 0..4 {
        let outcome = source.authorization().await;
        write!(seen, "{outcome:?}").unwrap();
        match outcome {
            Err(error) => write!(seen, "{error}").unwrap(),
            Ok(token) => {
                let refused = source.refused(&token).await;
                write!(seen, "{:?} {refused:?}", token.header_value()).unwrap();
            }
        }
        advance(seconds(400)).await;
    }
    assert_eq!(file.read(), "hush-new\n");
    seen += &log.text();
    assert!(seen.contains("refused by the token endpoint"), "the log is captured");
    assert!(!seen.contains("hush"), "{seen}");
}

/// The log of this thread.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Captures the log until the guard is dropped.
    pub fn listen(&self) -> (DefaultGuard, Dispatch) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(self.clone())
            .finish();
        // With only one subscriber, tracing caches the interest of the first thread that logs a
        // line, which may be a thread of another test. A second subscriber prevents that.
        let other = Dispatch::new(tracing_subscriber::registry());
        (tracing::subscriber::set_default(subscriber), other)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
