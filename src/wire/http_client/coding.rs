//! Content codings: which ones the client accepts, and how a body is decompressed.
//!
//! reqwest decompresses too, but it knows `gzip` only in this spelling.

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use zstd::Decoder;

/// The value of `Accept-Encoding`.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// The first bytes of each member of a gzip file (RFC 1952 §2.3.1).
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The logarithm of the largest window: 8 MiB, the most that HTTP allows (RFC 9659).
pub(super) const ZSTD_WINDOW: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// The coding that `headers` name, in any letter case (RFC 9110 §8.4.1). A body with an unknown
    /// coding is left as it is: some servers put a character set there.
    pub fn of(headers: &HeaderMap) -> Self {
        let name = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"zstd" => Self::Zstd,
            _ => Self::Identity,
        }
    }

    /// Decompresses `body` into `content`. Stops one byte after `limit`, because a small body may
    /// become a huge one. On an error, `content` holds what was decompressed before it.
    pub fn decompress(self, body: &[u8], limit: usize, content: &mut Vec<u8>) -> io::Result<()> {
        let room = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        match self {
            Self::Identity => body.take(room).read_to_end(content)?,
            Self::Gzip => return gunzip(body, room, content),
            Self::Zstd => {
                let mut decoder = Decoder::with_buffer(body)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                decoder.take(room).read_to_end(content)?
            }
        };
        Ok(())
    }
}

/// Decompresses all members, one after the other. Ignores other bytes after the last member.
fn gunzip(mut body: &[u8], mut room: u64, content: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let count = GzDecoder::new(&mut body).take(room).read_to_end(content)?;
        room = room.saturating_sub(count as u64);
        if room == 0 || !body.starts_with(&GZIP_MAGIC) {
            return Ok(());
        }
    }
}
