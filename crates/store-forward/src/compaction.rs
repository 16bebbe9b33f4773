//! Giving the space of a drained backlog back to the disk.
//!
//! SQLite writes what is left of the database anew, through the log, in one transaction. That takes as long as writing what
//! is left, so it waits until that is little; until then the free pages are used again where they are.

use rusqlite::wal::CheckpointMode;

use crate::fault::Fault;
use crate::space::{FRAME, PAGE, Space};
use crate::store::Store;

/// The most that is written anew, in pages: 2 MiB.
const MOST_LIVE: u64 = 512;
/// The least that is worth it, in pages: 4 MiB, and 1 MiB if next to nothing is written.
const LEAST_FREE: u64 = 1024;
const LEAST_FREE_OF_LITTLE: u64 = 256;
/// So many times what is written must come free.
const TIMES: u64 = 3;
const TIMES_OF_LITTLE: u64 = 8;

/// Whether a file of so many pages, of which so many are free, is written anew.
pub(crate) fn is_worth_it(space: Space, pages: u64, free: u64) -> bool {
    let live = pages.saturating_sub(free);
    let least = |pages: u64| pages.min(space.pages / 4);
    live <= MOST_LIVE.min(space.transaction_pages().max(space.pages / 4))
        && (free >= least(LEAST_FREE).max(TIMES * live)
            || free >= least(LEAST_FREE_OF_LITTLE).max(TIMES_OF_LITTLE * live))
}

impl Store {
    /// Makes the file as small as its content, if that is worth it. Says whether it did.
    pub(crate) fn compact_if_worth_it(&mut self) -> Result<bool, Fault> {
        let (pages, free) = (self.page_count()?, self.free_list()?);
        let gone: u64 = self.tally.lanes.iter().map(|lane| lane.gone_bytes).sum();
        if !is_worth_it(self.space, pages, free + gone / PAGE) {
            return Ok(false);
        }
        if gone > 0 {
            self.transact(|store| store.delete_gone_for(u64::MAX))?;
        }
        // An empty log has room for all of it.
        self.checkpoint()?;
        self.connection.execute_batch("VACUUM")?;
        let frames = self.frames.load(std::sync::atomic::Ordering::Relaxed);
        self.written += frames * FRAME;
        // The file is cut when the log is copied into it.
        self.copy_log(CheckpointMode::TRUNCATE)?;
        self.measure();
        tracing::debug!(
            from = pages * PAGE,
            to = self.page_count()? * PAGE,
            "the queue's file was made smaller"
        );
        Ok(true)
    }
}
