//! Notices the kubelet's restarts: it removes every socket from its folder and makes its own anew.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::path_watch::PathWatch;

/// The kubelet's own socket in its folder, where plugins register.
pub const KUBELET_SOCKET: &str = "kubelet.sock";

/// Tells one socket file from a later one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMark {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl SocketMark {
    /// The mark of the socket at a path; nothing where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        metadata.file_type().is_socket().then(|| Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Counts up `rounds` whenever something may have changed in the kubelet's folder, and every `poll`.
pub async fn watch_kubelet(
    mut configuration: watch::Receiver<Arc<Configuration>>,
    rounds: watch::Sender<u64>,
    poll: Duration,
    stop: CancellationToken,
) {
    let mut watch = PathWatch::new(poll);
    loop {
        let folder = configuration.borrow_and_update().kubelet_directory.clone();
        // The socket's own way, so that the folder itself is on it.
        watch.arm([folder.join(KUBELET_SOCKET).as_path()]);
        rounds.send_modify(|round| *round = round.wrapping_add(1));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = configuration.changed() => if changed.is_err() { return },
            () = watch.changed() => {}
        }
    }
}
