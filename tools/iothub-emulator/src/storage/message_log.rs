//! Device-to-cloud messages: an append-only file of one JSON object per line, in the form the control interface serves.
//!
//! The file is its own format for reading: `GET /messages` copies lines out of it. A sparse index in memory (one entry
//! per 256 messages) finds the place of a message number, and is rebuilt when the file is opened.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use thiserror::Error;

use super::record::Batch;

/// Messages between two entries of the index.
const MARK_EVERY: u64 = 256;
/// Bytes of one read; lines may be longer.
const READ_CHUNK: usize = 256 * 1024;

/// The messages file cannot be opened.
#[derive(Debug, Error)]
pub enum MessageLogError {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// The messages file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another emulator holds the file.
    #[error("{path} is in use by another emulator; stop it or choose another data folder")]
    InUse {
        /// The messages file.
        path: PathBuf,
    },
    /// Damage that a kill cannot explain, so nothing is cut off.
    #[error(
        "{path}:{line}: not the record of message {line}; move the file away to start without its messages"
    )]
    Damaged {
        /// The messages file.
        path: PathBuf,
        /// One-based line, which is also the number of the message.
        line: u64,
    },
}

/// The file and its index. Message numbers start at 1 and have no gaps.
#[derive(Debug)]
pub(crate) struct MessageLog {
    file: File,
    tail: Mutex<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    last_index: u64,
    length: u64,
    marks: Vec<u64>,
    counts: HashMap<String, u64>,
    buffer: Vec<u8>,
}

/// Which messages of the file a reader wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Only messages with a higher number.
    pub(crate) after: u64,
    /// At most so many.
    pub(crate) limit: usize,
    /// Stop after so many bytes (but never before the first message).
    pub(crate) max_bytes: usize,
    /// Only this device, with all its modules.
    pub(crate) device: Option<String>,
}

/// The fields that every line begins with.
#[derive(Deserialize)]
struct LineHead {
    index: u64,
    device: String,
    module: Option<String>,
}

impl MessageLog {
    /// Opens or creates the file. A torn last line (the process was killed while it wrote) is cut off; its message was
    /// never confirmed.
    pub(crate) fn open(path: &Path) -> Result<Self, MessageLogError> {
        let failed = |source| MessageLogError::File {
            path: path.to_path_buf(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => MessageLogError::InUse {
                path: path.to_path_buf(),
            },
            std::fs::TryLockError::Error(source) => failed(source),
        })?;
        let size = file.metadata().map_err(failed)?.len();
        let tail = scan(&file, path)?;
        if tail.length < size {
            tracing::warn!(path = %path.display(), bytes = size - tail.length, "cut a torn record off the end of the messages file");
            file.set_len(tail.length).map_err(failed)?;
        }
        Ok(Self {
            file,
            tail: Mutex::new(tail),
        })
    }

    /// Appends a batch with one write and returns the number of the last message. When it returns, the batch survives the
    /// death of the process.
    ///
    /// It blocks the caller for the time of a copy into the page cache, which is less than a hand-over to another thread.
    pub(crate) fn append(&self, identity: &str, batch: &Batch) -> io::Result<u64> {
        let mut guard = self.lock();
        let tail = &mut *guard;
        if batch.is_empty() {
            return Ok(tail.last_index);
        }
        let mut buffer = std::mem::take(&mut tail.buffer);
        buffer.clear();
        let mut marks = Vec::new();
        let mut index = tail.last_index;
        for record in batch.records() {
            index += 1;
            if is_marked(index) {
                marks.push(tail.length + buffer.len() as u64);
            }
            // Writing to a Vec cannot fail.
            let _ = write!(buffer, "{{\"index\":{index},");
            buffer.extend_from_slice(record);
        }
        // At a position, so that whatever a failed write left behind is overwritten by the next one.
        let written = self.file.write_all_at(&buffer, tail.length);
        if written.is_ok() {
            tail.length += buffer.len() as u64;
            tail.last_index = index;
            tail.marks.append(&mut marks);
            match tail.counts.get_mut(identity) {
                Some(count) => *count += batch.len() as u64,
                None => {
                    tail.counts.insert(identity.to_owned(), batch.len() as u64);
                }
            }
        }
        tail.buffer = buffer;
        written.map(|()| index)
    }

