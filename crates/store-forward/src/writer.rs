//! The thread that owns the database: collects writes into groups, commits them, and reads in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use crate::admission::{Changes, Outcome, Step};
use crate::command::{Command, ReadReply, RemoveReply, Work, Write};
use crate::error::{AppendError, OpenError, QueueError};
use crate::fault::Fault;
use crate::group::{Bounds, Group};
use crate::item::Sequence;
use crate::lock::Lock;
use crate::open::{self, Losses};
use crate::options::QueueOptions;
use crate::read::{self, Removed, Selection};
use crate::space::Space;
use crate::stats::{Counters, Damage};
use crate::store::Store;

/// So often a queue without writes looks after itself.
const TICK: Duration = Duration::from_secs(1);
/// Without items that expire there is nothing to look after.
const LONGEST_IDLE: Duration = Duration::from_secs(24 * 3600);
/// A call waits for it no longer than this.
const LONGEST_TICK: Duration = Duration::from_millis(100);
/// So many times `commit_delay` a group waits while nobody reads.
const UNREAD: u32 = 2;
/// Wait after a compaction that failed.
const COMPACT_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Writer {
    options: QueueOptions,
    bounds: Bounds,
    /// None after damage that could not be mended: every command tries again.
    store: Option<Store>,
    /// The last sequence number given out.
    last: u64,
    commands: mpsc::Receiver<Command>,
    /// A write that did not fit into the group before.
    carried: Option<Write>,
    callers_before: usize,
    /// See [`Queue::nobody_reads`](crate::Queue::nobody_reads).
    unread: Arc<AtomicBool>,
    counters: Arc<Counters>,
    changed: watch::Sender<Sequence>,
    failing: bool,
    /// Not before then is the file made smaller.
    compact_from: Instant,
    _lock: Lock,
}

/// Why collecting a group ended the thread's work.
enum End {
    Closed {
        note: Option<Bytes>,
        reply: RemoveReply,
    },
    Abandoned,
}

/// What a handle has of the thread.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) changed: watch::Receiver<Sequence>,
    /// What was left at the last closing.
    pub(crate) note: Option<Bytes>,
}

/// Opens the database and starts its thread.
pub(crate) fn start(
    options: QueueOptions,
    commands: mpsc::Receiver<Command>,
    counters: Arc<Counters>,
    unread: Arc<AtomicBool>,
) -> Result<Started, OpenError> {
    let refused = |fault| match fault {
        Fault::Busy => OpenError::InUse {
            path: options.path.clone(),
        },
        Fault::Newer { found, reason } => OpenError::NewerSchema {
            path: options.path.clone(),
            found,
            known: crate::schema::VERSION,
            reason,
        },
        fault => OpenError::Storage {
            path: options.path.clone(),
            reason: fault.message(),
        },
    };
    let lock = Lock::take(&options.path).map_err(refused)?;
    let (mut store, losses) = open::open(&options, None).map_err(refused)?;
    let note = store.take_note();
    // A runtime for its timer; nothing else runs on it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.map_err(|error| refused(error.into()))?;
    let last = store.tally.last;
    let (changed, changes) = watch::channel(Sequence(last));
    let writer = Writer {
        bounds: Bounds::new(&options, Space::new(options.max_bytes)),
        store: Some(store),
        last,
        commands,
        carried: None,
        callers_before: 0,
        unread,
        counters,
        changed,
        failing: false,
        compact_from: Instant::now(),
        _lock: lock,
        options: options.clone(),
    };
    writer.count_losses(losses);
    writer.count_content();
    let thread = std::thread::Builder::new().name("store-forward".to_owned());
    // Nobody joins it: closing is answered by a command, and without handles it ends by itself.
    thread
        .spawn(move || writer.run(&runtime))
        .map_err(|error| refused(error.into()))?;
    Ok(Started {
        changed: changes,
        note,
    })
}

impl Writer {
    fn run(mut self, runtime: &Runtime) {
        let end = runtime.block_on(self.work());
        let (note, reply) = match end {
            End::Closed { note, reply } => (note, Some(reply)),
            End::Abandoned => (None, None),
        };
        let closed = self.close(note);
        if let Err(fault) = &closed {
            self.report(fault);
        }
        let Self {
            commands,
            _lock: lock,
            ..
        } = self;
        // First the lock, so that who is answered can open the file again.
        drop(lock);
        drop(commands);
        if let Some(reply) = reply {
            let _ = reply.send(closed.map_err(QueueError::from));
        }
    }

    /// Closes the file, also where the note cannot be left in it.
    fn close(&mut self, note: Option<Bytes>) -> Result<(), Fault> {
        let Some(mut store) = self.store.take() else {
            let lost = Fault::storage("the file is damaged and could not be mended");
            return note.map_or(Ok(()), |_| Err(lost));
        };
        let noted = note.map_or(Ok(()), |note| store.write_note(&note));
        store.close().and(noted)
    }

