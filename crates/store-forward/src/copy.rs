//! Looking at a queue's files from outside, whoever has them open, and copying them.
//!
//! A copy is sound although the queue goes on meanwhile: the database is copied first and its log after it. A page of the database
//! changes only when the log is copied into it, and is in the log then, as long as the log has not started over; that it has not,
//! its header says, which is another one each time. What is beyond the last whole commit in the copied log is left out when it is
//! opened, as after a power cut.
//!
//! Source: SQLite, "WAL-mode File Format", 2.2 and 4.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::folder::{damaged_files, log_of};
use crate::header;
use crate::lock::{beside, was_finished};
use crate::schema::{APPLICATION, VERSION};

/// The version of the layout that this release writes.
pub const LAYOUT: u32 = VERSION;

/// Bytes of a log's header.
const LOG_HEADER: usize = 32;
/// How often a copy is begun anew because the log started over.
const ATTEMPTS: u32 = 8;

/// Why a queue's files cannot be looked at or copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no such file.
    #[error("queue {}: there is no such file{}", path.display(), if *replacing { "; it was damaged and its replacement was interrupted: the module completes it when it starts" } else { "" })]
    Missing {
        /// The queue's file.
        path: PathBuf,
        /// It was set aside as damaged, and what is readable in it was not all copied.
        replacing: bool,
    },
    /// The file is something else.
    #[error("{} is not a queue: {reason}", path.display())]
    NotAQueue {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        reason: String,
    },
    /// It was written faster than it could be copied.
    #[error("queue {}: it is written faster than it can be copied; stop the module that has it open, or try again when less comes in", path.display())]
    Restless {
        /// The queue's file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether somebody has a queue open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A process has it.
    Yes,
    /// Nobody has.
    No,
    /// That cannot be told, for this reason.
    Unknown(String),
}

/// What can be seen of a queue without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Version of the layout, if the file says it clearly.
    pub layout: Option<u32>,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Whether somebody has it open.
    pub held: Held,
    /// Damaged files that were set aside, with their bytes.
    pub damaged: Vec<(PathBuf, u64)>,
}

/// Looks at the files of a queue. Changes nothing.
///
/// # Errors
///
/// [`CopyError`], but not [`CopyError::Restless`].
pub fn files(path: &Path) -> Result<Files, CopyError> {
    let database_bytes = is_queue(path)?;
    Ok(Files {
        layout: header::version(path),
        database_bytes,
        log_bytes: std::fs::metadata(log_of(path)).map_or(0, |metadata| metadata.len()),
        held: held(path),
        damaged: damaged(path),
    })
}

/// Copies a queue's database and log, open or not, to `to`, beside which nothing else may lie. Gives the copied bytes. The copy can be
/// opened as a queue of its own.
///
/// # Errors
///
/// [`CopyError`]. What was copied until then is left there.
pub fn copy(path: &Path, to: &Path) -> Result<u64, CopyError> {
    is_queue(path)?;
    if was_finished(path) {
        let lock = beside(to, ".lock");
        std::fs::write(&lock, b"1").map_err(|source| storage(&lock, source))?;
    }
    for _ in 0..ATTEMPTS {
        if let Some(bytes) = attempt(path, to)? {
            return Ok(bytes);
        }
    }
    Err(CopyError::Restless {
        path: path.to_owned(),
    })
}

fn storage(path: &Path, source: io::Error) -> CopyError {
    CopyError::Storage {
        path: path.to_owned(),
        source,
    }
}

/// Its bytes, if it is a queue or the remains of one.
fn is_queue(path: &Path) -> Result<u64, CopyError> {
    let not = |reason: &str| {
        Err(CopyError::NotAQueue {
            path: path.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(CopyError::Missing {
                path: path.to_owned(),
                replacing: beside(path, ".new").exists(),
            });
        }
        opened => opened.map_err(|source| storage(path, source))?,
    };
    let metadata = file.metadata().map_err(|source| storage(path, source))?;
    if !metadata.is_file() {
        return not("it is no regular file");
    }
    let mut head = Vec::new();
    file.take(100)
        .read_to_end(&mut head)
        .map_err(|source| storage(path, source))?;
    // The first page may be what is damaged: what lies beside it says what it was.
    let was = beside(path, ".lock").exists()
        || path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains(".damaged-"));
    let says = head.get(68..71) == APPLICATION.to_be_bytes().get(..3);
    if says || was {
        Ok(metadata.len())
    } else if head.is_empty() {
        not("it is empty")
    } else if head.starts_with(b"SQLite format 3\0") {
        not("it is a database of another program")
    } else {
        not("it does not begin as one does")
    }
}