    /// The number of the last message, which is also how many there are.
    pub(crate) fn count(&self) -> u64 {
        self.lock().last_index
    }

    /// How many messages an identity (`device` or `device/module`) has sent.
    pub(crate) fn count_of(&self, identity: &str) -> u64 {
        self.lock().counts.get(identity).copied().unwrap_or(0)
    }

    /// Copies the selected lines. It reads a file: call it on a blocking thread.
    pub(crate) fn read(&self, selection: &Selection) -> io::Result<Vec<u8>> {
        let (mut offset, mut index, end) = {
            let tail = self.lock();
            if selection.after >= tail.last_index || selection.limit == 0 {
                return Ok(Vec::new());
            }
            let mark = selection.after / MARK_EVERY;
            let Some(offset) = usize::try_from(mark)
                .ok()
                .and_then(|mark| tail.marks.get(mark))
            else {
                return Ok(Vec::new());
            };
            (*offset, mark * MARK_EVERY + 1, tail.length)
        };
        let device = match &selection.device {
            Some(device) => Some(format!("\"device\":{},", serde_json::to_string(device)?)),
            None => None,
        };
        let mut out = Vec::new();
        let mut taken = 0;
        let mut chunk = Vec::new();
        let mut held = 0; // bytes of an unfinished line at the start of the chunk
        while offset < end {
            let wanted = usize::try_from(end - offset)
                .unwrap_or(usize::MAX)
                .min(READ_CHUNK);
            chunk.resize(held + wanted, 0);
            self.file.read_exact_at(&mut chunk[held..], offset)?;
            offset += wanted as u64;
            let mut start = 0;
            while let Some(length) = chunk[start..].iter().position(|byte| *byte == b'\n') {
                let line = &chunk[start..=start + length];
                start += length + 1;
                let current = index;
                index += 1;
                if current <= selection.after
                    || !device
                        .as_ref()
                        .is_none_or(|device| is_of_device(line, device))
                {
                    continue;
                }
                if taken > 0 && out.len() + line.len() > selection.max_bytes {
                    return Ok(out);
                }
                out.extend_from_slice(line);
                taken += 1;
                if taken == selection.limit {
                    return Ok(out);
                }
            }
            chunk.drain(..start);
            held = chunk.len();
        }
        Ok(out)
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        // A panic between two assignments cannot leave the tail half changed: they cannot panic.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_marked(index: u64) -> bool {
    (index - 1).is_multiple_of(MARK_EVERY)
}

/// A line is `{"index":N,"device":"…",…`; the number has no comma.
fn is_of_device(line: &[u8], device: &str) -> bool {
    line.iter()
        .position(|byte| *byte == b',')
        .is_some_and(|comma| line[comma + 1..].starts_with(device.as_bytes()))
}

/// Checks every line and builds the index. Ends before a torn last line.
fn scan(file: &File, path: &Path) -> Result<Tail, MessageLogError> {
    let failed = |source| MessageLogError::File {
        path: path.to_path_buf(),
        source,
    };
    let mut reader = BufReader::with_capacity(READ_CHUNK, file);
    let mut tail = Tail::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            return Ok(tail);
        }
        let index = tail.last_index + 1;
        let complete = line.last() == Some(&b'\n');
        let head = serde_json::from_slice::<LineHead>(&line)
            .ok()
            .filter(|head| complete && head.index == index);
        let Some(head) = head else {
            if reader.fill_buf().map_err(failed)?.is_empty() {
                return Ok(tail);
            }
            return Err(MessageLogError::Damaged {
                path: path.to_path_buf(),
                line: index,
            });
        };
        if is_marked(index) {
            tail.marks.push(tail.length);
        }
        tail.last_index = index;
        tail.length += length as u64;
        let identity = match head.module {
            Some(module) => format!("{}/{module}", head.device),
            None => head.device,
        };
        *tail.counts.entry(identity).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(device: &str, bodies: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for body in bodies {
            batch.push_raw(
                format!("\"device\":\"{device}\",\"module\":null,\"body\":{body}}}\n").as_bytes(),
            );
        }
        batch
    }

