//! How the body of a successful answer becomes content: at once, or piece by piece as it arrives.

use crate::wire::invalid_body::InvalidBody;

/// Decodes the body of a successful answer.
pub(crate) trait Decode<T>: Send {
    /// What reads the body as it arrives. Without one, the whole body goes to [`Decode::decode`].
    fn body_reader(&mut self) -> Option<&mut dyn BodyReader> {
        None
    }

    /// The content. `body` is the whole body, or its beginning if it was read as it arrived.
    fn decode(&mut self, body: &[u8]) -> Result<T, InvalidBody>;
}

impl<T, F: FnMut(&[u8]) -> Result<T, InvalidBody> + Send> Decode<T> for F {
    fn decode(&mut self, body: &[u8]) -> Result<T, InvalidBody> {
        self(body)
    }
}

/// Reads a body as it arrives.
pub(crate) trait BodyReader: Send {
    /// Begins with the next body.
    fn begin(&mut self);

    /// Reads one more piece, after decompression. Returns whether it wants more.
    fn read(&mut self, piece: &[u8]) -> bool;
}
