//! A damaged file is set aside, and what is readable in it becomes a fresh one.
//!
//! The order of steps makes an interruption at any point harmless: an empty `PATH.new` says that a replacement is under
//! way; the damaged file is renamed; its rows go to `PATH.new`; that is renamed to `PATH`. Without `PATH`, `PATH.new`
//! means: start the copy again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::fault::Fault;
use crate::folder::{
    damaged_files, damaged_name, log_of, remove_database, rename_database, sync_folder_of,
};
use crate::header;
use crate::open::{Losses, beyond, connect, existing, fresh_of};
use crate::options::QueueOptions;
use crate::pages::Pages;
use crate::salvage::{Salvage, Salvaged};
use crate::schema;
use crate::space::PAGE;
use crate::stats::{Damage, now_micros};
use crate::store::Store;
use crate::tally::Tally;

/// Replaces a damaged database that nobody has open.
pub(crate) fn replace(
    options: &QueueOptions,
    reason: &str,
    known_last: Option<u64>,
) -> Result<(Store, Losses), Fault> {
    let path = &options.path;
    if !is_readable(path)? {
        return Err(Fault::storage(format!(
            "the disk reads almost nothing of the file: {reason}"
        )));
    }
    tracing::error!(queue = %path.display(), reason, "the queue's file is damaged; it is set aside and what is readable is kept");
    // Only the newest is kept: damage that repeats must not fill the disk.
    for (_, old) in damaged_files(path) {
        remove_database(&old)?;
    }
    remove_database(&fresh_of(path))?;
    File::create(fresh_of(path))?.sync_all()?;
    sync_folder_of(path)?;
    let aside = damaged_name(path, now_micros());
    rename_database(path, &aside)?;
    refill(options, &aside, reason, known_last)
}

/// Whether most of a file can be read at all, whatever is in it. A disk that reads nothing may do so again later, and then
/// has all items.
fn is_readable(path: &Path) -> std::io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    let pages = file.metadata()?.len() / PAGE;
    let mut page = [0; PAGE as usize];
    let lost = (0..pages).filter(|number| file.read_exact_at(&mut page, number * PAGE).is_err());
    Ok(lost.count() as u64 <= pages / 2)
}

/// Goes on with a replacement that was interrupted.
pub(crate) fn resume(
    options: &QueueOptions,
    known_last: Option<u64>,
) -> Result<(Store, Losses), Fault> {
    let path = &options.path;
    let Some((_, aside)) = damaged_files(path).pop() else {
        // Somebody took the damaged file away. Its numbers are not known, the time of now is beyond them.
        remove_database(&fresh_of(path))?;
        let mut losses = Losses::default();
        let (mut store, _) = existing(options, &mut losses)?;
        store.raise_last(known_last.unwrap_or_else(|| beyond(path)))?;
        return Ok((store, losses));
    };
    if log_of(path).exists() {
        std::fs::rename(log_of(path), log_of(&aside))?;
        sync_folder_of(path)?;
    }
    refill(
        options,
        &aside,
        "it was damaged, and its replacement was interrupted",
        known_last,
    )
}

fn refill(
    options: &QueueOptions,
    aside: &Path,
    reason: &str,
    known_last: Option<u64>,
) -> Result<(Store, Losses), Fault> {
    let path = &options.path;
    let known_last = known_last.unwrap_or_else(|| beyond(aside));
    let fresh = fresh_of(path);
    let mut target = create(options, &fresh)?;
    let salvaged = salvage(aside, &fresh, &mut target)?;
    target.raise_last(known_last.max(salvaged.highest))?;
    target.close()?;
    std::fs::rename(&fresh, path)?;
    sync_folder_of(path)?;
    let reason = format!(
        "{reason}; {} items were readable, about {} were not; it is now {}",
        salvaged.restored,
        salvaged.lost,
        aside.display()
    );
    tracing::error!(queue = %path.display(), reason, "the queue's file was replaced");
    let mut losses = Losses {
        damage: Damage {
            rows: salvaged.lost,
            files: 1,
            left_behind: 0,
        },
        reason: Some(reason),
        ..Losses::default()
    };
    let (store, _) = existing(options, &mut losses)?;
    Ok((store, losses))
}

/// Copies a sound database into a smaller file, which takes its place.
pub(crate) fn compact(options: &QueueOptions, last: u64, note: Option<&[u8]>) -> Result<(), Fault> {
    let path = &options.path;
    let fresh = fresh_of(path);
    let mut target = create(options, &fresh)?;
    let pages = Pages::open(path)?;
    let salvaged = Salvage::new(path, pages, &mut target, Some(schema::VERSION)).run()?;
    if salvaged.lost > 0 || salvaged.stopped {
        return Err(Fault::storage("not all of its rows could be copied"));
    }
    target.raise_last(last)?;
    if let Some(note) = note {
        target.write_note(note)?;
    }
    target.close()?;
    remove_log(path)?;
    std::fs::rename(&fresh, path)?;
    Ok(sync_folder_of(path)?)
}

/// The old log is empty: its database was closed. Were it left, it would be taken for the new one's.
fn remove_log(path: &Path) -> Result<(), Fault> {
    if log_of(path).exists() {
        std::fs::remove_file(log_of(path))?;
        sync_folder_of(path)?;
    }
    Ok(())
}

/// An empty database, with its first page on disk. The name stays, so that an interruption is seen.
fn create(options: &QueueOptions, fresh: &Path) -> Result<Store, Fault> {
    let log = log_of(fresh);
    if log.exists() {
        std::fs::remove_file(log)?;
    }
    File::create(fresh)?;
    connect(fresh, options)?.store.close()?;
    let mut store = connect(fresh, options)?.store;
    store.tally = Tally {
        last_present: true,
        mark: Some(0),
        ..Tally::default()
    };
    Ok(store)
}

/// Copies rows of a damaged file. Its first page is restored before, whether that is what is damaged or not: a wrong
/// number of pages there, for one, hides rows without an error.
fn salvage(aside: &Path, fresh: &Path, target: &mut Store) -> Result<Salvaged, Fault> {
    let version = header::version(aside);
    let pages = Pages::open(aside)?;
    if let Err(error) = header::restore(aside, fresh) {
        tracing::warn!(file = %aside.display(), %error, "the first page of the damaged file cannot be restored");
    }
    match Salvage::new(aside, pages, target, version).run() {
        Ok(salvaged) if salvaged.seen_any => Ok(salvaged),
        // The table has never been empty.
        Ok(salvaged) => Ok(Salvaged {
            lost: salvaged.lost.max(1),
            ..salvaged
        }),
        Err(Fault::Damaged(reason)) => {
            tracing::warn!(file = %aside.display(), reason, "there is no table in the damaged file");
            Ok(Salvaged {
                lost: 1,
                ..Salvaged::default()
            })
        }
        Err(fault) => Err(fault),
    }
}
