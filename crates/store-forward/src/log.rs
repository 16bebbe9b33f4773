//! The write-ahead log, looked at before SQLite recovers it.
//!
//! SQLite uses a log up to the first frame that does not hold and forgets the rest without a word. That is right after a
//! power cut, when the rest is an unfinished commit; after damage the rest are commits that were acknowledged.
//!
//! Source: SQLite, "WAL-mode File Format" (walformat.html) and "Database file format", 4.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::space::{FRAME, LEAST_ROW, PAGE};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The last bit tells the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;

/// What a log is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// Commits that had been acknowledged can no longer be read.
    pub(crate) damaged: bool,
    /// At most so many rows can be in the part that is not readable, acknowledged or not.
    pub(crate) rows_lost: u64,
}

/// Looks at a log that nobody has open. A log that is not there is fine.
pub(crate) fn inspect(path: &Path) -> std::io::Result<Inspection> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Inspection::default()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length < HEADER as u64 + FRAME {
        return Ok(Inspection::default());
    }
    scan(std::io::BufReader::with_capacity(1 << 16, file), length)
}

/// How many pages of the database are in the first frames of a log: so many are written when it is copied. A log that
/// cannot be read is copied without saying.
pub(crate) fn distinct_pages(path: &Path, frames: u64) -> u64 {
    let count = || -> std::io::Result<u64> {
        let file = File::open(path)?;
        let mut pages = std::collections::HashSet::new();
        for index in 0..frames {
            let mut page = [0; 4];
            file.read_exact_at(&mut page, HEADER as u64 + index * FRAME)?;
            pages.insert(page);
        }
        Ok(pages.len() as u64)
    };
    if frames == 0 {
        return 0;
    }
    count().unwrap_or(frames)
}

fn scan(mut file: impl Read, length: u64) -> std::io::Result<Inspection> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let magic = word(&header, 0);
    let mut sum = Checksum {
        big_endian: magic & 1 == 1,
        first: 0,
        second: 0,
    };
    sum.update(&header[..24]);
    let header_holds =
        magic & !1 == MAGIC && word(&header, 4) == FORMAT && u64::from(word(&header, 8)) == PAGE;
    if !header_holds || !sum.holds(&header[24..]) {
        // The header is synced before any frame, so it is never half written.
        return Ok(Inspection {
            damaged: true,
            rows_lost: length / LEAST_ROW,
        });
    }
    let salts = &header[16..24];
    let frames = (length - HEADER as u64) / FRAME;
    let mut frame = vec![0; FRAME_HEADER + PAGE as usize];
    let mut broken_at = None;
    let mut commits_after = 0;
    let mut last_after = 0;
    for index in 0..frames {
        file.read_exact(&mut frame)?;
        let ours = frame[8..16] == *salts;
        if broken_at.is_none() {
            sum.update(&frame[..8]);
            sum.update(&frame[FRAME_HEADER..]);
            if !ours || !sum.holds(&frame[16..24]) {
                broken_at = Some(index);
            }
        }
        // Frames of an earlier round of the log have other salts.
        if ours && broken_at.is_some() {
            last_after = index + 1;
            commits_after += u64::from(word(&frame, 4) != 0);
        }
    }
    let unreadable = last_after.saturating_sub(broken_at.unwrap_or(frames));
    Ok(Inspection {
        // Each commit is synced before the next one begins: an unfinished one is followed by none.
        damaged: commits_after > 1,
        rows_lost: unreadable * FRAME / LEAST_ROW,
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

/// The running checksum of a log.
struct Checksum {
    big_endian: bool,
    first: u32,
    second: u32,
}

impl Checksum {
    fn update(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let (left, right) = (word(pair, 0), word(pair, 4));
            let (left, right) = if self.big_endian {
                (left, right)
            } else {
                (left.swap_bytes(), right.swap_bytes())
            };
            self.first = self.first.wrapping_add(left).wrapping_add(self.second);
            self.second = self.second.wrapping_add(right).wrapping_add(self.first);
        }
    }

    fn holds(&self, stored: &[u8]) -> bool {
        self.first == word(stored, 0) && self.second == word(stored, 4)
    }
}
