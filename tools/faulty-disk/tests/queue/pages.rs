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

/// Pages of each kind, counted from 0.
pub(crate) fn kinds(database: &[u8]) -> BTreeMap<Kind, Vec<usize>> {
    let pages = database.len() / PAGE;
    let mut kinds = BTreeMap::from([(Kind::Header, vec![0])]);
    let mut known = vec![false; pages];
    known[0] = true;
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
    for page in 1..pages {
        if known[page] {
            continue;
        }
        // An overflow page begins with the number of the next one, which is below 2^24 here.
        let kind = match database[page * PAGE] {
            0x05 => Kind::TableInterior,
            0x0d => Kind::TableLeaf,
            _ => Kind::Overflow,
        };
        kinds.entry(kind).or_insert_with(Vec::new).push(page);
    }
    kinds
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