fn held(path: &Path) -> Held {
    let lock = beside(path, ".lock");
    let file = match File::open(&lock) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Held::No,
        Err(error) => return Held::Unknown(format!("{}: {error}", lock.display())),
        Ok(file) => file,
    };
    // Given back at once; who opens the queue at this moment tries again.
    match file.try_lock_shared() {
        Ok(()) => Held::No,
        Err(TryLockError::WouldBlock) => Held::Yes,
        Err(TryLockError::Error(error)) => Held::Unknown(format!("{}: {error}", lock.display())),
    }
}

fn damaged(path: &Path) -> Vec<(PathBuf, u64)> {
    let bytes = |file: &Path| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let mut found: Vec<PathBuf> = damaged_files(path)
        .into_iter()
        .map(|(_, file)| file)
        .collect();
    found.push(beside(path, "-wal.damaged"));
    found.retain(|file| file.exists());
    found
        .into_iter()
        .map(|file| {
            let bytes = bytes(&file);
            (file, bytes)
        })
        .collect()
}

/// Which file it is, and what of it tells that nothing was written.
#[derive(Debug, PartialEq, Eq)]
struct Print {
    file: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
}

impl Print {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self {
                file: (metadata.dev(), metadata.ino()),
                bytes: metadata.len(),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What tells one round of a log from another.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// None: the log is empty or not there.
    header: Option<[u8; LOG_HEADER]>,
    file: Option<(u64, u64)>,
}

impl Round {
    fn of(log: &Path) -> io::Result<Self> {
        let mut file = match File::open(log) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self {
                    header: None,
                    file: None,
                });
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let mut header = [0; LOG_HEADER];
        let read = match file.read_exact(&mut header) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            header: read.then_some(header),
            file: Some((metadata.dev(), metadata.ino())),
        })
    }
}

/// Copies once. None if the log started over meanwhile.
fn attempt(path: &Path, to: &Path) -> Result<Option<u64>, CopyError> {
    let log = log_of(path);
    let of_log = |source| storage(&log, source);
    let of_database = |source| storage(path, source);
    let before = Round::of(&log).map_err(of_log)?;
    let prints = |()| -> io::Result<_> { Ok((Print::of(path)?, Print::of(&log)?)) };
    let prints_before = prints(()).map_err(of_database)?;
    let mut bytes = copy_file(path, to, u64::MAX)?;
    let Some(print) = Print::of(path).map_err(of_database)? else {
        return Ok(None);
    };
    // Not what comes from now on: more than one commit after the one that is being written would look like damage.
    let length = Print::of(&log)
        .map_err(of_log)?
        .map_or(0, |print| print.bytes);
    if length > 0 {
        match copy_file(&log, &log_of(to), length) {
            Err(CopyError::Storage { path, source })
                if path == log && source.kind() == ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            copied => bytes += copied?,
        }
    } else if let Err(error) = std::fs::remove_file(log_of(to))
        && error.kind() != ErrorKind::NotFound
    {
        return Err(storage(&log_of(to), error));
    }
    let copied = Round::of(&log_of(to)).map_err(|source| storage(&log_of(to), source))?;
    let after = Round::of(&log).map_err(of_log)?;
    let same_database = prints_before
        .0
        .as_ref()
        .is_some_and(|before| before.file == print.file);
    let same_round = before == after && before.header == copied.header;
    // A log that is empty each time may have been full in between.
    let still = before.header.is_some() || prints_before == prints(()).map_err(of_database)?;
    Ok((same_database && same_round && still).then_some(bytes))
}

fn copy_file(from: &Path, to: &Path, most: u64) -> Result<u64, CopyError> {
    let source = File::open(from).map_err(|source| storage(from, source))?;
    let mut target = File::create(to).map_err(|source| storage(to, source))?;
    io::copy(&mut source.take(most), &mut target).map_err(|error| {
        storage(
            to,
            io::Error::new(
                error.kind(),
                format!("copying {} here: {error}", from.display()),
            ),
        )
    })
}
