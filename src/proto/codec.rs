//! How messages become bytes: prost, as in tonic's own codec, but with buffers of the messages' size.
//! tonic's begins each stream with two of 8 KiB, which a watch would keep for as long as it is open.

use std::marker::PhantomData;

use prost::{EncodeError, Message};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

/// What a buffer begins with, in bytes: enough for most requests and heartbeats.
const BUFFER: usize = 512;
/// How many bytes of messages are sent at once, as in tonic.
const YIELD_AT: usize = 32 * 1024;

/// A message as it is sent.
pub trait Outgoing: Send + 'static {
    /// Its size in bytes.
    fn size(&self) -> usize;

    /// Writes it behind what `buffer` holds.
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

/// Encodes `T`, decodes `U`.
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
        // Cannot fail in a buffer that grows.
        message.write(buffer).map_err(|_| Status::internal("a message is too large"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_AT)
    }
}
