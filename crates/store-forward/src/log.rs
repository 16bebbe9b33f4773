//! The write-ahead log, looked at before SQLite recovers it.
//!
//! SQLite uses a log up to the first frame that does not hold and forgets the rest without a word. That is right after a
//! power cut, when the rest is an unfinished commit; after damage the rest are commits that were acknowledged. A single bit
//! that is not what was written, in the log's header or in a frame, is found by the checksums and turned round. Where they
//! leave several to choose from, one of these is: the commits hold together then, and the checksums of the rows tell which
//! of them does not.
//!
//! Source: SQLite, "WAL-mode File Format" (walformat.html) and "Database file format", 4.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::log_checksum::{Checksum, Flip, word};
use crate::space::{FRAME, LEAST_ROW, PAGE};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The last bit tells the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;

/// What a log is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// Commits that had been acknowledged can no longer be read.
    pub(crate) damaged: bool,
    /// At most so many rows can be in the part that is not readable, acknowledged or not.
    pub(crate) rows_lost: u64,
    /// Bytes to put right: where, and what was there.
    pub(crate) corrections: Vec<(u64, u8)>,
}

/// Looks at a log that nobody has open. A log that is not there is fine. What is said of it holds once it is corrected.
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
    scan(&file, length)
}

/// What a log holds: what SQLite reads of it.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Where the newest of each page begins.
    pub(crate) pages: HashMap<u32, u64>,
    /// Pages of the database as of the last commit.
    pub(crate) count: Option<u32>,
}

