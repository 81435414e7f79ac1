//! Reads one watch.

use gotoassist_grpc::proto::{WatchSessionResponse, watch_session_response::EventType};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::world::PATIENCE;
use crate::kit::reason;

/// Reads one watch.
pub struct Watcher {
    pub stream: Streaming<WatchSessionResponse>,
}

/// How a watch ended.
#[derive(Debug)]
pub enum End {
    Ok,
    Error(Status),
}

impl Watcher {
    /// The next message of any kind.
    pub async fn next(&mut self) -> Result<WatchSessionResponse, End> {
        match timeout(PATIENCE, self.stream.message()).await.expect("no end, no message") {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(End::Ok),
            Err(status) => Err(End::Error(status)),
        }
    }

    /// The next message, without heartbeats.
    pub async fn news(&mut self) -> WatchSessionResponse {
        loop {
            let message = self.next().await.unwrap();
            if message.event_type() != EventType::Heartbeat {
                return message;
            }
        }
    }

    /// All messages until the end.
    pub async fn rest(&mut self) -> (Vec<WatchSessionResponse>, End) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err(end) => return (messages, end),
            }
        }
    }
}

impl End {
    pub fn code(&self) -> Code {
        match self {
            End::Ok => Code::Ok,
            End::Error(status) => status.code(),
        }
    }

    pub fn reason(&self) -> String {
        match self {
            End::Ok => String::new(),
            End::Error(status) => reason(status),
        }
    }
}
