//! The first page of the file, as bytes.
//!
//! Its fixed fields and the schema on it are the same in every queue of a version, so they need no copy to be restored
//! from. Source: SQLite, "Database file format", 1.3.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::schema;
use crate::space::PAGE;

/// What is always the same: offset and bytes. Between the creation of a file and its first checkpoint the encoding and
/// the schema format are zero; these are left to SQLite.
const FIXED: [(usize, &[u8]); 5] = [
    (0, b"SQLite format 3\0"),
    // Page size, write and read version (log), reserved bytes per page, payload fractions.
    (16, &[0x10, 0, 2, 2, 0, 64, 32, 32]),
    // No automatic vacuum.
    (52, &[0; 4]),
    (64, &[0; 4]),
    (72, &[0; 20]),
];

/// Says what is wrong with the header of a file that nobody has open. Nothing is wrong with a file that is missing or
/// empty; one that cannot be read is left to SQLite to report.
pub(crate) fn check(path: &Path) -> Option<String> {
    let mut header = Vec::with_capacity(100);
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .ok()?;
    if header.is_empty() {
        return None;
    }
    let (at, _) = FIXED
        .iter()
        .find(|(at, bytes)| header.get(*at..*at + bytes.len()) != Some(*bytes))?;
    Some(format!("its header is wrong at byte {at}"))
}

/// The version of the schema that a file of a queue says it has, if it says so clearly.
pub(crate) fn version(path: &Path) -> Option<u32> {
    let mut header = [0; 100];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let word = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    let version = word(60)?;
    (word(68)? == schema::APPLICATION.checked_add(version)?).then_some(version)
}

/// Puts the first page of a fresh queue over the first page of a damaged one. The tables are at the same places in both;
/// the length of the file counts, and its free pages are forgotten.
pub(crate) fn restore(damaged: &Path, fresh: &Path) -> std::io::Result<()> {
    let mut page = vec![0; PAGE as usize];
    File::open(fresh)?.read_exact(&mut page)?;
    let mut file = File::options().read(true).write(true).open(damaged)?;
    let pages = u32::try_from(file.metadata()?.len().div_ceil(PAGE)).unwrap_or(u32::MAX);
    let mut put = |at: usize, value: u32| page[at..at + 4].copy_from_slice(&value.to_be_bytes());
    // Equal change counters say that the number of pages holds.
    put(24, 1);
    put(92, 1);
    put(28, pages);
    put(32, 0);
    put(36, 0);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&page)?;
    file.sync_all()
}
