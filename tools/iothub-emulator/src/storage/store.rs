//! The one place that changes the state: a change is in the file before anybody hears of it, or it did not happen.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::atomic_file::{read_if_present, write_secret_atomically};
use super::state::State;

/// The state file cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// The state file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not the emulator's own file.
    #[error("{path}: {source}; move the file away to start with an empty registry")]
    Format {
        /// The state file.
        path: PathBuf,
        /// Where reading ended.
        source: serde_json::Error,
    },
}

/// The state and its file.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    state: Mutex<State>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let text = read_if_present(path).map_err(|source| StoreError::File {
            path: path.to_path_buf(),
            source,
        })?;
        let state = match text {
            Some(text) => serde_json::from_str(&text).map_err(|source| StoreError::Format {
                path: path.to_path_buf(),
                source,
            })?,
            None => State::default(),
        };
        Ok(Self {
            path: path.to_path_buf(),
            state: Mutex::new(state),
        })
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state. When `change` or the write fails, nothing has changed.
    pub(crate) fn change<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_and_tell(change, |_| ())
    }

    /// Changes the state and calls `tell` after the write, still under the lock: what several changes tell leaves in
    /// the order in which they happened. `tell` must not wait for anything.
    pub(crate) fn change_and_tell<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, E>,
        tell: impl FnOnce(&T),
    ) -> Result<T, E> {
        let mut state = self.lock();
        // A copy, because the file is small and a half-made change must be able to disappear.
        let mut next = state.clone();
        let outcome = change(&mut next)?;
        let bytes = serde_json::to_vec_pretty(&next).map_err(|source| StoreError::Format {
            path: self.path.clone(),
            source,
        })?;
        // It holds the keys.
        write_secret_atomically(&self.path, &bytes).map_err(|source| StoreError::File {
            path: self.path.clone(),
            source,
        })?;
        *state = next;
        tell(&outcome);
        Ok(outcome)
    }

    /// Changes what is not in the file (fields with `#[serde(skip)]`).
    pub(crate) fn note(&self, note: impl FnOnce(&mut State)) {
        note(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is replaced whole: a panic cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Identity;
    use super::*;

    #[test]
    fn a_failed_change_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let store = Store::open(&path).unwrap();
        let add = |state: &mut State, name: &str| {
            state
                .identities
                .insert(name.to_owned(), Identity::new("a2V5".to_owned()))
        };
        store
            .change::<_, StoreError>(|state| Ok(add(state, "kept")))
            .unwrap();
        let refused = store.change::<(), _>(|state| {
            add(state, "refused");
            Err(StoreError::File {
                path: path.clone(),
                source: io::Error::other("full"),
            })
        });
        assert!(refused.is_err());
        for store in [store, Store::open(&path).unwrap()] {
            assert_eq!(
                store.read(|state| state.identities.keys().cloned().collect::<Vec<_>>()),
                ["kept"]
            );
        }
    }

    #[test]
    fn a_foreign_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::fs::write(&path, "[]").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Format { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[]");
    }
}
