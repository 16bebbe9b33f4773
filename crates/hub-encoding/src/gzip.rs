//! gzip (RFC 1952) of whole texts, deterministic, and its undoing within a bound.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// The first bytes of a gzip file. No JSON text begins with them.
pub(crate) const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Header, an empty last block and the trailer, with room.
pub(crate) const FRAME_BYTES: usize = 64;

/// A compressor into memory. flate2 writes 0 as the time of the file, so that the same text makes the same bytes.
pub(crate) fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::default())
}

/// How many bytes `text` bytes take at most once they are compressed and flushed.
///
/// A compressor stores what it cannot shrink, in blocks with a few bytes each; this leaves far more room than that, since miniz_oxide names
/// no bound of its own. zlib's `deflateBound` for its least favourable settings is `n + (n + 7) / 8 + (n + 63) / 64 + 5`.
pub(crate) fn compressed_bound(text: usize) -> usize {
    text + text / 8 + text / 64 + 64
}

/// `text` compressed. Writing into memory does not fail; if it did, the text would be taken as incompressible.
pub(crate) fn compress(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = encoder();
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}

/// Why a text could not be unpacked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It goes on beyond the limit.
    TooLarge,
    /// It is damaged.
    Damaged(std::io::Error),
}

/// Undoes [`compress`], and stops at `limit` bytes. What follows a complete member must be another one.
pub(crate) fn decompress(payload: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let end = limit as u64 + 1;
    MultiGzDecoder::new(payload)
        .take(end)
        .read_to_end(&mut text)
        .map_err(Failure::Damaged)?;
    if text.len() > limit {
        return Err(Failure::TooLarge);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_text_makes_the_same_bytes_without_a_time() {
        let one = compress(b"text").unwrap();
        assert_eq!(one, compress(b"text").unwrap());
        assert_eq!((&one[..2], &one[4..8]), (&MAGIC[..], &[0; 4][..]));
        assert_eq!(decompress(&one, 4).unwrap(), b"text");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let bomb = compress(&vec![b'0'; 4 << 20]).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(matches!(decompress(&bomb, 1000), Err(Failure::TooLarge)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_bound_holds_even_for_noise(seed in any::<u64>(), sizes in proptest::collection::vec(1usize..40_000, 1..6)) {
            let mut state = seed | 1;
            let mut encoder = encoder();
            let mut before = 0;
            for size in sizes {
                let noise: Vec<u8> = (0..size).map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                }).collect();
                encoder.write_all(&noise).unwrap();
                encoder.flush().unwrap();
                let after = encoder.get_ref().len();
                let header = if before == 0 { 10 } else { 0 };
                prop_assert!(after - before <= compressed_bound(size) + header, "{} for {}", after - before, size);
                before = after;
            }
            prop_assert!(encoder.finish().unwrap().len() - before <= FRAME_BYTES - 10);
        }
    }
}
