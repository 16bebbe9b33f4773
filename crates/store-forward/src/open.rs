//! Opening a queue whatever state its files are in.

use std::path::Path;

use crate::damage;
use crate::fault::Fault;
use crate::folder::{log_of, remove_database, sync_folder_of};
use crate::header;
use crate::item::Priority;
use crate::lock::{beside, note_finished, was_finished};
use crate::log;
use crate::options::{QueueOptions, WhenFull};
use crate::row::Content;
use crate::schema::{self, Version};
use crate::space::PAGE;
use crate::stats::{Damage, now_micros};
use crate::store::Store;
use crate::tally::{Lots, Tally};
use crate::way_back::{self, Left};

/// Up to so many bytes in use, SQLite checks the structure of the whole file. That takes an eighth of the time that reading
/// all rows takes anyway, once the disk has given them.
const QUICK_CHECK: u64 = 256 * 1024 * 1024;

/// What opening cost.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    pub(crate) damage: Damage,
    /// Items dropped because `max_bytes` was lowered.
    pub(crate) dropped_oldest: Lots,
    /// The damage in words.
    pub(crate) reason: Option<String>,
}

/// Opens the queue. The caller holds its lock. `known_last` is the last sequence number given out, if this process knows.
pub(crate) fn open(
    options: &QueueOptions,
    known_last: Option<u64>,
) -> Result<(Store, Losses), Fault> {
    let path = &options.path;
    let fresh = fresh_of(path);
    if !path.exists() && fresh.exists() {
        return damage::resume(options, known_last);
    }
    remove_database(&fresh)?;
    let mut losses = Losses::default();
    // SQLite reports a log that cannot be read at all.
    let inspection = log::inspect(&log_of(path)).unwrap_or_default();
    log::correct(&log_of(path), &inspection.corrections)?;
    if !inspection.corrections.is_empty() {
        losses.reason = Some(format!(
            "{} bits in its write-ahead log had flipped and were turned back",
            inspection.corrections.len()
        ));
    }
    if inspection.damaged {
        losses.damage.files += 1;
        losses.reason =
            Some("its write-ahead log is damaged, acknowledged items are lost".to_owned());
        // For whoever wants to look into it; the queue does not need it.
        let _ = std::fs::copy(log_of(path), beside(path, "-wal.damaged"));
    }
    let (mut store, trusted) = match existing(options, &mut losses) {
        Err(Fault::Damaged(reason)) => return damage::replace(options, &reason, known_last),
        result => result?,
    };
    let mut last = known_last.unwrap_or_default();
    if inspection.rows_lost > 0 {
        last = last.max(store.tally.last + inspection.rows_lost);
    }
    if !trusted {
        last = last.max(beyond(path));
    }
    if let Err(fault) = store.raise_last(last) {
        losses.reason = Some(fault.message());
    }
    if store.page_count()? > store.space.pages {
        store = shrink(options, store, &mut losses)?;
    } else if !schema::is_in_place(&store.connection)? {
        store = renew(options, store, &mut losses)?;
    }
    if inspection.damaged {
        // What was appended after it may be lost.
        store.note = None;
    }
    // Without it nothing is wrong now: the next opening does it.
    let _ = note_finished(path);
    Ok((store, losses))
}

/// Where a database is built that takes the place of the queue's.
pub(crate) fn fresh_of(path: &Path) -> std::path::PathBuf {
    beside(path, ".new")
}

/// A sequence number that a queue of these files has not reached: microseconds since 1970, by the clock or the time of the
/// last change, whichever is later. No queue takes a million items per second from 1970 on.
pub(crate) fn beyond(path: &Path) -> u64 {
    let changed = [path.to_owned(), log_of(path)]
        .into_iter()
        .filter_map(|file| {
            let since = std::fs::metadata(file)
                .ok()?
                .modified()
                .ok()?
                .duration_since(std::time::UNIX_EPOCH)
                .ok()?;
            u64::try_from(since.as_micros()).ok()
        });
    changed
        .max()
        .unwrap_or_default()
        .max(u64::try_from(now_micros()).unwrap_or_default())
}

/// Opens the file if it is sound, or creates it. Also says whether its last sequence number can be trusted.
pub(crate) fn existing(
    options: &QueueOptions,
    losses: &mut Losses,
) -> Result<(Store, bool), Fault> {
    let path = &options.path;
    if let Some(reason) = header::check(path) {
        return Err(Fault::Damaged(reason));
    }
    let existed = path.exists();
    let Connected {
        mut store,
        created,
        left,
    } = connect(path, options)?;
    if let Some(left) = left {
        losses.damage.left_behind += left.items;
        losses.reason = left.reason.or(losses.reason.take());
    }
    let emptied = existed && created && was_finished(path);
    if emptied {
        losses.damage.files += 1;
        losses.reason = Some("its file was empty: it was cut off".to_owned());
    }
    if (store.page_count()? - store.free_list()?.min(store.page_count()?)) * PAGE <= QUICK_CHECK {
        let verdict: String = store
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Fault::Damaged(verdict));
        }
    }
    store.load_gone()?;
    let scan = scan(&store)?;
    store.tally = scan.tally;
    store.start_time(scan.reached);
    store.load_note()?;
    if !scan.damaged.is_empty() {
        losses.reason = Some(format!(
            "{} rows do not match their checksum",
            scan.damaged.len()
        ));
        let mut done = 0;
        let discarded = store.discard(&scan.damaged, false, &mut done);
        losses.damage.rows += done as u64;
        match discarded {
            Ok(()) => {}
            Err(Fault::Damaged(reason)) => return Err(Fault::Damaged(reason)),
            // The disk is full: a read will come across them.
            Err(_) => {
                for (priority, number) in scan.damaged.iter().skip(done) {
                    let number = u64::try_from(*number).unwrap_or_default();
                    let lane = store.tally.lane(*priority);
                    lane.content.items += 1;
                    lane.oldest = lane.oldest.min(Some((number, 0))).or(Some((number, 0)));
                    lane.newest = lane.newest.max(Some(number));
                }
            }
        }
    }
    Ok((store, scan.last_trusted && !emptied))
}

