//! Notices that what a path leads to appears, vanishes or changes: inotify on every folder on the way, and a slow comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;

/// Links followed on one way (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// Events come in bursts, and some folders (/tmp) never rest: this bounds how often all is looked at.
const SETTLE: Duration = Duration::from_millis(10);
/// Reads of one wake-up; what is left wakes again.
const MOST_READS: usize = 64;
/// One event with the longest name has 272 bytes (inotify(7)).
const EVENTS: usize = 4096;

/// Watches the ways to some paths. Without inotify (limits used up) only the comparison is left.
#[derive(Debug)]
pub struct PathWatch {
    inotify: Option<Inotify>,
    watched: BTreeMap<PathBuf, i32>,
    poll: Duration,
    /// A folder that cannot be watched is told once, until all can be again.
    told: bool,
}

impl PathWatch {
    /// Watches nothing yet. `poll` is how long a change may go unnoticed where the file system tells nothing.
    ///
    /// Must be called inside a tokio runtime.
    pub fn new(poll: Duration) -> Self {
        let inotify = Inotify::new()
            .map_err(|error| {
                tracing::warn!(%error, ?poll, "no inotify; changes are found by comparing. Raise fs.inotify.max_user_instances");
            })
            .ok();
        Self {
            inotify,
            watched: BTreeMap::new(),
            poll,
            told: false,
        }
    }

    /// Watches the ways as they are now, and nothing else. Call it before each look at the paths: a change after the call wakes
    /// [`PathWatch::changed`].
    pub fn arm<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>) {
        let Some(inotify) = &self.inotify else { return };
        let wanted: BTreeSet<PathBuf> = paths.into_iter().flat_map(folders_to).collect();
        let mut watched = BTreeMap::new();
        let mut failed = None;
        for folder in wanted {
            // Also for a folder that is watched: another one may have its name by now.
            match inotify::add_watch(inotify.fd(), &folder, mask()) {
                Ok(watch) => {
                    watched.insert(folder, watch);
                }
                // Gone again; its parent tells when it is back.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => failed = Some((folder, error)),
            }
        }
        let kept: BTreeSet<i32> = watched.values().copied().collect();
        for old in self.watched.values().filter(|old| !kept.contains(old)) {
            // Fails for a folder that was removed: the kernel has taken its watch away.
            let _ = inotify::remove_watch(inotify.fd(), *old);
        }
        self.watched = watched;
        match failed {
            Some((folder, error)) if !self.told => {
                self.told = true;
                tracing::warn!(
                    folder = %folder.display(), %error, poll = ?self.poll,
                    "cannot watch a folder; its changes are found by comparing. Raise fs.inotify.max_user_watches"
                );
            }
            Some(_) => {}
            None => self.told = false,
        }
    }

    /// Waits until something changed on a way, or until it is time to compare. May wake for nothing.
    ///
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else {
            return tokio::time::sleep(self.poll).await;
        };
        tokio::select! {
            () = tokio::time::sleep(self.poll) => {}
            () = inotify.events() => {}
        }
    }
}

fn mask() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
}

/// Read like a pipe: tokio's `AsyncFd` cannot be had without unsafe code, and its pipe asks nothing of a descriptor that
/// inotify's does not have (readable, not blocking).
#[derive(Debug)]
struct Inotify(pipe::Receiver);

impl Inotify {
    fn new() -> std::io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        pipe::Receiver::from_owned_fd_unchecked(descriptor).map(Self)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Waits for events and takes them; which ones does not matter.
    async fn events(&self) {
        if self.0.readable().await.is_err() {
            // The runtime ends.
            return std::future::pending().await;
        }
        tokio::time::sleep(SETTLE).await;
        let mut events = [0; EVENTS];
        for _ in 0..MOST_READS {
            // An error is mostly that there are no more; whatever else it is, the comparison remains.
            if self.0.try_read(&mut events).is_err() {
                return;
            }
        }
    }
}

/// Every existing folder on the way to a path, those on the way of its links included.
fn folders_to(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = PathBuf::from("/");
    let mut left = steps(path);
    let mut links = 0;
    while let Some(step) = left.pop() {
        if !folders.contains(&at) {
            folders.push(at.clone());
        }
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    break;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                left.extend(steps(&target));
            }
            Err(_) if next.is_dir() => at = next,
            Err(_) => break,
        }
    }
    folders
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let mut steps: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(step) => Some(step.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longer than any event takes, and shorter than the comparison's interval.
    const SOON: Duration = Duration::from_secs(20);

    async fn notices(watch: &mut PathWatch, change: impl FnOnce()) {
        change();
        tokio::time::timeout(SOON, watch.changed())
            .await
            .expect("the change was not noticed");
    }

    #[tokio::test]
    async fn folders_on_the_way_may_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("serial/by-id");
        let path = folder.join("adapter");
        let mut watch = PathWatch::new(SOON * 10);
        watch.arm([path.as_path()]);
        notices(&mut watch, || fs::create_dir_all(&folder).unwrap()).await;
        watch.arm([path.as_path()]);
        notices(&mut watch, || symlink("../../tty0", &path).unwrap()).await;
        watch.arm([path.as_path()]);
        let end = root.path().join("tty0");
        notices(&mut watch, || fs::write(&end, "").unwrap()).await;
        watch.arm([path.as_path()]);
        notices(&mut watch, || {
            fs::remove_dir_all(root.path().join("serial")).unwrap();
        })
        .await;
        watch.arm([path.as_path()]);
        notices(&mut watch, || fs::create_dir_all(&folder).unwrap()).await;
    }

    #[test]
    fn a_circle_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        symlink("b", &path).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        let folders = folders_to(&path);
        assert!(folders.contains(&root.path().canonicalize().unwrap()));
    }
}
