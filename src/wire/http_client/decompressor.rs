//! Decompresses a body as it arrives.

use std::io::{self, Write as _};

use flate2::write::GzDecoder;
use zstd::stream::write::Decoder;

use super::coding::{Coding, GZIP_MAGIC, ZSTD_WINDOW};

/// The most bytes that are decompressed at once. Decompression may produce a thousand times as
/// many.
const PIECE: usize = 4096;

/// The most bytes of a body without a coding that are passed on at once.
const PLAIN_PIECE: usize = 64 * 1024;

/// See the module.
pub(super) enum Decompressor {
    Identity,
    Gzip {
        decoder: Box<GzDecoder<Vec<u8>>>,
        /// Whether the last member is complete. The bytes after it are ignored.
        is_ended: bool,
    },
    Zstd(Box<Decoder<'static, Vec<u8>>>),
}

impl Decompressor {
    pub fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => {
                Self::Gzip { decoder: Box::new(GzDecoder::new(Vec::new())), is_ended: false }
            }
            Coding::Zstd => {
                let mut decoder = Decoder::new(Vec::new())?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    /// The most bytes to decompress at once. The limit keeps the wait of other tasks short.
    pub fn piece(&self) -> usize {
        match self {
            Self::Identity => PLAIN_PIECE,
            Self::Gzip { .. } | Self::Zstd(_) => PIECE,
        }
    }

    /// Decompresses the next piece. The content may come later, or at the end.
    pub fn decompress<'a>(&'a mut self, piece: &'a [u8]) -> io::Result<&'a [u8]> {
        match self {
            Self::Identity => Ok(piece),
            Self::Gzip { decoder, is_ended } => {
                if *is_ended {
                    return Ok(&[]);
                }
                decoder.get_mut().clear();
                *is_ended = gunzip(decoder, piece)?;
                Ok(decoder.get_ref())
            }
            Self::Zstd(decoder) => {
                decoder.get_mut().clear();
                decoder.write_all(piece)?;
                Ok(decoder.get_ref())
            }
        }
    }

    /// Ends the body. Returns the rest of the content.
    pub fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity | Self::Gzip { is_ended: true, .. } => Ok(Vec::new()),
            Self::Gzip { mut decoder, is_ended: false } => {
                decoder.get_mut().clear();
                decoder.finish()
            }
            Self::Zstd(mut decoder) => {
                decoder.get_mut().clear();
                decoder.flush()?;
                Ok(decoder.into_inner())
            }
        }
    }
}

/// Decompresses all members, one after the other. Returns whether other bytes follow the last one.
fn gunzip(decoder: &mut GzDecoder<Vec<u8>>, mut piece: &[u8]) -> io::Result<bool> {
    while !piece.is_empty() {
        let count = decoder.write(piece)?;
        piece = &piece[count..];
        if count == 0 {
            // The member is complete.
            decoder.try_finish()?;
            if !piece.iter().zip(GZIP_MAGIC).all(|(byte, magic)| *byte == magic) {
                return Ok(true);
            }
            let content = std::mem::take(decoder.get_mut());
            *decoder = GzDecoder::new(content);
        }
    }
    Ok(false)
}
