//! Reading a batch in the order of the sequence.

use crate::fault::Fault;
use crate::item::{Sequence, StoredItem};
use crate::row::{Content, stored};
use crate::store::Store;

/// Room for items made ahead, whatever a caller asks for.
const CAPACITY: usize = 256;

/// Items after a number, and how many damaged rows were removed on the way.
pub(crate) fn read(
    store: &mut Store,
    after: Sequence,
    max_items: usize,
    max_bytes: usize,
) -> Result<(Vec<StoredItem>, u64), Fault> {
    let Ok(after) = i64::try_from(after.0) else {
        return Ok((Vec::new(), 0));
    };
    let mut items: Vec<StoredItem> = Vec::with_capacity(max_items.min(CAPACITY));
    let mut bytes = 0_usize;
    let mut damaged = Vec::new();
    if max_items > 0 {
        store.rows(after, |row| {
            match row.content {
                Content::Item {
                    sequence,
                    enqueued,
                    parts,
                } => {
                    bytes = bytes.saturating_add(parts.size());
                    if bytes > max_bytes && !items.is_empty() {
                        return false;
                    }
                    items.push(stored(sequence, enqueued, &parts));
                }
                Content::Mark { .. } => {}
                Content::Damaged => damaged.push(row.number),
            }
            items.len() < max_items
        })?;
    }
    match store.discard(&damaged, true) {
        Ok(()) => Ok((items, damaged.len() as u64)),
        Err(fault @ Fault::Damaged(_)) => Err(fault),
        // The disk is full: the next read comes across them again and counts them then.
        Err(_) => Ok((items, 0)),
    }
}
