//! Content codings: which are accepted, and how a body is unpacked.
//!
//! reqwest can unpack too, but knows `gzip` only in this spelling, and only the first member of it.

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use zstd::Decoder;

/// The value of `Accept-Encoding`.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// The first bytes of each member of a gzip file (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The logarithm of the largest window: 8 MiB, the most that HTTP allows (RFC 9659).
const ZSTD_WINDOW: u32 = 23;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding that `headers` name, in any case (RFC 9110 §8.4.1). A body with an unknown one is
    /// taken as it is: servers put character sets there.
    pub fn of(headers: &HeaderMap) -> Self {
        let name = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"zstd" => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// Unpacks `packed` up to one byte more than `limit`, as a guard against decompression bombs. What
    /// was unpacked before an error stays in `unpacked`.
    pub fn unpack(self, packed: &[u8], limit: usize, unpacked: &mut Vec<u8>) -> io::Result<()> {
        let room = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        match self {
            Self::Plain => packed.take(room).read_to_end(unpacked)?,
            Self::Gzip => return unpack_gzip(packed, room, unpacked),
            Self::Zstd => {
                let mut decoder = Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                decoder.take(room).read_to_end(unpacked)?
            }
        };
        Ok(())
    }
}

/// Unpacks all members, one after the other. Other bytes after the last member are ignored.
fn unpack_gzip(mut packed: &[u8], mut room: u64, unpacked: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let count = GzDecoder::new(&mut packed).take(room).read_to_end(unpacked)?;
        room = room.saturating_sub(count as u64);
        if room == 0 || !packed.starts_with(&GZIP_MAGIC) {
            return Ok(());
        }
    }
}
