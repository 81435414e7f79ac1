//! A prost codec with small buffers. tonic's own codec allocates two buffers of 8 KiB for each
//! stream, and a watch would keep them as long as it is open.

use std::marker::PhantomData;

use prost::{EncodeError, Message};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

/// The initial size of a buffer in bytes. Most requests and heartbeats fit.
const BUFFER: usize = 512;
/// How many bytes of messages are sent at once. The same as in tonic.
const YIELD_AT: usize = 32 * 1024;

/// A message that can be sent.
pub trait Outgoing: Send + 'static {
    /// Returns the encoded size in bytes.
    fn size(&self) -> usize;

    /// Appends the encoded message to `buffer`.
    fn write(&self, buffer: &mut EncodeBuf<'_>) -> Result<(), EncodeError>;
}

impl<M: Message + 'static> Outgoing for M {
    fn size(&self) -> usize {
        self.encoded_len()
    }

    fn write(&self, buffer: &mut EncodeBuf<'_>) -> Result<(), EncodeError> {
        self.encode(buffer)
    }
}

/// A codec that encodes `T` and decodes `U`.
#[derive(Debug)]
pub struct Compact<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Compact<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Compact<T, U>
where
    T: Outgoing,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = CompactEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> CompactEncoder<T> {
        CompactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<U, U>::raw_decoder(BufferSettings::new(BUFFER, YIELD_AT))
    }
}

/// See [`Compact`].
#[derive(Debug)]
pub struct CompactEncoder<T>(PhantomData<T>);

impl<T: Outgoing> Encoder for CompactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.size());
        // This cannot fail because the buffer grows.
        message.write(buffer).map_err(|_| Status::internal("a message is too large"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_AT)
    }
}
