//! What the user of the queue left for its next opening.
//!
//! It is written with the closing, says which number was the last one then, and leaves with the first append after that, in its
//! transaction. So no note ever describes an older state than the file's: not after a crash, not after a copy was put back.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use rusqlite::OptionalExtension;

use crate::fault::Fault;
use crate::space::PAGE;
use crate::store::Store;

/// Bytes of the longest.
pub(crate) const LONGEST: usize = 1024 * 1024;

impl Store {
    /// Writes a note down in a transaction of its own. No item is dropped for it.
    pub(crate) fn write_note(&mut self, note: &[u8]) -> Result<(), Fault> {
        let write = |store: &mut Self| {
            store.transact(|store| {
                let pages = note.len() as u64 / (PAGE - 4) + 4;
                if store.free_pages()? < pages {
                    store.delete_gone_for(pages)?;
                }
                let last = store.tally.last;
                store.tally.note = true;
                store
                    .statement("INSERT OR REPLACE INTO note (only, checksum, last, note) VALUES (1, ?1, ?2, ?3)")?
                    .execute((sum(last, note), last, note))?;
                Ok(())
            })
        };
        match write(self) {
            // A log that cannot grow has room again once it is copied.
            Err(
                Fault::Full
                | Fault::Storage {
                    retryable: true, ..
                },
            ) if self.frames.load(Relaxed) > 0 => {
                self.checkpoint()?;
                write(self)
            }
            result => result,
        }
    }

    /// Reads the note of the last closing. One that is damaged is none.
    pub(crate) fn load_note(&mut self) -> Result<(), Fault> {
        let found = self
            .statement(
                "SELECT checksum, last, CASE WHEN octet_length(note) <= ?1 THEN note END FROM note",
            )?
            .query_row([LONGEST], |row| {
                let head = row.get(0).ok().zip(row.get(1).ok());
                Ok((head, row.get(2).ok()))
            })
            .optional()?;
        self.tally.note = found.is_some();
        let last = self.tally.last;
        self.note = found.and_then(|(head, note): (Option<(u32, u64)>, Option<Vec<u8>>)| {
            let note = note?;
            (head? == (sum(last, &note), last)).then(|| note.into())
        });
        Ok(())
    }

    /// Removes the note within a transaction.
    pub(crate) fn drop_note(&mut self) -> Result<(), Fault> {
        if self.tally.note {
            self.statement("DELETE FROM note")?.execute([])?;
            self.tally.note = false;
        }
        Ok(())
    }

    /// The note that was there when the file was opened, once.
    pub(crate) fn take_note(&mut self) -> Option<Bytes> {
        self.note.take()
    }
}

fn sum(last: u64, note: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&last.to_le_bytes());
    hasher.update(note);
    hasher.finalize()
}
