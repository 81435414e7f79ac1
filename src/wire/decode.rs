//! How the body of a successful answer becomes content: at once, or piece by piece as it arrives.

use crate::wire::invalid_body::InvalidBody;

/// Decodes the body of a successful answer.
pub(crate) trait Decode<T>: Send {
    /// The reader that gets the body as it arrives. If there is none, [`Decode::decode`] gets the
    /// whole body.
    fn body_reader(&mut self) -> Option<&mut dyn BodyReader> {
        None
    }

    /// Returns the content. `body` is the whole body, or only its beginning if a reader got the
    /// body as it arrived.
    fn decode(&mut self, body: &[u8]) -> Result<T, InvalidBody>;
}

impl<T, F: FnMut(&[u8]) -> Result<T, InvalidBody> + Send> Decode<T> for F {
    fn decode(&mut self, body: &[u8]) -> Result<T, InvalidBody> {
        self(body)
    }
}

/// Reads a body as it arrives.
pub(crate) trait BodyReader: Send {
    /// Prepares for the next body.
    fn begin(&mut self);

    /// Reads one more piece, after decompression. Returns whether it wants more.
    fn read(&mut self, piece: &[u8]) -> bool;
}
