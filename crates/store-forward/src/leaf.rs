//! Leaf pages of tables and the rows on them, as bytes.
//!
//! Source: SQLite, "Database file format", 1.6, 2.1 and 2.2.

use rusqlite::types::ValueRef;

use crate::log_checksum::word;
use crate::pages::Pages;
use crate::schema::COLUMNS;
use crate::space::{LOCAL_MAX, LOCAL_MIN, OVERFLOW, PAGE};

/// The first byte of a leaf page of a table.
pub(crate) const LEAF: u8 = 0x0d;
const HEADER: usize = 8;
/// Columns of a row of version 1, which stays as it is when columns are added.
const FIRST_COLUMNS: usize = 7;

/// Where a row is.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) number: i64,
    start: usize,
    /// Where its record begins, how long it is, and how much of it is on the page.
    record: usize,
    length: usize,
    local: usize,
}

/// The rows of a page, if it is a leaf page. None: one that is none. Where the page does not add up, one bit of their count may
/// be wrong.
pub(crate) fn cells(page: &[u8]) -> Vec<Option<Cell>> {
    let stated = half(page, 3);
    let flipped = (0..16).map(|bit| stated ^ (1 << bit));
    let count = if adds_up(page, stated) {
        stated
    } else {
        let mut flipped = flipped.filter(|count| adds_up(page, *count));
        flipped.next().unwrap_or(stated)
    };
    read(page, count)
}

fn read(page: &[u8], count: usize) -> Vec<Option<Cell>> {
    let most = (page.len() - HEADER) / 2;
    (0..count.min(most))
        .map(|index| cell(page, half(page, HEADER + 2 * index)))
        .collect()
}

/// Whether so many rows, the free blocks and the fragments fill the page.
fn adds_up(page: &[u8], count: usize) -> bool {
    let content = half(page, 5);
    if HEADER + 2 * count > content || content > page.len() {
        return false;
    }
    let mut used = content + usize::from(page[7]);
    for cell in read(page, count) {
        match cell {
            Some(cell) if cell.start >= content => used += cell.taken(),
            _ => return false,
        }
    }
    let mut block = half(page, 1);
    while block != 0 && used <= page.len() {
        if block < content || block + 4 > page.len() {
            return false;
        }
        used += half(page, block + 2).max(4);
        block = half(page, block);
    }
    used == page.len()
}

fn cell(page: &[u8], start: usize) -> Option<Cell> {
    if start < HEADER {
        return None;
    }
    let (length, first) = varint(page.get(start..)?)?;
    let (number, second) = varint(page.get(start + first..)?)?;
    let length = usize::try_from(length).ok()?;
    let cell = Cell {
        number,
        start,
        record: start + first + second,
        length,
        local: local(length as u64),
    };
    (cell.end()? <= page.len()).then_some(cell)
}

/// Bytes of a record that stay on the leaf page.
fn local(length: u64) -> usize {
    let local = if length <= LOCAL_MAX {
        length
    } else {
        let tail = LOCAL_MIN + (length - LOCAL_MIN) % OVERFLOW;
        if tail <= LOCAL_MAX { tail } else { LOCAL_MIN }
    };
    usize::try_from(local).unwrap_or_default()
}

impl Cell {
    fn end(&self) -> Option<usize> {
        let link = if self.local < self.length { 4 } else { 0 };
        self.record.checked_add(self.local)?.checked_add(link)
    }

    fn taken(&self) -> usize {
        // The least that SQLite gives a row.
        self.end().map_or(usize::MAX, |end| end - self.start).max(4)
    }

    /// The row's record, with what lies on other pages. `met` is told which these are. None if one cannot be read.
    pub(crate) fn record(
        &self,
        page: &[u8],
        pages: &Pages,
        mut met: impl FnMut(u32),
    ) -> Option<Vec<u8>> {
        let mut record = page.get(self.record..self.record + self.local)?.to_vec();
        if self.local == self.length {
            return Some(record);
        }
        if self.length as u64 > u64::from(pages.count()) * PAGE {
            return None;
        }
        let mut next = word(page, self.record + self.local);
        while record.len() < self.length {
            met(next);
            let page = pages.read(next)?;
            let rest = (self.length - record.len()).min(OVERFLOW as usize);
            record.extend_from_slice(page.get(4..4 + rest)?);
            next = word(&page, 0);
        }
        Some(record)
    }
}

/// The values of a record of a table of items. None if it has not its form.
pub(crate) fn values(record: &[u8]) -> Option<[ValueRef<'_>; COLUMNS]> {
    let (header, mut at) = varint(record)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    let mut values = [ValueRef::Null; COLUMNS];
    let mut column = 0;
    while at < header {
        let (kind, length) = varint(record.get(at..header)?)?;
        at += length;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let bytes = record.get(body..body.checked_add(length)?)?;
        body += length;
        *values.get_mut(column)? = match kind {
            0 => ValueRef::Null,
            1..=6 => ValueRef::Integer(integer(bytes)),
            7 => ValueRef::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            8 | 9 => ValueRef::Integer(kind - 8),
            _ if kind % 2 == 0 => ValueRef::Blob(bytes),
            _ => ValueRef::Text(bytes),
        };
        column += 1;
    }
    (column == COLUMNS || column == FIRST_COLUMNS).then_some(values)
}

fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) {
        -1
    } else {
        0
    };
    bytes
        .iter()
        .fold(sign, |value, byte| value << 8 | i64::from(*byte))
}

/// A number of one to nine bytes, and how many these are.
pub(crate) fn varint(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Some(((value << 8 | u64::from(*byte)).cast_signed(), 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value.cast_signed(), index + 1));
        }
    }
    None
}

/// Two bytes of a page.
pub(crate) fn half(page: &[u8], at: usize) -> usize {
    page.get(at..at + 2)
        .map_or(0, |two| usize::from(two[0]) << 8 | usize::from(two[1]))
}
