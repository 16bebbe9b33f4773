//! What the disk does wrong.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a program asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A file is opened.
    Open,
    /// A file is made.
    Create,
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// A file gets another length.
    Truncate,
    /// fsync or fdatasync of a file.
    Sync,
    /// fsync of the folder.
    SyncFolder,
    /// A file gets another name.
    Rename,
    /// A name is removed.
    Unlink,
}

impl Operation {
    /// Whether it changes anything that is read later, or what survives a power cut.
    pub(crate) fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read)
    }
}

/// Operations that fail with an input/output error (EIO).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// Which operation.
    pub operation: Operation,
    /// Only of the file with this name.
    #[serde(default)]
    pub file: Option<String>,
    /// Only those that touch one of these bytes. Counts for reads and writes.
    #[serde(default)]
    pub bytes: Option<Range<u64>>,
    /// So many pass before.
    #[serde(default)]
    pub skip: u64,
    /// So many fail, then all pass; without it all fail.
    #[serde(default)]
    pub times: Option<u64>,
}

impl Failing {
    /// All operations of a kind.
    pub fn all(operation: Operation) -> Self {
        Self {
            operation,
            file: None,
            bytes: None,
            skip: 0,
            times: None,
        }
    }

    /// Whether this one fails; counts it.
    pub(crate) fn hits(&mut self, operation: Operation, file: &str, bytes: &Range<u64>) -> bool {
        if operation != self.operation
            || self.file.as_deref().is_some_and(|only| only != file)
            || self
                .bytes
                .as_ref()
                .is_some_and(|only| only.end <= bytes.start || bytes.end <= only.start)
            || self.times == Some(0)
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        true
    }
}

/// The faults in force. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes that all files together may take, each in whole pages; more fails with ENOSPC.
    pub capacity: Option<u64>,
    /// Everything that would change the disk fails with EROFS.
    pub read_only: bool,
    /// How long each sync takes beyond its own time.
    pub sync_takes: Duration,
    /// What fails with EIO.
    pub failing: Vec<Failing>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_fails_and_as_often_as_said() {
        let mut failing = Failing {
            file: Some("q.db".to_owned()),
            bytes: Some(100..200),
            skip: 1,
            times: Some(1),
            ..Failing::all(Operation::Read)
        };
        assert!(!failing.hits(Operation::Write, "q.db", &(100..101)));
        assert!(!failing.hits(Operation::Read, "q.db-wal", &(100..101)));
        assert!(!failing.hits(Operation::Read, "q.db", &(0..100)));
        assert!(!failing.hits(Operation::Read, "q.db", &(200..300)));
        assert!(!failing.hits(Operation::Read, "q.db", &(0..101)), "skipped");
        assert!(failing.hits(Operation::Read, "q.db", &(199..300)));
        assert!(!failing.hits(Operation::Read, "q.db", &(199..300)));
    }
}
