//! The row that the queue's time goes on from after the next opening.

use rusqlite::{Connection, OptionalExtension};

use crate::age::{AgeClock, Anchor};
use crate::fault::Fault;
use crate::store::Store;

/// It is written at most so often, with a transaction that takes place anyway. Milliseconds.
const EVERY: i64 = 60_000;

impl Anchor {
    /// Reads it. One that is missing or damaged is none.
    pub(crate) fn load(connection: &Connection) -> Option<Self> {
        let row = connection
            .query_row(
                "SELECT queue, boot, since_boot, wall, known, checksum FROM clock",
                [],
                |row| {
                    let anchor = Self {
                        queue: row.get(0)?,
                        boot: row.get(1)?,
                        since_boot: row.get(2)?,
                        wall: row.get(3)?,
                        known: row.get(4)?,
                    };
                    Ok((anchor, row.get::<_, u32>(5)?))
                },
            )
            .optional();
        let (anchor, checksum) = row.ok().flatten()?;
        (anchor.sum() == checksum).then_some(anchor)
    }

    pub(crate) fn store(&self, connection: &Connection) -> Result<(), Fault> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO clock (only, checksum, queue, boot, since_boot, wall, known) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute((self.sum(), self.queue, &self.boot, self.since_boot, self.wall, self.known))?;
        Ok(())
    }

    fn sum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for number in [
            self.queue,
            self.since_boot,
            i64::from(self.wall.is_some()),
            self.wall.unwrap_or_default(),
            i64::from(self.known),
        ] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(self.boot.as_bytes());
        hasher.finalize()
    }
}

impl Store {
    /// Starts the queue's time. `reached`: it had come so far at least, by what the items say.
    pub(crate) fn start_time(&mut self, reached: i64) {
        let anchor = Anchor::load(&self.connection);
        self.age = AgeClock::resume(anchor.as_ref(), reached, &self.clock.read());
    }

    /// Writes the queue's time down within a transaction, if items need it and the last time is long ago.
    pub(crate) fn anchor_if_due(&mut self) -> Result<(), Fault> {
        if self.tally.timed() == 0 || !self.age.running {
            return Ok(());
        }
        let queue = self.now().queue;
        let due = self
            .anchored
            .is_none_or(|anchored| queue.saturating_sub(anchored) >= EVERY);
        if due { self.write_anchor() } else { Ok(()) }
    }

    /// Writes the queue's time down within a transaction.
    pub(crate) fn write_anchor(&mut self) -> Result<(), Fault> {
        let reading = self.clock.read();
        self.age.now(&reading);
        let anchor = self.age.anchor(&reading);
        anchor.store(&self.connection)?;
        self.anchored = Some(anchor.queue);
        Ok(())
    }
}
