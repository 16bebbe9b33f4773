//! What is known of the last update that was asked for: a file on the data partition, which outlives restarts and updates.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agent_protocol::{Bundle, Origin, RequestState, RequestStatus};
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::whole_file;

const FOLDER: &str = "var/lib/fieldgate/agent";
const FILE: &str = "update.json";
/// In memory: it changes all the time.
const PROGRESS: &str = "run/fieldgate/agent-progress";

/// The last update that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its URI may hold a key, so only root reads the file.
    pub(super) bundle: Bundle,
    pub(super) origin: Origin,
    pub(super) attempts: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) begun: OffsetDateTime,
    /// None: it runs, or was cut off.
    #[serde(default)]
    pub(super) end: Option<End>,
    /// Nobody wants it any more.
    #[serde(default)]
    pub(super) forgotten: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) time: OffsetDateTime,
    pub(super) installed: bool,
    /// Why not; or that there was nothing to do.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// Whether another attempt may go better.
    #[serde(default)]
    pub(super) retry: bool,
}

/// Where the record is.
#[derive(Debug, Clone)]
pub(super) struct Records {
    root: PathBuf,
}

impl Records {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn file(&self) -> PathBuf {
        self.root.join(FOLDER).join(FILE)
    }

    /// Held while an update is begun, so that of two callers one finds the other's.
    pub(super) fn lock(&self) -> Result<Flock<File>> {
        self.make_folder()?;
        let path = self.root.join(FOLDER).join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", path.display()))
    }

    fn make_folder(&self) -> Result<()> {
        let folder = self.root.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("making {}", folder.display()))
    }

    /// One that cannot be read is as good as none: it must not keep the device from its next update.
    pub(super) fn load(&self) -> Result<Option<Record>> {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        Ok(serde_json::from_slice(&text)
            .inspect_err(|error| eprintln!("{} cannot be read ({error})", path.display()))
            .ok())
    }

    /// There whole or not at all, also after a power cut.
    pub(super) fn save(&self, record: &Record) -> Result<()> {
        self.make_folder()?;
        let text = serde_json::to_string(record).context("writing the update's record")?;
        whole_file::write(&self.file(), text.as_bytes(), 0o600)
    }

    pub(super) fn remove(&self) -> Result<()> {
        let path = self.file();
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// What it does just now. For people, so a failure is none.
    pub(super) fn progress(&self, line: &str) {
        let path = self.root.join(PROGRESS);
        if let Some(folder) = path.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = fs::write(path, line);
    }

    pub(super) fn clear_progress(&self) {
        let _ = fs::remove_file(self.root.join(PROGRESS));
    }

    pub(super) fn status(&self, record: &Record, is_running: bool) -> RequestStatus {
        let state = match &record.end {
            _ if is_running => RequestState::Running,
            None => RequestState::Interrupted,
            Some(end) if end.installed => RequestState::Done,
            Some(_) => RequestState::Failed,
        };
        // Of the attempt before, while another one runs.
        let end = record.end.as_ref().filter(|_| !is_running);
        let bundle = &record.bundle;
        RequestStatus {
            id: bundle.id(),
            uri: bundle.shown_uri(),
            sha256: bundle.sha256.clone(),
            version: bundle.version.clone(),
            origin: record.origin,
            state,
            progress: fs::read_to_string(self.root.join(PROGRESS))
                .ok()
                .filter(|_| is_running),
            reason: match state {
                RequestState::Interrupted => {
                    Some("the device was restarted before it had ended".to_owned())
                }
                _ => end.and_then(|end| end.reason.clone()),
            },
            attempts: record.attempts,
            retry: !record.forgotten
                && match state {
                    RequestState::Interrupted => true,
                    _ => end.is_some_and(|end| end.retry),
                },
            forgotten: record.forgotten,
            begun: written(record.begun),
            ended: end.map(|end| written(end.time)),
        }
    }
}

pub(super) fn written(time: OffsetDateTime) -> String {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record() -> Record {
        Record {
            bundle: Bundle {
                uri: "https://h/x?key=secret".to_owned(),
                sha256: "0".repeat(64),
                version: Some("1.2.3".to_owned()),
                allow_downgrade: false,
            },
            origin: Origin::Desired,
            attempts: 2,
            begun: OffsetDateTime::UNIX_EPOCH,
            end: None,
            forgotten: false,
        }
    }

    #[test]
    fn a_record_is_root_s_alone_and_tells_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        assert_eq!(records.load().unwrap(), None);
        records.save(&record()).unwrap();
        assert_eq!(records.load().unwrap(), Some(record()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&records.file()), 0o600);
        assert_eq!(mode(records.file().parent().unwrap()), 0o700);
        let told = serde_json::to_string(&records.status(&record(), false)).unwrap();
        assert!(!told.contains("secret"), "{told}");

        for damaged in [b"{".as_slice(), b"\xff\xfe"] {
            fs::write(records.file(), damaged).unwrap();
            assert_eq!(records.load().unwrap(), None);
        }
    }

    #[test]
    fn an_attempt_that_is_neither_over_nor_running_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path());
        records.progress("downloading 30 %");
        let running = records.status(&record(), true);
        assert_eq!(running.state, RequestState::Running);
        assert_eq!(running.progress.as_deref(), Some("downloading 30 %"));
        let cut_off = records.status(&record(), false);
        assert_eq!(cut_off.state, RequestState::Interrupted);
        assert!(cut_off.retry && cut_off.progress.is_none());

        let mut over = record();
        over.end = Some(End {
            time: OffsetDateTime::UNIX_EPOCH,
            installed: false,
            reason: Some("no space".to_owned()),
            retry: false,
        });
        let failed = records.status(&over, false);
        assert_eq!(failed.state, RequestState::Failed);
        assert_eq!(failed.reason.as_deref(), Some("no space"));
        assert_eq!(failed.ended.as_deref(), Some("1970-01-01T00:00:00Z"));
        let again = records.status(&over, true);
        assert_eq!((again.reason, again.ended), (None, None));
        let mut forgotten = record();
        forgotten.forgotten = true;
        assert!(!records.status(&forgotten, false).retry);
    }
}
