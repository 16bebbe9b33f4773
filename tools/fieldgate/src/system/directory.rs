//! The run directory: everything a run writes, removed at its end unless it is kept.

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Where a run keeps its files. Mode 0700: it holds passwords.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl RunDirectory {
    /// A new temporary directory, or the empty or not yet existing directory `keep`.
    pub(crate) fn create(keep: Option<&Path>) -> Result<Self> {
        let directory = match keep {
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("fieldgate-")
                    .tempdir()
                    .context("creating a temporary directory")?;
                Self {
                    path: temporary.path().to_owned(),
                    temporary: Some(temporary),
                }
            }
            Some(path) => {
                std::fs::create_dir_all(path)
                    .with_context(|| format!("creating {}", path.display()))?;
                if std::fs::read_dir(path)?.next().is_some() {
                    bail!("{} is not empty; name a new directory", path.display());
                }
                let path = path
                    .canonicalize()
                    .with_context(|| path.display().to_string())?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
                Self {
                    path,
                    temporary: None,
                }
            }
        };
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file or folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only this user can read, and the folders above it.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        use std::io::Write;
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Keeps the directory, for a look at the logs after a failure.
    pub(crate) fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            self.path = temporary.keep();
        }
    }
}
