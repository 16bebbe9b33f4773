//! Copies the readable rows of a damaged database.
//!
//! Where the trees of the tables hold together, they say which rows are there. Where one does not, all leaf pages of the file are
//! looked through that the list of free pages does not name: a row says by its checksums whether it is one, and of which table.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::age::Anchor;
use crate::fault::Fault;
use crate::item::Priority;
use crate::leaf::{self, Cell, LEAF};
use crate::pages::Pages;
use crate::row::{Content, Item, Parts, Row, Terms, per_priority};
use crate::space::{LEAST_ROW, PAGE};
use crate::store::Store;
use crate::tree;

/// Rows are handed over in transactions of so many items or bytes.
const BATCH_ITEMS: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;
/// First bytes of the pages of an index.
const INDEX: [u8; 2] = [0x02, 0x0a];

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Salvaged {
    pub(crate) restored: u64,
    /// Rows that did not match their checksum, and sequence numbers within parts that could not be read.
    pub(crate) lost: u64,
    /// The highest sequence number seen in a sound row.
    pub(crate) highest: u64,
    /// Whether there was any row, sound or not.
    pub(crate) seen_any: bool,
    /// The new file had no room for all.
    pub(crate) stopped: bool,
}

/// A row, kept until it is handed over.
#[derive(Debug)]
struct Kept {
    sequence: u64,
    enqueued: i64,
    key: String,
    id: String,
    properties: Vec<u8>,
    payload: Vec<u8>,
    priority: Priority,
    route: Option<String>,
    lifetime: Option<i64>,
    expires: Option<i64>,
}

impl Kept {
    fn of(item: &Item<'_>) -> Self {
        Self {
            sequence: item.sequence,
            enqueued: item.enqueued,
            key: item.parts.key.to_owned(),
            id: item.parts.id.to_owned(),
            properties: item.parts.properties.to_owned(),
            payload: item.parts.payload.to_owned(),
            priority: item.terms.priority,
            route: item.terms.route.map(str::to_owned),
            lifetime: item.terms.lifetime,
            expires: item.terms.expires,
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            key: &self.key,
            id: &self.id,
            properties: &self.properties,
            payload: &self.payload,
        }
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            priority: self.priority,
            route: self.route.as_deref(),
            lifetime: self.lifetime,
            expires: self.expires,
        }
    }
}

/// A row of a leaf page.
#[derive(Debug)]
enum Taken {
    Item(Kept),
    Mark { sequence: u64 },
    Damaged { number: u64 },
}

impl Taken {
    /// Its number, if it is sound.
    fn sequence(&self) -> Option<u64> {
        match self {
            Self::Item(kept) => Some(kept.sequence),
            Self::Mark { sequence } => Some(*sequence),
            Self::Damaged { .. } => None,
        }
    }
}

/// A leaf page with rows to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Leaf {
    /// Of all its rows. The highest comes first.
    priority: Reverse<Priority>,
    /// The lowest number of a sound row; 0 where the tree has the order.
    first: u64,
    page: u32,
}

/// What the file's pages are.
#[derive(Debug, Default)]
struct Found {
    leaves: Vec<Leaf>,
    /// Numbers between which something may be missing, exclusive.
    gaps: Vec<(u64, u64)>,
    /// Pages of which nobody can say what they were.
    unknown: u64,
}

/// A walk through the tables of a damaged file, the highest priority first, each from the lowest sequence number to the highest.
#[derive(Debug)]
pub(crate) struct Salvage<'a> {
    pages: Pages,
    target: &'a mut Store,
    /// The first pages of the tables of items, the highest priority first. None: not known.
    roots: Option<Vec<(Priority, u32)>>,
    /// Those of other tables.
    others: Vec<u32>,
    /// How far items are gone whose rows are there.
    gone: Vec<(Priority, u64)>,
    anchor: Option<Anchor>,
    batch: Vec<Kept>,
    batch_bytes: usize,
    found: Salvaged,
    /// The number of the last row that was taken of a priority.
    taken: Option<(Priority, u64)>,
}