    fn read(log: &MessageLog, after: u64, limit: usize, device: Option<&str>) -> Vec<u64> {
        let selection = Selection {
            after,
            limit,
            max_bytes: usize::MAX,
            device: device.map(str::to_owned),
        };
        let lines = String::from_utf8(log.read(&selection).unwrap()).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<LineHead>(line).unwrap().index)
            .collect()
    }

    #[test]
    fn messages_are_found_by_number_and_device_also_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("messages.ndjson");
        let log = MessageLog::open(&path).unwrap();
        for _ in 0..300 {
            log.append("a", &batch("a", &["1", "2"])).unwrap();
            log.append("b", &batch("b", &["3"])).unwrap();
        }
        let check = |log: &MessageLog| {
            assert_eq!(log.count(), 900);
            assert_eq!(
                (log.count_of("a"), log.count_of("b"), log.count_of("c")),
                (600, 300, 0)
            );
            assert_eq!(read(log, 0, 2, None), [1, 2]);
            assert_eq!(read(log, 255, 3, None), [256, 257, 258]);
            assert_eq!(read(log, 512, 3, Some("b")), [513, 516, 519]);
            assert_eq!(read(log, 0, 10_000, None).len(), 900);
            assert_eq!(read(log, 899, 5, None), [900]);
            assert_eq!(read(log, 900, 5, None), [0_u64; 0]);
        };
        check(&log);
        drop(log);
        check(&MessageLog::open(&path).unwrap());
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_the_number_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("messages.ndjson");
        for torn in [
            "{\"index\":2,\"device\":\"a\",\"mod",
            "{\"index\":2,\"device\":\"a\",\"module\":null,\"body\":1}",
            "\0\0\0\0",
            "{\"index\":2,\n",
        ] {
            let _ = std::fs::remove_file(&path);
            let log = MessageLog::open(&path).unwrap();
            log.append("a", &batch("a", &["1"])).unwrap();
            drop(log);
            OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(torn.as_bytes())
                .unwrap();
            let log = MessageLog::open(&path).unwrap();
            assert_eq!(log.count(), 1, "{torn:?}");
            assert_eq!(log.append("a", &batch("a", &["2"])).unwrap(), 2);
            assert_eq!(read(&log, 0, 10, None), [1, 2]);
        }
    }

    #[test]
    fn damage_in_the_middle_is_not_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("messages.ndjson");
        let log = MessageLog::open(&path).unwrap();
        log.append("a", &batch("a", &["1", "2", "3"])).unwrap();
        drop(log);
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("\"index\":2", "\"index\":9");
        std::fs::write(&path, text).unwrap();
        let error = MessageLog::open(&path).unwrap_err();
        assert!(
            matches!(error, MessageLogError::Damaged { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_second_emulator_does_not_get_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("messages.ndjson");
        let _held = MessageLog::open(&path).unwrap();
        assert!(matches!(
            MessageLog::open(&path),
            Err(MessageLogError::InUse { .. })
        ));
    }

    #[test]
    fn a_reply_is_bounded_in_bytes_but_never_empty() {
        let folder = tempfile::tempdir().unwrap();
        let log = MessageLog::open(&folder.path().join("messages.ndjson")).unwrap();
        log.append("a", &batch("a", &["1", "2", "3"])).unwrap();
        let selection = Selection {
            after: 0,
            limit: 10,
            max_bytes: 1,
            device: None,
        };
        assert_eq!(
            log.read(&selection)
                .unwrap()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count(),
            1
        );
    }
}
