//! Reading a batch.

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator as _;

use crate::age::Now;
use crate::fault::Fault;
use crate::item::{Found, Priority, Sequence, StoredItem};
use crate::row::{self, Content, Row};
use crate::store::Store;
use crate::tally::Lots;

/// Room for items made ahead, whatever a caller asks for.
const CAPACITY: usize = 256;
/// The most rows that one read of some keys looks at: others wait meanwhile.
pub(crate) const MOST_LOOKED_AT: usize = 4096;

/// Says whether the items of a key are wanted.
pub(crate) struct Wanted(pub(crate) Box<dyn Fn(&str) -> bool + Send>);

impl std::fmt::Debug for Wanted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wanted")
    }
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Selection {
    /// None: all of them.
    pub(crate) priority: Option<Priority>,
    pub(crate) after: Sequence,
    pub(crate) until: Sequence,
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    /// None: those of every key. Otherwise of one priority.
    pub(crate) wanted: Option<Wanted>,
}

/// What was removed on the way: also where the read failed then.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// Damaged rows.
    pub(crate) damaged: usize,
    /// Items whose lifetime was over.
    pub(crate) expired: Lots,
}

/// Items in the order of their sequence.
pub(crate) fn read(
    store: &mut Store,
    selection: &Selection,
    now: Now,
    removed: &mut Removed,
) -> Result<Found, Fault> {
    let mut reader = Reader {
        selection,
        now,
        bytes: 0,
        items: Vec::with_capacity(selection.max_items.min(CAPACITY)),
        stopped_at: None,
        damaged: Vec::new(),
        expired: Vec::new(),
        store,
    };
    if selection.max_items == 0 {
        reader.stopped_at = i64::try_from(selection.after.0).ok();
    } else {
        reader.walk()?;
    }
    let Reader {
        items,
        stopped_at,
        damaged,
        expired,
        ..
    } = reader;
    // What is stored later has higher numbers than the last one of now.
    let all = selection.until.0.min(store.tally.last);
    let stopped_at = stopped_at.map(|number| u64::try_from(number).unwrap_or_default());
    let looked_to = stopped_at.unwrap_or(all).max(selection.after.0);
    // Where the disk is full the next read comes across the rest again and counts it then.
    let unless_damaged = |done| match done {
        Err(fault @ Fault::Damaged(_)) => Err(fault),
        _ => Ok(()),
    };
    unless_damaged(store.discard(&damaged, true, &mut removed.damaged))?;
    unless_damaged(store.drop_all(&expired, &mut removed.expired))?;
    Ok(Found {
        items,
        looked_to: Sequence(looked_to),
    })
}

struct Reader<'a> {
    selection: &'a Selection,
    now: Now,
    bytes: usize,
    items: Vec<StoredItem>,
    /// The last row that was looked at, if not all were.
    stopped_at: Option<i64>,
    damaged: Vec<(Priority, i64)>,
    expired: Vec<(Priority, u64)>,
    store: &'a Store,
}

impl Reader<'_> {
    fn walk(&mut self) -> Result<(), Fault> {
        let Ok(after) = i64::try_from(self.selection.after.0) else {
            return Ok(());
        };
        let until = i64::try_from(self.selection.until.0).unwrap_or(i64::MAX);
        match (self.selection.priority, &self.selection.wanted) {
            (Some(priority), Some(wanted)) => self.walk_keys(priority, wanted, after, until),
            _ => self.walk_rows(after, until),
        }
    }

    /// Walks through the keys of a table, and takes the rows of those that are wanted.
    fn walk_keys(
        &mut self,
        priority: Priority,
        wanted: &Wanted,
        after: i64,
        until: i64,
    ) -> Result<(), Fault> {
        let store = self.store;
        let lane = &store.tally.lanes[priority.index()];
        if lane.is_empty() {
            return Ok(());
        }
        let gone = i64::try_from(lane.gone).unwrap_or(i64::MAX);
        let mut keys = store.statement(row::KEYS[priority.index()])?;
        let mut keys = keys.query((after.max(gone), until))?;
        let mut whole = store.statement(row::ROWS[priority.index()])?;
        let (mut previous, mut looked_at) = (after, 0);
        while let Some(key) = keys.next()? {
            if looked_at == MOST_LOOKED_AT {
                self.stopped_at = Some(previous);
                return Ok(());
            }
            let Some(number) = number(Some(key), previous)? else {
                break;
            };
            // A key that is none is damaged, which only the whole row can tell.
            if row::text(key.get_ref(1)?).is_none_or(|key| (wanted.0)(key)) {
                let mut rows = whole.query((number - 1, number))?;
                let row = rows.next()?.ok_or_else(|| {
                    Fault::Damaged(format!("row {number} is not where it should be"))
                })?;
                match self.take(priority, &Row::decode(priority, row)?) {
                    Taken::More => {}
                    Taken::Enough => {
                        self.stopped_at = Some(number);
                        return Ok(());
                    }
                    Taken::Not => {
                        self.stopped_at = Some(previous);
                        return Ok(());
                    }
                }
            }
            previous = number;
            looked_at += 1;
        }
        Ok(())
    }

    /// Walks through the tables that are asked for, side by side.
    fn walk_rows(&mut self, after: i64, until: i64) -> Result<(), Fault> {
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
        let mut before = after;
        loop {
            let lowest = walks
                .iter_mut()
                .filter_map(|walk| Some((walk.2?, walk)))
                .min_by_key(|(number, _)| *number);
            let Some((previous, (priority, rows, next))) = lowest else {
                return Ok(());
            };
            if let Some(row) = rows.get() {
                match self.take(*priority, &Row::decode(*priority, row)?) {
                    Taken::More => {}
                    Taken::Enough => {
                        self.stopped_at = Some(previous);
                        return Ok(());
                    }
                    Taken::Not => {
                        self.stopped_at = Some(before);
                        return Ok(());
                    }
                }
            }
            *next = number(rows.next()?, previous)?;
            before = previous;
        }
    }

    fn take(&mut self, priority: Priority, row: &Row<'_>) -> Taken {
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
                    return Taken::Not;
                }
                let route = self.store.tally.route(item.terms.route);
                self.items.push(item.stored(route));
            }
            Content::Mark { .. } => {}
            Content::Damaged => self.damaged.push((priority, row.number)),
        }
        if self.items.len() < self.selection.max_items {
            Taken::More
        } else {
            Taken::Enough
        }
    }
}

/// What became of a row.
enum Taken {
    /// It was taken, and more is wanted.
    More,
    /// It was the last one.
    Enough,
    /// There is no room for it.
    Not,
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
    /// Drops items one by one, in as many transactions as it takes. `dropped`: those that are, also where it fails then.
    fn drop_all(&mut self, items: &[(Priority, u64)], dropped: &mut Lots) -> Result<(), Fault> {
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
        Ok(())
    }
}
