//! What each page of a database is. Source: SQLite, "Database file format", 1.5 and 1.6.

use std::collections::BTreeMap;

pub(crate) const PAGE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The first page: header of the file, schema.
    Header,
    TableInterior,
    TableLeaf,
    Overflow,
    FreeTrunk,
    FreeLeaf,
}

/// The first page of the table of items without a priority of their own, and those of all other tables and indexes
/// (`store-forward/src/schema.rs`).
const ITEMS: usize = 2;
const OTHERS: std::ops::RangeInclusive<usize> = 3..=25;

/// Pages of each kind, counted from 0.
pub(crate) fn kinds(database: &[u8]) -> BTreeMap<Kind, Vec<usize>> {
    // The file may be longer.
    let pages = word(database, 28) as usize;
    let mut kinds = BTreeMap::from([(Kind::Header, vec![0])]);
    let mut known = vec![false; pages];
    known[0] = true;
    OTHERS.for_each(|number| known[number - 1] = true);
    let mut put = |kind: Kind, page: usize| {
        known[page] = true;
        kinds.entry(kind).or_insert_with(Vec::new).push(page);
    };
    let mut trunk = word(database, 32);
    while trunk != 0 {
        let page = trunk as usize - 1;
        put(Kind::FreeTrunk, page);
        let start = page * PAGE;
        for number in 0..word(database, start + 4) as usize {
            put(
                Kind::FreeLeaf,
                word(database, start + 8 + 4 * number) as usize - 1,
            );
        }
        trunk = word(database, start);
    }
    let mut tree = vec![ITEMS];
    while let Some(number) = tree.pop() {
        let start = (number - 1) * PAGE;
        if database[start] == 0x0d {
            put(Kind::TableLeaf, number - 1);
            continue;
        }
        assert_eq!(database[start], 0x05, "page {number}");
        put(Kind::TableInterior, number - 1);
        let half =
            |at: usize| usize::from(u16::from_be_bytes(database[at..at + 2].try_into().unwrap()));
        for cell in 0..half(start + 3) {
            tree.push(word(database, start + half(start + 12 + 2 * cell)) as usize);
        }
        tree.push(word(database, start + 8) as usize);
    }
    let overflow = (0..pages).filter(|page| !known[*page]).collect();
    kinds.insert(Kind::Overflow, overflow);
    kinds
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
