//! The socket beside the queue's file.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A path of a socket may have 107 bytes (unix(7)).
const LONGEST: usize = 107;

/// Where the one who has a queue open listens: `PATH.socket`.
#[must_use]
pub fn socket_of(queue: &Path) -> PathBuf {
    let mut name = queue.as_os_str().to_owned();
    name.push(".socket");
    name.into()
}

/// A path to a socket that is short enough, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) path: PathBuf,
    _folder: Option<File>,
}

impl Address {
    pub(crate) fn of(socket: &Path) -> std::io::Result<Self> {
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        if socket.as_os_str().len() <= LONGEST {
            return Ok(Self {
                path: socket.to_owned(),
                _folder: None,
            });
        }
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }
}