/// Reads which pages are in the commits of a log that nobody has open. One that is not there has none.
pub(crate) fn committed(path: &Path) -> std::io::Result<Committed> {
    let mut found = Committed::default();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let frames = file.metadata()?.len().saturating_sub(HEADER as u64) / FRAME;
    let mut header = [0; HEADER];
    if frames > 0 {
        file.read_exact_at(&mut header, 0)?;
    }
    let Some(mut sum) = header_sum(&header) else {
        return Ok(found);
    };
    let mut commit = Vec::new();
    for index in 0..frames {
        let at = HEADER as u64 + index * FRAME;
        let mut frame = vec![0; FRAME_HEADER + PAGE as usize];
        file.read_exact_at(&mut frame, at)?;
        if !holds(&frame, &header[16..24], sum) {
            break;
        }
        sum = after(&frame, sum);
        commit.push((word(&frame, 0), at + FRAME_HEADER as u64));
        let count = word(&frame, 4);
        if count > 0 {
            found.pages.extend(commit.drain(..));
            found.count = Some(count);
        }
    }
    Ok(found)
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

/// Puts right what [`inspect`] found. A power cut on the way leaves a log of which the same can be said.
pub(crate) fn correct(path: &Path, corrections: &[(u64, u8)]) -> std::io::Result<()> {
    if corrections.is_empty() {
        return Ok(());
    }
    let file = File::options().write(true).open(path)?;
    for (at, byte) in corrections {
        file.write_all_at(&[*byte], *at)?;
    }
    file.sync_all()
}

fn scan(file: &File, length: u64) -> std::io::Result<Inspection> {
    let frames = (length - HEADER as u64) / FRAME;
    let frame = |index: u64| -> std::io::Result<Option<Vec<u8>>> {
        if index >= frames {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME_HEADER + PAGE as usize];
        file.read_exact_at(&mut frame, HEADER as u64 + index * FRAME)?;
        Ok(Some(frame))
    };
    let mut found = Inspection::default();
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let first = frame(0)?.unwrap_or_default();
    let mut sum = match header_sum(&header) {
        Some(sum) => sum,
        None => match correct_header(&mut header, &first) {
            Some((sum, at)) => {
                found.corrections.push((at as u64, header[at]));
                sum
            }
            // The header is synced before any frame, so it is never half written.
            None => {
                return Ok(Inspection {
                    damaged: true,
                    rows_lost: length / LEAST_ROW,
                    ..Inspection::default()
                });
            }
        },
    };
    let salts = &header[16..24];
    let mut broken_at = None;
    let mut commits_after = 0;
    let mut last_after = 0;
    for index in 0..frames {
        let Some(mut content) = frame(index)? else {
            break;
        };
        if broken_at.is_none() {
            if holds(&content, salts, sum) {
                sum = after(&content, sum);
                continue;
            }
            let next = frame(index + 1)?;
            if let Some((corrected, at)) = correct_frame(&mut content, salts, sum, next.as_deref())
            {
                let place = HEADER as u64 + index * FRAME + at as u64;
                found.corrections.push((place, content[at]));
                sum = corrected;
                continue;
            }
            broken_at = Some(index);
        }
        // Frames of an earlier round of the log have other salts.
        if content[8..16] == *salts {
            last_after = index + 1;
            commits_after += u64::from(word(&content, 4) != 0);
        }
    }
    let unreadable = last_after.saturating_sub(broken_at.unwrap_or(frames));
    // Each commit is synced before the next one begins: an unfinished one is followed by none.
    found.damaged = commits_after > 1;
    found.rows_lost = unreadable * FRAME / LEAST_ROW;
    Ok(found)
}

/// The checksum of a header, if it is one of a log of ours and holds.
fn header_sum(header: &[u8]) -> Option<Checksum> {
    let magic = word(header, 0);
    let ours =
        magic & !1 == MAGIC && word(header, 4) == FORMAT && u64::from(word(header, 8)) == PAGE;
    let sum = Checksum::new(magic & 1 == 1).after(&header[..24]);
    (ours && sum.holds(&header[24..])).then_some(sum)
}

/// Puts the one bit of a header right that is wrong. The first frame has to agree.
fn correct_header(header: &mut [u8; HEADER], first: &[u8]) -> Option<(Checksum, usize)> {
    for big_endian in [false, true] {
        let start = Checksum::new(big_endian);
        for Flip { at, bit } in start.flips(&header[..24], &header[24..]) {
            header[at] ^= bit;
            if let Some(sum) = header_sum(header)
                && holds(first, &header[16..24], sum)
            {
                return Some((sum, at));
            }
            header[at] ^= bit;
        }
    }
    None
}

/// Turns the one bit of a frame round that is wrong. Whether it is in the frame or in its checksum, the frame after decides.
fn correct_frame(
    frame: &mut [u8],
    salts: &[u8],
    before: Checksum,
    next: Option<&[u8]>,
) -> Option<(Checksum, usize)> {
    let wrong = bits_apart(&frame[8..16], salts);
    if wrong == 1 && after(frame, before).holds(&frame[16..24]) {
        let at = (8..16).find(|at| frame[*at] != salts[*at - 8])?;
        frame[at] = salts[at - 8];
        return Some((after(frame, before), at));
    }
    if wrong > 0 {
        return None;
    }
    let covered = [&frame[..8], &frame[FRAME_HEADER..]].concat();
    let place = |at: usize| match at {
        0..8 => at,
        // What the checksum covers, then the checksum.
        _ if at < covered.len() => at - 8 + FRAME_HEADER,
        _ => at - covered.len() + 16,
    };
    let mut only = None;
    for Flip { at, bit } in before.flips(&covered, &frame[16..24]) {
        let at = place(at);
        frame[at] ^= bit;
        let sum = after(frame, before);
        if next.is_some_and(|next| holds(next, salts, sum)) {
            return Some((sum, at));
        }
        frame[at] ^= bit;
        only = Some((sum, at, bit));
    }
    let (sum, at, bit) = only?;
    frame[at] ^= bit;
    Some((sum, at))
}

/// Whether a frame belongs to the log and follows on what has this checksum.
fn holds(frame: &[u8], salts: &[u8], before: Checksum) -> bool {
    frame.len() > FRAME_HEADER
        && frame[8..16] == *salts
        && after(frame, before).holds(&frame[16..24])
}

fn after(frame: &[u8], before: Checksum) -> Checksum {
    before.after(&frame[..8]).after(&frame[FRAME_HEADER..])
}

fn bits_apart(one: &[u8], other: &[u8]) -> u32 {
    let bits = one
        .iter()
        .zip(other)
        .map(|(one, other)| (one ^ other).count_ones());
    bits.sum()
}