impl<'a> Salvage<'a> {
    /// `pages`: as they were before anything was changed to make the file readable for SQLite.
    pub(crate) fn new(
        path: &Path,
        pages: Pages,
        target: &'a mut Store,
        version: Option<u32>,
    ) -> Self {
        let source = connect(path);
        if let Err(error) = &source {
            tracing::warn!(file = %path.display(), %error, "SQLite cannot open the damaged file; its rows are read without it");
        }
        let source = source.ok();
        // If that cannot be read, items come again.
        let gone = match version {
            Some(1) => None,
            _ => source
                .as_ref()
                .and_then(|source| crate::gone::load(source).ok()),
        };
        let (roots, others) = match source.as_ref().map(|source| roots(source, version)) {
            Some(Ok((roots, others))) => (Some(roots), others),
            _ => (None, Vec::new()),
        };
        Self {
            pages,
            target,
            roots,
            others,
            gone: gone.unwrap_or_default(),
            anchor: source.as_ref().and_then(Anchor::load),
            batch: Vec::new(),
            batch_bytes: 0,
            found: Salvaged::default(),
            taken: None,
        }
    }

    pub(crate) fn run(mut self) -> Result<Salvaged, Fault> {
        let found = match self.by_trees() {
            Ok(leaves) => Found {
                leaves,
                ..Found::default()
            },
            Err(gaps) => self.by_pages(gaps),
        };
        for leaf in &found.leaves {
            self.take(*leaf)?;
        }
        self.flush()?;
        if let Some(anchor) = self.anchor.take() {
            self.target
                .transact(|target| anchor.store(&target.connection))?;
        }
        if found.unknown > 0 && !self.found.stopped {
            let most = found.unknown.saturating_mul(PAGE / LEAST_ROW);
            self.found.lost += self.missing(found.gaps)?.min(most);
        }
        Ok(self.found)
    }

    /// The leaf pages that the trees of the tables have, or where one does not hold together: numbers, exclusive.
    fn by_trees(&self) -> Result<Vec<Leaf>, Vec<(u64, u64)>> {
        let Some(roots) = &self.roots else {
            return Err(vec![(0, u64::MAX)]);
        };
        let (mut leaves, mut gaps) = (Vec::new(), Vec::new());
        let mut met = HashSet::from([1]);
        for (priority, root) in roots {
            let tree = tree::walk(&self.pages, *root, &mut met);
            leaves.extend(tree.leaves.iter().map(|page| Leaf {
                priority: Reverse(*priority),
                first: 0,
                page: *page,
            }));
            let gone = self.gone(*priority);
            let number = |number: i64| u64::try_from(number).unwrap_or_default();
            gaps.extend(
                tree.broken.into_iter().map(|(after, until)| {
                    (number(after).max(gone), number(until).saturating_add(1))
                }),
            );
        }
        if gaps.is_empty() {
            Ok(leaves)
        } else {
            Err(gaps)
        }
    }

    /// Up to which number items of a priority are gone.
    fn gone(&self, priority: Priority) -> u64 {
        let gone = self.gone.iter().find(|(of, _)| *of == priority);
        gone.map_or(0, |(_, until)| *until)
    }

    /// All pages with rows, wherever they are.
    fn by_pages(&self, gaps: Vec<(u64, u64)>) -> Found {
        let mut found = Found {
            gaps,
            unknown: self.pages.absent(),
            ..Found::default()
        };
        let mut overflow = HashSet::new();
        let mut rest = Vec::new();
        for number in 2..=self.pages.count() {
            if self.pages.is_free(number) {
                continue;
            }
            let page = self.pages.read(number).filter(|page| page[0] == LEAF);
            match page.and_then(|page| self.rows_of(number, &page, &mut overflow)) {
                Some(leaf) => found.leaves.push(leaf),
                None => rest.push(number),
            }
        }
        rest.retain(|number| !overflow.contains(number) && !self.others.contains(number));
        for number in rest {
            let page = self.pages.read(number);
            let Some(page) = page else {
                found.unknown += 1;
                continue;
            };
            // Whatever its first byte says now.
            if let Some(leaf) = self.rows_of(number, &page, &mut overflow) {
                found.leaves.push(leaf);
                continue;
            }
            let is_empty = page[0] == LEAF && leaf::half(&page, 3) == 0;
            let is_index = INDEX.contains(&page[0]);
            if !is_empty && !is_index && !tree::is_like_inner(&page, &self.pages) {
                found.unknown += 1;
            }
        }
        found.leaves.sort_unstable();
        found
    }

