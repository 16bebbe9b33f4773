//! A plugin in the test's own process, between a kubelet, a container runtime and terminals of the test.
#![allow(dead_code, reason = "not every test uses everything")]

pub(crate) mod kubelet;
pub(crate) mod runtime;
pub(crate) mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use module_runtime::{CancellationToken, ConfigurationWatch, Health, load};
use serial_device_plugin::configuration::Configuration;
use serial_device_plugin::engine::{self, Pace};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Longer than anything takes that works.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What no event tells is never seen.
pub(crate) const PACE: Pace = Pace {
    poll: Duration::from_secs(300),
    forgotten_after: Duration::from_secs(300),
    round: Duration::from_millis(50),
};

/// Looks again and again until `condition` gives something.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = condition() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A folder with the kubelet's folder, a place for links to ports, and the document.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("kubelet")).unwrap();
        fs::create_dir(folder.path().join("ports")).unwrap();
        Self { folder }
    }

    pub(crate) fn kubelet_directory(&self) -> PathBuf {
        self.folder.path().join("kubelet")
    }

    pub(crate) fn runtime_endpoint(&self) -> PathBuf {
        self.folder.path().join("runtime.sock")
    }

    pub(crate) fn document(&self) -> PathBuf {
        self.folder.path().join("ports.yaml")
    }

    /// Where the port of that name is, plugged or not.
    pub(crate) fn port(&self, name: &str) -> PathBuf {
        self.folder.path().join("ports").join(name)
    }

    /// Makes the port's path a link, in one step.
    pub(crate) fn plug(&self, name: &str, target: impl AsRef<Path>) {
        let fresh = self.folder.path().join("fresh");
        std::os::unix::fs::symlink(target, &fresh).unwrap();
        fs::rename(fresh, self.port(name)).unwrap();
    }

    pub(crate) fn unplug(&self, name: &str) {
        fs::remove_file(self.port(name)).unwrap();
    }

    pub(crate) fn describe(&self, names: &[&str]) {
        let ports: Vec<String> = names
            .iter()
            .map(|name| format!("{{name: {name}, path: {}}}", self.port(name).display()))
            .collect();
        self.write(&format!("ports: [{}]\n", ports.join(", ")));
    }

    /// A document with these `ports`, in one step.
    pub(crate) fn write(&self, ports: &str) {
        let text = format!(
            "kubelet_directory: {}\nruntime_endpoint: {}\n{ports}",
            self.kubelet_directory().display(),
            self.runtime_endpoint().display(),
        );
        let fresh = self.folder.path().join("fresh.yaml");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.document()).unwrap();
    }

    /// Starts the plugin with the document as it is.
    pub(crate) fn start(&self) -> Plugin {
        self.start_with(PACE)
    }

    pub(crate) fn start_with(&self, pace: Pace) -> Plugin {
        let document = self.document();
        let loaded = load::<Configuration>(&document).unwrap();
        let watch = ConfigurationWatch::new(&document, Some(loaded.hash)).unwrap();
        let stop = CancellationToken::new();
        let health = Health::new();
        let running = engine::run(
            loaded.configuration,
            watch,
            health.clone(),
            pace,
            stop.clone(),
        );
        Plugin {
            health,
            stop,
            task: tokio::spawn(running),
        }
    }
}

pub(crate) struct Plugin {
    pub(crate) health: Health,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Plugin {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("the plugin did not stop")
            .unwrap();
    }
}
