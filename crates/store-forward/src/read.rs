//! Reading a batch.

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator as _;

use crate::age::Now;
use crate::fault::Fault;
use crate::item::{Priority, Sequence, StoredItem};
use crate::row::{self, Content, Row};
use crate::store::Store;
use crate::tally::Lots;

/// Room for items made ahead, whatever a caller asks for.
const CAPACITY: usize = 256;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    /// None: all of them.
    pub(crate) priority: Option<Priority>,
    pub(crate) after: Sequence,
    pub(crate) until: Sequence,
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<StoredItem>,
    /// Damaged rows that were removed on the way.
    pub(crate) damaged: u64,
    /// Items that were removed on the way because their lifetime was over.
    pub(crate) expired: Lots,
}

/// Items in the order of their sequence.
pub(crate) fn read(store: &mut Store, selection: Selection, now: Now) -> Result<Batch, Fault> {
    let mut reader = Reader {
        selection,
        now,
        bytes: 0,
        items: Vec::with_capacity(selection.max_items.min(CAPACITY)),
        damaged: Vec::new(),
        expired: Vec::new(),
        store,
    };
    if selection.max_items > 0 {
        reader.walk()?;
    }
    let Reader {
        items,
        damaged,
        expired,
        ..
    } = reader;
    let mut batch = Batch {
        items,
        ..Batch::default()
    };
    // Where the disk is full the next read comes across them again and counts them then.
    match store.discard(&damaged, true) {
        Ok(()) => batch.damaged = damaged.len() as u64,
        Err(fault @ Fault::Damaged(_)) => return Err(fault),
        Err(_) => {}
    }
    match store.drop_all(&expired) {
        Ok(lots) => batch.expired = lots,
        Err(fault @ Fault::Damaged(_)) => return Err(fault),
        Err(_) => {}
    }
    Ok(batch)
}

struct Reader<'a> {
    selection: Selection,
    now: Now,
    bytes: usize,
    items: Vec<StoredItem>,
    damaged: Vec<(Priority, i64)>,
    expired: Vec<(Priority, u64)>,
    store: &'a Store,
}

impl Reader<'_> {
    /// Walks through the tables that are asked for, side by side.
    fn walk(&mut self) -> Result<(), Fault> {
        let Ok(after) = i64::try_from(self.selection.after.0) else {
            return Ok(());
        };
        let until = i64::try_from(self.selection.until.0).unwrap_or(i64::MAX);
        let store = self.store;
        let wanted: Vec<_> = Priority::descending()
            .filter(|priority| {
                self.selection.priority.is_none_or(|only| only == *priority)
                    && !store.tally.lanes[priority.index()].is_empty()
            })
            .collect();
        let mut statements = wanted
            .iter()
            .map(|priority| store.statement(row::ROWS[priority.index()]))
            .collect::<Result<Vec<_>, _>>()?;
        let mut walks = Vec::with_capacity(wanted.len());
        for (priority, statement) in wanted.into_iter().zip(&mut statements) {
            let gone = i64::try_from(store.tally.lanes[priority.index()].gone);
            let mut rows = statement.query((after.max(gone.unwrap_or(i64::MAX)), until))?;
            let next = number(rows.next()?, after)?;
            walks.push((priority, rows, next));
        }
        loop {
            let lowest = walks
                .iter_mut()
                .filter_map(|walk| Some((walk.2?, walk)))
                .min_by_key(|(number, _)| *number);
            let Some((previous, (priority, rows, next))) = lowest else {
                return Ok(());
            };
            if let Some(row) = rows.get()
                && !self.take(*priority, &Row::decode(*priority, row)?)
            {
                return Ok(());
            }
            *next = number(rows.next()?, previous)?;
        }
    }

    /// Says whether more is wanted.
    fn take(&mut self, priority: Priority, row: &Row<'_>) -> bool {
        match &row.content {
            Content::Item(item) if item.terms.has_expired(self.now.queue) => {
                // The rest of a long run is for the sweep.
                if self.expired.len() < 4 * CAPACITY {
                    self.expired.push((priority, item.sequence));
                }
            }
            Content::Item(item) => {
                self.bytes = self.bytes.saturating_add(item.parts.size());
                if self.bytes > self.selection.max_bytes && !self.items.is_empty() {
                    return false;
                }
                let route = self.store.tally.route(item.terms.route);
                self.items.push(item.stored(route));
            }
            Content::Mark { .. } => {}
            Content::Damaged { .. } => self.damaged.push((priority, row.number)),
        }
        self.items.len() < self.selection.max_items
    }
}

/// The number of the next row of a table, which must be higher than the one before.
fn number(row: Option<&rusqlite::Row<'_>>, previous: i64) -> Result<Option<i64>, Fault> {
    let Some(row) = row else { return Ok(None) };
    let number = row.get(0)?;
    if number <= previous {
        return Err(Fault::Damaged(format!(
            "row {number} follows row {previous}"
        )));
    }
    Ok(Some(number))
}

impl Store {
    /// Drops items one by one, in as many transactions as it takes.
    fn drop_all(&mut self, items: &[(Priority, u64)]) -> Result<Lots, Fault> {
        let mut dropped = Lots::default();
        for items in items.chunks(self.space.rows_per_removal()) {
            let lots = self.transact(|store| {
                let mut lots = Lots::default();
                for (priority, sequence) in items {
                    lots.join(store.delete_in(*priority, &(*sequence..=*sequence))?);
                }
                Ok(lots)
            })?;
            dropped.join(lots);
            self.checkpoint_if_due()?;
        }
        Ok(dropped)
    }
}