    /// What a page is, if there is a sound row on it, and where its rows go on.
    fn rows_of(&self, number: u32, page: &[u8], overflow: &mut HashSet<u32>) -> Option<Leaf> {
        let mut leaf: Option<Leaf> = None;
        for cell in leaf::cells(page).iter().flatten() {
            let record = cell.record(page, &self.pages, |page| {
                overflow.insert(page);
            });
            let Some(values) = record.as_deref().and_then(leaf::values) else {
                continue;
            };
            let (priority, sequence) = match Row::of(None, cell.number, values).content {
                Content::Item(item) => (item.terms.priority, item.sequence),
                Content::Mark { sequence } => (Priority::DEFAULT, sequence),
                Content::Damaged => continue,
            };
            let first = leaf.map_or(sequence, |leaf| leaf.first.min(sequence));
            leaf = Some(Leaf {
                priority: Reverse(priority),
                first,
                page: number,
            });
        }
        leaf
    }

    /// Takes the rows of a leaf page.
    fn take(&mut self, leaf: Leaf) -> Result<(), Fault> {
        let Reverse(priority) = leaf.priority;
        let gone = self.gone(priority);
        let rows = self.rows(leaf.page, priority);
        let sound: Vec<_> = rows.iter().map(Taken::sequence).collect();
        let mut previous = None;
        for (index, row) in rows.into_iter().enumerate() {
            self.found.seen_any = true;
            let next = sound[index + 1..].iter().flatten().next();
            match row {
                Taken::Damaged { number } => {
                    // Its number may be damaged as well: its neighbours tell.
                    let is_gone = match (previous, next) {
                        (_, Some(next)) if *next <= gone.saturating_add(1) => true,
                        (None, Some(_)) => false,
                        (previous, _) => previous.unwrap_or(0) < number && number <= gone,
                    };
                    self.found.lost += u64::from(!is_gone);
                }
                Taken::Mark { sequence } => {
                    self.found.highest = self.found.highest.max(sequence);
                    previous = Some(sequence);
                }
                Taken::Item(kept) => {
                    self.found.highest = self.found.highest.max(kept.sequence);
                    previous = Some(kept.sequence);
                    if kept.sequence > gone && self.is_new(&kept)? {
                        self.keep(kept)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The rows of a leaf page of the table of a priority.
    fn rows(&self, number: u32, priority: Priority) -> Vec<Taken> {
        let Some(page) = self.pages.read(number) else {
            return Vec::new();
        };
        let row = |cell: &Option<Cell>| {
            let number = cell.as_ref().map_or(-1, |cell| cell.number);
            let record = cell
                .as_ref()
                .and_then(|cell| cell.record(&page, &self.pages, |_| {}));
            let values = record.as_deref().and_then(leaf::values);
            match values.map(|values| Row::of(Some(priority), number, values).content) {
                Some(Content::Item(item)) => Taken::Item(Kept::of(&item)),
                Some(Content::Mark { sequence }) => Taken::Mark { sequence },
                Some(Content::Damaged) | None => Taken::Damaged {
                    number: u64::try_from(number).unwrap_or_default(),
                },
            }
        };
        leaf::cells(&page).iter().map(row).collect()
    }

    /// Whether an item was not taken before, from a page that is out of use.
    fn is_new(&mut self, kept: &Kept) -> Result<bool, Fault> {
        match self.taken {
            Some((of, last)) if of == kept.priority && kept.sequence <= last => {
                self.flush()?;
                Ok(!self.holds(kept.priority, kept.sequence)?)
            }
            _ => {
                self.taken = Some((kept.priority, kept.sequence));
                Ok(true)
            }
        }
    }

    fn keep(&mut self, kept: Kept) -> Result<(), Fault> {
        if self.found.stopped {
            self.found.lost += 1;
            return Ok(());
        }
        self.batch_bytes += kept.parts().size();
        self.batch.push(kept);
        if self.batch.len() >= BATCH_ITEMS || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn holds(&self, priority: Priority, sequence: u64) -> Result<bool, Fault> {
        const HOLDS: [&str; Priority::COUNT] =
            per_priority!("SELECT EXISTS (SELECT 1 FROM ", " WHERE sequence = ?1)");
        Ok(self
            .target
            .statement(HOLDS[priority.index()])?
            .query_row([sequence], |row| row.get(0))?)
    }

    /// How many items are likely to be missing: numbers within gaps that are in no table. Some of them may have left the
    /// queue before.
    fn missing(&mut self, mut gaps: Vec<(u64, u64)>) -> Result<u64, Fault> {
        const COUNT: [&str; Priority::COUNT] = per_priority!(
            "SELECT count(*) FROM ",
            " WHERE sequence > ?1 AND sequence < ?2"
        );
        gaps.sort_unstable();
        // Behind the last row that was found there may be more, nobody knows how many.
        let end = self.found.highest.saturating_add(2);
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (after, before) in gaps {
            let gap = (after, before.min(end));
            match joined.last_mut() {
                Some(last) if gap.0 < last.1 => last.1 = last.1.max(gap.1),
                _ => joined.push(gap),
            }
        }
        let mut missing: u64 = 0;
        for (after, before) in joined {
            let mut present: u64 = 0;
            for sql in COUNT {
                present += self
                    .target
                    .statement(sql)?
                    .query_row((after, before), |row| row.get::<_, u64>(0))?;
            }
            let numbers = before.saturating_sub(after).saturating_sub(1);
            missing += numbers.saturating_sub(present);
        }
        Ok(missing)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        if self.found.stopped {
            self.found.lost += batch.len() as u64;
            return Ok(());
        }
        let stored = self.target.transact(|target| {
            batch.iter().try_for_each(|kept| {
                target.insert(kept.sequence, kept.enqueued, kept.parts(), kept.terms())
            })
        });
        match stored.and_then(|()| self.target.checkpoint_if_due()) {
            Ok(()) => {
                self.found.restored += batch.len() as u64;
                Ok(())
            }
            Err(fault @ (Fault::Full | Fault::AtBound)) => {
                tracing::error!(
                    reason = fault.message(),
                    "not all readable items could be kept; the rest is in the damaged file"
                );
                self.found.stopped = true;
                self.found.lost += batch.len() as u64;
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }
}

/// For what is in tables of one row.
fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let source = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    source.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA mmap_size = 0;
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
    )?;
    // The damaged file stays what it is, with its log.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(source)
}

/// The first pages of the tables of items, the highest priority first, and those of other tables.
type Roots = (Vec<(Priority, u32)>, Vec<u32>);

fn roots(source: &Connection, version: Option<u32>) -> Result<Roots, rusqlite::Error> {
    const TABLES: [&str; Priority::COUNT] = per_priority!("", "");
    let mut statement =
        source.prepare("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'")?;
    let tables = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, u32)>, _>>()?;
    let (mut roots, mut others) = (Vec::new(), Vec::new());
    for (name, root) in tables {
        let priority = Priority::descending().find(|priority| TABLES[priority.index()] == name);
        match priority {
            // Where a later version has the roots of its other tables version 1 may have its items.
            _ if version == Some(1) && priority != Some(Priority::DEFAULT) => {}
            Some(priority) => roots.push((priority, root)),
            None => others.push(root),
        }
    }
    roots.sort_unstable_by_key(|(priority, _)| Reverse(*priority));
    Ok((roots, others))
}
