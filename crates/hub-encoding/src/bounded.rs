//! A payload that grows piece by piece and never passes its limit, compressed or not.
//!
//! How small a text will be cannot be told before it is compressed. So a piece is counted with the most that it may take, and when there is
//! no room left for another one, what has come so far is compressed at once and counted as what it is. The text goes through the compressor
//! once, in one stream, and the size is known for certain at each of these points.

use std::io::Write as _;

use flate2::write::GzEncoder;

use crate::gzip;

#[derive(Debug)]
pub(crate) struct Bounded {
    limit: usize,
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// The payload without gzip.
    plain: Vec<u8>,
    text: usize,
}

impl Bounded {
    pub(crate) fn new(gzip: bool, limit: usize) -> Self {
        Self {
            limit,
            encoder: gzip.then(gzip::encoder),
            plain: Vec::new(),
            text: 0,
        }
    }

    /// Bytes of the payload so far. Exact: everything that was pushed is in them.
    pub(crate) fn written(&self) -> usize {
        match &self.encoder {
            Some(encoder) => encoder.get_ref().len(),
            None => self.plain.len(),
        }
    }

    /// Bytes of text so far.
    pub(crate) fn text(&self) -> usize {
        self.text
    }

    /// Whether `text` more bytes fit for certain, with nothing after them.
    pub(crate) fn fits(&self, text: usize) -> bool {
        let most = match &self.encoder {
            Some(_) => gzip::compressed_bound(text) + gzip::FRAME_BYTES,
            None => text,
        };
        self.written() + most <= self.limit
    }

    /// Whether so little room is left that going on is not worth it: pieces get smaller and smaller otherwise.
    pub(crate) fn nearly_full(&self) -> bool {
        self.limit.saturating_sub(self.written()) < self.limit / 16
    }

    /// Appends, and compresses at once.
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.text += text.len();
        match &mut self.encoder {
            // Writing into memory does not fail.
            Some(encoder) => {
                let _ = encoder.write_all(text);
                let _ = encoder.flush();
            }
            None => self.plain.extend_from_slice(text),
        }
    }

    /// Appends the last piece.
    pub(crate) fn finish(mut self, last: &[u8]) -> Vec<u8> {
        match self.encoder {
            Some(mut encoder) => {
                let _ = encoder.write_all(last);
                encoder.finish().unwrap_or_default()
            }
            None => {
                self.plain.extend_from_slice(last);
                self.plain
            }
        }
    }
}
