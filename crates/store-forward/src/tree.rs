//! The tree of a table: the way from its root to its leaf pages, if every page on it says the same as its neighbours.
//!
//! Source: SQLite, "Database file format", 1.6.

use std::collections::HashSet;

use crate::leaf::{self, Cell, LEAF, half, varint};
use crate::log_checksum::word;
use crate::pages::Pages;

/// The first byte of an inner page of a table.
const INNER: u8 = 0x05;
const HEADER: usize = 12;

/// What a walk through a tree met.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// In the order of their rows.
    pub(crate) leaves: Vec<u32>,
    /// Numbers between which pages are not what they should be: after, and up to.
    pub(crate) broken: Vec<(i64, i64)>,
}

/// Walks through a tree. `met`: pages that were met in others, and then those of this one as well.
pub(crate) fn walk(pages: &Pages, root: u32, met: &mut HashSet<u32>) -> Tree {
    let mut tree = Tree::default();
    let mut ahead = vec![(root, i64::MIN, i64::MAX)];
    while let Some((number, after, until)) = ahead.pop() {
        let page = if met.insert(number) {
            pages.read(number)
        } else {
            None
        };
        match page {
            Some(page) if page[0] == LEAF && is_between(&page, after, until) => {
                tree.leaves.push(number);
            }
            Some(page) if page[0] == INNER => match children(&page, after, until) {
                Some(children) => ahead.extend(children.into_iter().rev()),
                None => tree.broken.push((after, until)),
            },
            _ => tree.broken.push((after, until)),
        }
    }
    tree
}

/// Whether the rows of a leaf page are within bounds. One may be damaged; on a page from elsewhere none is.
fn is_between(page: &[u8], after: i64, until: i64) -> bool {
    let cells = leaf::cells(page);
    let is_within = |cell: &Cell| cell.number > after && cell.number <= until;
    let strange = cells
        .iter()
        .filter(|cell| !cell.as_ref().is_some_and(is_within))
        .count();
    strange == 0 || strange == 1 && cells.len() > 1
}

/// The pages below an inner page, each with the numbers that it is for. None if these are not in order.
fn children(page: &[u8], after: i64, until: i64) -> Option<Vec<(u32, i64, i64)>> {
    let count = half(page, 3);
    let mut children = Vec::with_capacity(count.min(page.len()));
    let mut last = after;
    for index in 0..count {
        let at = half(page.get(..HEADER + 2 * index + 2)?, HEADER + 2 * index);
        let (key, _) = varint(page.get(at.max(HEADER) + 4..)?)?;
        if key <= last || key > until {
            return None;
        }
        children.push((word(page, at.max(HEADER)), last, key));
        last = key;
    }
    children.push((word(page, 8), last, until));
    Some(children)
}

/// Whether a page was an inner page once, whatever one of its bytes says now: most of what is on it leads somewhere.
pub(crate) fn is_like_inner(page: &[u8], pages: &Pages) -> bool {
    let stated = half(page, 3);
    let counts = (0..16).map(|bit| stated ^ (1 << bit));
    std::iter::once(stated).chain(counts).any(|count| {
        let (mut good, mut last) = (0, i64::MIN);
        if count == 0 || HEADER + 2 * count > page.len() {
            return false;
        }
        for index in 0..count {
            let at = half(page, HEADER + 2 * index);
            if at < HEADER + 2 * count || at + 5 > page.len() {
                continue;
            }
            let child = word(page, at);
            let key = varint(&page[at + 4..]).map_or(i64::MIN, |(key, _)| key);
            good += usize::from(child > 1 && child <= pages.count() && key > last);
            last = last.max(key);
        }
        good + 1 >= count && good > 0
    })
}
