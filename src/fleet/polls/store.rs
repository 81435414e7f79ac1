//! What the shared polls need of Redis. Tests run the script without it.

use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::fleet::account::AccountError;

/// Reaches the server that runs the script and passes messages on.
pub trait Store: Send + Sync {
    /// Runs the script.
    fn run(&self, keys: Vec<String>, arguments: Vec<Vec<u8>>) -> BoxFuture<'static, Answer>;

    /// Receives the messages of a channel from now on. The stream ends when the connection breaks.
    fn listen(&self, channel: String) -> BoxFuture<'static, Result<Messages, AccountError>>;
}

/// What the script answers.
pub type Answer = Result<Vec<Vec<u8>>, AccountError>;

/// The messages of a channel.
pub type Messages = BoxStream<'static, Vec<u8>>;