    async fn work(&mut self) -> End {
        loop {
            let first = match self.carried.take() {
                Some(write) => write,
                None => match tokio::time::timeout(self.idle(), self.commands.recv()).await {
                    Ok(None) => return End::Abandoned,
                    Ok(Some(Command::Write(write))) => write,
                    Ok(Some(other)) => match self.aside(other) {
                        None => continue,
                        Some(end) => return end,
                    },
                    Err(_) => {
                        self.tick();
                        continue;
                    }
                },
            };
            self.bounds.tables = self.counters.tables();
            let mut group = Group::new(self.bounds, first);
            let end = self.collect(&mut group).await;
            self.callers_before = group.writes.len();
            self.commit(group.writes);
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// How long a queue without calls may be left alone.
    fn idle(&self) -> Duration {
        match &self.store {
            Some(store) if store.tally.timed() > 0 => TICK,
            _ => LONGEST_IDLE,
        }
    }

    /// Drops what has expired while nothing is written.
    fn tick(&mut self) {
        let start = Instant::now();
        while let Some(store) = &mut self.store
            && store.tally.timed() > 0
            && start.elapsed() < LONGEST_TICK
        {
            let queue = store.now().queue;
            self.commit(Vec::new());
            if self.failing
                || self
                    .store
                    .as_ref()
                    .is_none_or(|store| !store.sweep_is_due(queue))
            {
                return;
            }
        }
    }

    /// Adds to a group what comes until it is complete or its first write has waited long enough.
    async fn collect(&mut self, group: &mut Group) -> Option<End> {
        let since = group.writes.first()?.since;
        let unread = self.unread.load(Relaxed);
        let delay = self.options.commit_delay * if unread { UNREAD } else { 1 };
        let deadline = since.min(Instant::now()) + delay;
        // What waits already comes along even if the time is over: it waited during the last sync.
        let mut waiting = self.commands.len();
        while !group.is_full() && (waiting > 0 || Instant::now() < deadline) {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Disconnected) => return Some(End::Abandoned),
                Err(TryRecvError::Empty) if !unread && group.is_complete(self.callers_before) => {
                    break;
                }
                Err(TryRecvError::Empty) => {
                    match tokio::time::timeout_at(deadline.into(), self.commands.recv()).await {
                        Ok(Some(command)) => command,
                        Ok(None) => return Some(End::Abandoned),
                        Err(_) => break,
                    }
                }
            };
            waiting = waiting.saturating_sub(1);
            match command {
                Command::Write(write) => {
                    if let Err(write) = group.add(write) {
                        self.carried = Some(write);
                        break;
                    }
                }
                other => {
                    if let Some(end) = self.aside(other) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    /// Serves a command that is not a write.
    fn aside(&mut self, command: Command) -> Option<End> {
        match command {
            Command::Write(write) => self.commit(vec![write]),
            Command::Read { selection, reply } => self.read(selection, reply),
            Command::Clock => {
                if let Some(store) = &mut self.store {
                    let reading = store.clock.read();
                    store.age.wall_is_right(&reading);
                    // Written down with the next transaction.
                    store.anchored = None;
                }
            }
            Command::Close { note, reply } => return Some(End::Closed { note, reply }),
            #[cfg(test)]
            Command::Tamper(tamper) => {
                if let Some(store) = &mut self.store {
                    (tamper.0)(store);
                }
            }
        }
        None
    }

    fn commit(&mut self, writes: Vec<Write>) {
        let result = self.with_store(|store| {
            let steps: Vec<_> = writes
                .iter()
                .map(|write| match &write.work {
                    Work::Append { items, .. } => Step::Append(items),
                    Work::Remove { ranges, .. } => Step::Remove(ranges),
                    Work::Purge { ranges, .. } => Step::Purge(ranges),
                    Work::Trial { .. } => Step::Trial,
                })
                .collect();
            let now = store.now();
            store.apply(&steps, now)
        });
        match result {
            Ok((outcomes, changes)) => {
                // On a full disk removals succeed.
                let added =
                    |write: &Write| !matches!(write.work, Work::Remove { .. } | Work::Purge { .. });
                if writes.iter().any(added) {
                    self.counters.writable.store(true, Relaxed);
                }
                self.counters.count(&changes);
                self.count_content();
                if changes.appended.items() > 0 {
                    self.changed.send_replace(Sequence(self.last));
                }
                for (write, outcome) in writes.into_iter().zip(outcomes) {
                    answer(write.work, outcome);
                }
                // Only now: nobody waits for it.
                self.checkpoint();
                self.compact();
            }
            Err(fault) => {
                self.counters.writable.store(false, Relaxed);
                for write in writes {
                    refuse(write.work, &fault);
                }
            }
        }
    }

    fn checkpoint(&mut self) {
        let Some(store) = &mut self.store else { return };
        match store.checkpoint_if_due() {
            Ok(()) => {}
            Err(fault @ Fault::Damaged(_)) => {
                let _ = self.mend(fault);
            }
            Err(fault) => self.report(&fault),
        }
    }

    /// Gives the disk back what a drained backlog took.
    fn compact(&mut self) {
        let Some(store) = &mut self.store else { return };
        if Instant::now() < self.compact_from {
            return;
        }
        match store.compact_if_worth_it() {
            Ok(false) => {}
            Ok(true) => {
                self.counters.count_compaction();
                self.count_content();
            }
            Err(fault @ Fault::Damaged(_)) => {
                let _ = self.mend(fault);
            }
            Err(fault) => {
                self.compact_from = Instant::now() + COMPACT_AGAIN;
                self.report(&fault);
            }
        }
    }

    fn read(&mut self, selection: Selection, reply: ReadReply) {
        // A caller that gave up must not cost a walk through the disk.
        if reply.is_closed() {
            return;
        }
        let mut removed = Removed::default();
        let result = self.with_store(|store| {
            let now = store.now();
            read::read(store, &selection, now, &mut removed)
        });
        let Removed { damaged, expired } = removed;
        if damaged > 0 {
            self.counters.count_damage(&Damage {
                rows: damaged as u64,
                ..Damage::default()
            });
            self.counters.set_last_error(format!(
                "{damaged} rows did not match their checksum and were removed"
            ));
            tracing::error!(queue = %self.options.path.display(), damaged, "rows did not match their checksum and were removed");
        }
        if damaged > 0 || !expired.0.is_empty() {
            self.counters.count(&Changes {
                dropped_expired: expired,
                ..Changes::default()
            });
            self.count_content();
        }
        let _ = reply.send(result.map_err(QueueError::from));
    }

    /// Runs something on the store. After damage the store is replaced and it is run once more.
    fn with_store<T>(
        &mut self,
        mut run: impl FnMut(&mut Store) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut result = self.ready().and_then(&mut run);
        if let Err(fault @ Fault::Damaged(_)) = result {
            result = self.mend(fault).and_then(run);
        }
        match &result {
            Ok(_) => self.failing = false,
            Err(fault) => self.report(fault),
        }
        if let Some(store) = &self.store {
            self.last = store.tally.last;
        }
        result
    }

    fn ready(&mut self) -> Result<&mut Store, Fault> {
        if self.store.is_none() {
            let (mut store, losses) = open::open(&self.options, Some(self.last))?;
            store.note = None;
            self.store = Some(store);
            self.count_losses(losses);
            self.count_content();
        }
        self.store.as_mut().ok_or(Fault::Busy)
    }

    /// Replaces a database that turned out to be damaged while it was open.
    fn mend(&mut self, fault: Fault) -> Result<&mut Store, Fault> {
        let reason = fault.message();
        let before = self.store.take().map(|store| {
            self.counters.lose(&store);
            store.tally.depth()
        });
        let (store, mut losses) = crate::damage::replace(&self.options, &reason, Some(self.last))?;
        if let Some(before) = before {
            // What was there is known, so the loss is too.
            losses.damage.rows = before.saturating_sub(store.tally.depth());
        }
        self.store = Some(store);
        self.count_losses(losses);
        self.count_content();
        self.store.as_mut().ok_or(fault)
    }

    fn report(&mut self, fault: &Fault) {
        self.counters.storage_errors.fetch_add(1, Relaxed);
        let message = fault.message();
        if !self.failing {
            tracing::error!(queue = %self.options.path.display(), reason = message, "the queue's storage failed");
        }
        self.failing = true;
        self.counters.set_last_error(message);
    }

    fn count_losses(&self, losses: Losses) {
        self.counters.count_damage(&losses.damage);
        self.counters.count(&Changes {
            dropped_oldest: losses.dropped_oldest,
            ..Changes::default()
        });
        if let Some(reason) = losses.reason {
            tracing::warn!(queue = %self.options.path.display(), reason, "the queue was not sound when it was opened");
            self.counters.set_last_error(reason);
        }
    }

    fn count_content(&self) {
        if let Some(store) = &self.store {
            self.counters.show(store);
        }
    }
}

fn answer(work: Work, outcome: Outcome) {
    // Who gave up waiting is not told.
    match (work, outcome) {
        (Work::Append { reply, .. }, Outcome::Stored(sequences)) => {
            let _ = reply.send(Ok(sequences));
        }
        (Work::Append { reply, .. }, _) => {
            let _ = reply.send(Err(AppendError::Full));
        }
        (Work::Purge { reply, .. }, outcome) => {
            let items = match outcome {
                Outcome::Purged(items) => items,
                _ => 0,
            };
            let _ = reply.send(Ok(items));
        }
        (Work::Remove { reply, .. } | Work::Trial { reply }, _) => {
            let _ = reply.send(Ok(()));
        }
    }
}

fn refuse(work: Work, fault: &Fault) {
    match work {
        Work::Append { reply, .. } => {
            let _ = reply.send(Err(fault.clone().into()));
        }
        Work::Purge { reply, .. } => {
            let _ = reply.send(Err(fault.clone().into()));
        }
        Work::Remove { reply, .. } | Work::Trial { reply } => {
            let _ = reply.send(Err(fault.clone().into()));
        }
    }
}
