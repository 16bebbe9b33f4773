//! The disk as a file system of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};
use nix::mount::{MntFlags, umount2};

use crate::disk::Disk;
use crate::filesystem::Served;

/// Where the kernel takes requests for file systems outside of it.
const DEVICE: &str = "/dev/fuse";

/// Why the disk could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// This machine cannot.
    #[error(
        "{DEVICE} is missing: load the kernel's module fuse (modprobe fuse); a container needs the device (--device {DEVICE})"
    )]
    NoDevice,
    /// The system refused.
    #[error("{}: cannot be mounted: {error}; run as root with the right to mount (CAP_SYS_ADMIN), or install fusermount3 (on Debian: apt-get install fuse3)", path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A mounted disk. Unmounts when it is dropped.
#[derive(Debug)]
pub struct Mount {
    session: Option<BackgroundSession>,
    path: PathBuf,
}

impl Mount {
    /// Mounts the disk on an empty folder. A thread of this process serves it.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn new(disk: Arc<Disk>, path: &Path) -> Result<Self, MountError> {
        if !Path::new(DEVICE).exists() {
            return Err(MountError::NoDevice);
        }
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("faulty-disk".to_owned()),
            MountOption::NoAtime,
        ];
        let session = fuser::spawn_mount(Served(disk), path, &config);
        let session = session.map_err(|error| MountError::Refused {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            session: Some(session),
            path: path.to_owned(),
        })
    }

    /// The folder on which it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if session.umount_and_join().is_err() {
            // Somebody has a file open still: it goes out of sight now, and away with the last file.
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        }
    }
}
