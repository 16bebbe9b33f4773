//! Notices a changed configuration file.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{
    ConfigurationError, Loaded, ModuleConfiguration, load_bytes, read, sha256, unreadable,
};

/// A writer is given this long to finish after the last event.
const SETTLE: Duration = Duration::from_millis(200);
/// But a file that never rests is read after this long all the same.
const SETTLE_AT_MOST: Duration = Duration::from_secs(10);
/// Some file systems (NFS, overlays) tell nothing: the content is compared this often.
const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// The file could not be watched.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot watch {directory} for changes of the configuration: {source}; check that the folder exists and raise fs.inotify.max_user_watches if it is exhausted"
)]
pub struct WatchError {
    directory: String,
    source: notify::Error,
}

/// Watches the folder of a configuration file: that also sees an editor's rename and a ConfigMap's `..data` swap.
#[derive(Debug)]
pub struct ConfigurationWatch<C> {
    path: PathBuf,
    seen: Option<String>,
    events: mpsc::Receiver<()>,
    /// Stops watching when dropped.
    _watcher: RecommendedWatcher,
    configuration: PhantomData<fn() -> C>,
}

impl<C: ModuleConfiguration> ConfigurationWatch<C> {
    /// Watches `path`; a content whose hash is `seen` is not reported again.
    ///
    /// # Errors
    /// When the folder cannot be watched.
    pub fn new(path: &Path, seen: Option<String>) -> Result<Self, WatchError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // One pending signal says as much as a hundred.
        let (signal, events) = mpsc::channel(1);
        let failed = |source| WatchError {
            directory: directory.display().to_string(),
            source,
        };
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading the file makes access events: not counting them keeps the watch from waking itself.
                if !matches!(&event, Ok(event) if event.kind.is_access()) {
                    let _ = signal.try_send(());
                }
            })
            .map_err(failed)?;
        watcher
            .watch(&directory, RecursiveMode::NonRecursive)
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            seen,
            events,
            _watcher: watcher,
            configuration: PhantomData,
        })
    }

    /// Waits until the file's content differs from the last one returned, and reads it.
    ///
    /// Cancel-safe: a change is not lost when the future is dropped.
    ///
    /// # Errors
    /// Every problem of the new content, once per content. A file that is missing is waited for.
    pub async fn next(&mut self) -> Result<Loaded<C>, ConfigurationError> {
        loop {
            if let Some(outcome) = self.read_if_changed() {
                return outcome;
            }
            tokio::select! {
                event = self.events.recv() => {
                    if event.is_none() {
                        // The watcher is gone: comparing goes on.
                        tokio::time::sleep(COMPARE_EVERY).await;
                    }
                }
                () = tokio::time::sleep(COMPARE_EVERY) => {}
            }
            self.settle().await;
        }
    }

    /// Waits until the folder rests: a document half written is not worth a report.
    async fn settle(&mut self) {
        let latest = Instant::now() + SETTLE_AT_MOST;
        loop {
            let quiet = (Instant::now() + SETTLE).min(latest);
            match tokio::time::timeout_at(quiet, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < latest => {}
                _ => return,
            }
        }
    }

    fn read_if_changed(&mut self) -> Option<Result<Loaded<C>, ConfigurationError>> {
        let file = self.path.display().to_string();
        // Missing is what a file is for a moment while it is replaced.
        if !self.path.exists() {
            return None;
        }
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(message) => {
                let marker = format!("unreadable: {message}");
                if self.seen.as_ref() == Some(&marker) {
                    return None;
                }
                self.seen = Some(marker);
                return Some(Err(unreadable(&file, message)));
            }
        };
        // Empty is what a file is for a moment while it is written anew.
        if bytes.trim_ascii().is_empty() {
            return None;
        }
        let hash = sha256(&bytes);
        if self.seen.as_ref() == Some(&hash) {
            return None;
        }
        self.seen = Some(hash);
        Some(load_bytes(&file, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::{Problems, load};
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Level {
        level: u8,
    }

    impl ModuleConfiguration for Level {
        fn check(&self, _: &mut Problems) {}
    }

    fn watch(path: &Path) -> ConfigurationWatch<Level> {
        let loaded = load::<Level>(path).unwrap();
        ConfigurationWatch::new(path, Some(loaded.hash)).unwrap()
    }

    async fn next(
        watch: &mut ConfigurationWatch<Level>,
    ) -> Result<Loaded<Level>, ConfigurationError> {
        // Less than the comparison's interval: what arrives came by an event.
        tokio::time::timeout(Duration::from_secs(20), watch.next())
            .await
            .expect("the change was not noticed")
    }

    #[tokio::test]
    async fn a_write_is_noticed_and_the_same_content_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("module.yaml");
        std::fs::write(&path, "level: 1\n").unwrap();
        let mut watch = watch(&path);
        std::fs::write(&path, "level: 2\n").unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 2);

        std::fs::write(&path, "level: 2\n").unwrap();
        let again = tokio::time::timeout(Duration::from_millis(600), watch.next()).await;
        assert!(again.is_err(), "the same content was reported again");
        // The dropped future lost nothing.
        std::fs::write(&path, "level: 3\n").unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 3);
    }

    #[tokio::test]
    async fn a_file_that_is_empty_for_a_moment_is_no_document() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("module.yaml");
        std::fs::write(&path, "level: 1\n").unwrap();
        let mut watch = watch(&path);
        std::fs::write(&path, "").unwrap();
        let empty = tokio::time::timeout(Duration::from_millis(600), watch.next()).await;
        assert!(empty.is_err(), "{empty:?}");
        std::fs::write(&path, "level: 2\n").unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 2);
    }

    #[tokio::test]
    async fn an_invalid_content_is_reported_once_and_the_next_good_one_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("module.yaml");
        std::fs::write(&path, "level: 1\n").unwrap();
        let mut watch = watch(&path);
        std::fs::write(&path, "level: high\n").unwrap();
        let error = next(&mut watch).await.unwrap_err();
        assert_eq!((error.problems[0].line, error.problems[0].column), (1, 8));
        assert!(error.hash.is_some());
        std::fs::write(&path, "level: 1\n").unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 1);
    }

    #[tokio::test]
    async fn a_rename_over_the_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("module.yaml");
        std::fs::write(&path, "level: 1\n").unwrap();
        let mut watch = watch(&path);
        let fresh = directory.path().join(".module.yaml.new");
        std::fs::write(&fresh, "level: 4\n").unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 4);
    }

    /// As the kubelet does it: module.yaml → ..data/module.yaml, and ..data → a folder of its own, swapped by a rename.
    #[tokio::test]
    async fn a_config_maps_swap_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (folder, text) in [("..1", "level: 1\n"), ("..2", "level: 2\n")] {
            std::fs::create_dir(root.join(folder)).unwrap();
            std::fs::write(root.join(folder).join("module.yaml"), text).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/module.yaml", root.join("module.yaml")).unwrap();
        let mut watch = watch(&root.join("module.yaml"));
        symlink("..2", root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 2);
    }

    #[tokio::test]
    async fn a_change_before_the_first_wait_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("module.yaml");
        std::fs::write(&path, "level: 1\n").unwrap();
        let hash = load::<Level>(&path).unwrap().hash;
        std::fs::write(&path, "level: 5\n").unwrap();
        let mut watch = ConfigurationWatch::new(&path, Some(hash)).unwrap();
        assert_eq!(next(&mut watch).await.unwrap().configuration.level, 5);
    }

    #[tokio::test]
    async fn a_missing_folder_is_an_error_with_its_name() {
        let error = ConfigurationWatch::<Level>::new(Path::new("/none/such/a.yaml"), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/none/such"), "{error}");
    }
}