/// A file with today's schema.
pub(crate) struct Connected {
    pub(crate) store: Store,
    /// There was no schema before.
    pub(crate) created: bool,
    /// It was a newer release's.
    pub(crate) left: Option<Left>,
}

/// Opens or creates the file with today's schema.
pub(crate) fn connect(path: &Path, options: &QueueOptions) -> Result<Connected, Fault> {
    let release = &schema::THIS;
    let mut store = Store::connect(path, options)?;
    let version = release.version_of(&store.connection)?;
    let left = match version {
        Version::Newer(found) => {
            let left = store.beyond_bound(|connection| {
                way_back::take(connection, release, found, beyond(path))
            })?;
            tracing::warn!(
                queue = %path.display(),
                from = found,
                to = release.version(),
                items_lost = left.items,
                reason = left.reason,
                "the file of a newer release was brought back to this one's schema"
            );
            Some(left)
        }
        Version::Known(from) => {
            store.beyond_bound(|connection| release.migrate(connection, from))?;
            None
        }
        Version::Empty => {
            release.migrate(&store.connection, 0)?;
            None
        }
    };
    if version != Version::Known(release.version()) {
        // From here on the header of the file says what it is, even if the log should be lost.
        store.checkpoint()?;
    }
    release.check(&store.connection)?;
    way_back::renew(&store.connection, release.steps)?;
    // SQLite has made its log by now. It syncs the folder as well, and does not say when that fails.
    sync_folder_of(path)?;
    Ok(Connected {
        store,
        created: version == Version::Empty,
        left,
    })
}

struct Scan {
    tally: Tally,
    damaged: Vec<(Priority, i64)>,
    last_trusted: bool,
    /// What the queue's time had come to when the last item with a lifetime came.
    reached: i64,
}

/// Reads every row and verifies its checksums.
fn scan(store: &Store) -> Result<Scan, Fault> {
    let mut scan = Scan {
        // What is gone is known already.
        tally: store.tally.clone(),
        damaged: Vec::new(),
        last_trusted: false,
        reached: 0,
    };
    let tally = &mut scan.tally;
    for priority in Priority::descending() {
        store.rows(priority, i64::MIN, i64::MAX, |row| {
            match row.content {
                Content::Item(item) => {
                    let size = item.parts.size() as u64;
                    tally.last = tally.last.max(item.sequence);
                    tally.add(item.sequence, item.enqueued, size, &item.terms);
                    if let (Some(expires), Some(lifetime)) =
                        (item.terms.expires, item.terms.lifetime)
                    {
                        scan.reached = scan.reached.max(expires.saturating_sub(lifetime));
                    }
                }
                Content::Mark { sequence } => {
                    tally.last = tally.last.max(sequence);
                    tally.mark = Some(sequence);
                }
                Content::Damaged => scan.damaged.push((priority, row.number)),
            }
            true
        })?;
    }
    let gone = tally.lanes.iter().map(|lane| lane.gone).max();
    tally.last = tally.last.max(gone.unwrap_or_default());
    if tally.last == 0 && tally.mark.is_none() && scan.damaged.is_empty() {
        return Err(Fault::Damaged("its tables are empty".to_owned()));
    }
    tally.last_present = tally.depth() > 0 || tally.mark.is_some();
    // A damaged row may hide the last number; its own number may be wrong.
    scan.last_trusted = tally.last_present && scan.damaged.is_empty();
    Ok(scan)
}

/// Fits a file into a `max_bytes` that was lowered: drops oldest items if that is the policy, and copies the rest into a
/// smaller file. Otherwise the file stays as it is, takes nothing in until items have left it, and is tried again at the
/// next opening.
fn shrink(options: &QueueOptions, mut store: Store, losses: &mut Losses) -> Result<Store, Fault> {
    /// Kept free, so that the smaller file is not full again at once.
    const SLACK: u64 = 16;
    if options.when_full == WhenFull::DropOldest {
        let excess = store.page_count()?.saturating_sub(store.space.pages) + SLACK;
        let dropped = store.transact(|store| {
            store.delete_gone_for(excess)?;
            store.make_room(excess, Priority::HIGHEST)
        })?;
        losses.dropped_oldest.join(dropped);
    }
    if store.page_count()?.saturating_sub(store.free_list()?) > store.space.pages {
        return Ok(store);
    }
    renew(options, store, losses)
}

/// Copies a sound file into a fresh one, which takes its place. What goes wrong leaves it as it is.
fn renew(options: &QueueOptions, mut store: Store, losses: &mut Losses) -> Result<Store, Fault> {
    let (last, note) = (store.tally.last, store.take_note());
    store.close()?;
    if let Err(fault) = damage::compact(options, last, note.as_deref()) {
        losses.reason = Some(format!(
            "the file could not be written anew: {}",
            fault.message()
        ));
        remove_database(&fresh_of(&options.path))?;
    }
    let (store, _) = existing(options, losses)?;
    Ok(store)
}
