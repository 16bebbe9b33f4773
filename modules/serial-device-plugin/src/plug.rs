//! What is at a port's path right now.

use std::fmt;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Major numbers of the slaves of Unix98 pseudo-terminals (Linux, Documentation/admin-guide/devices.txt).
const TERMINAL_SLAVES: std::ops::RangeInclusive<u32> = 136..=143;

/// A port: there, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plug {
    /// The path leads to a character device.
    Plugged(Node),
    /// It does not.
    Absent(Absence),
}

/// The character device that a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// As the runtime names it in the source of a mount: where the links end if the path is itself a link, the path as it is if
    /// not, even when folders on its way are links (containerd `pkg/os/os.go`, `ResolveSymbolicLink`).
    pub path: PathBuf,
    /// Its numbers.
    pub number: DeviceNumber,
    /// How a container can be given it.
    pub kind: NodeKind,
}

/// How a container can be given a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// By a device node of its numbers.
    Device,
    /// A pseudo-terminal's slave, by a bind mount. Numbers are used again at once, and a mount of the one before stays dead, so
    /// the time counts, too: nanoseconds since 1970 of the node's last status change. It changes when the node is made and
    /// with its owner and mode, not with its use.
    Terminal {
        /// The time.
        changed: i128,
    },
}

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device of the driver.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Why there is no device at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// Nothing has the name.
    #[error("does not exist: plug the adapter in, or correct the path (ls -l /dev/serial/by-id)")]
    Missing,
    /// A link leads nowhere.
    #[error("is a link to {0}, which does not exist: plug the adapter in, or correct the link")]
    Dangling(PathBuf),
    /// Something else is there.
    #[error("is {0}, not a character device; {1}")]
    Other(&'static str, &'static str),
    /// The file system does not tell.
    #[error("cannot be looked at: {0}")]
    Unreadable(String),
}

/// Looks at a path. Follows links; opens nothing.
pub fn inspect(path: &Path) -> Plug {
    match look(path) {
        Ok(node) => Plug::Plugged(node),
        Err(absence) => Plug::Absent(absence),
    }
}

fn look(path: &Path) -> Result<Node, Absence> {
    let metadata = fs::metadata(path).map_err(|error| absence(path, &error))?;
    let kind = metadata.file_type();
    if !kind.is_char_device() {
        return Err(if kind.is_dir() {
            Absence::Other(
                "a folder",
                "a container runtime makes one where the source of a mount is missing: remove it with rmdir, or correct the path",
            )
        } else if kind.is_file() {
            Absence::Other("a regular file", "correct the path")
        } else {
            Absence::Other("a block device, pipe or socket", "correct the path")
        });
    }
    let end = if path.is_symlink() {
        fs::canonicalize(path).map_err(|error| absence(path, &error))?
    } else {
        path.to_owned()
    };
    Ok(node(end, &metadata))
}

fn node(path: PathBuf, metadata: &Metadata) -> Node {
    let number = DeviceNumber {
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
    };
    let kind = if TERMINAL_SLAVES.contains(&number.major) {
        let changed =
            i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        NodeKind::Terminal { changed }
    } else {
        NodeKind::Device
    };
    Node { path, number, kind }
}

fn absence(path: &Path, error: &std::io::Error) -> Absence {
    match error.kind() {
        ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => Absence::Dangling(target),
            Err(_) => Absence::Missing,
        },
        _ => Absence::Unreadable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_device_behind_links_is_plugged() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        symlink("/dev/null", &first).unwrap();
        symlink("first", &second).unwrap();
        let Plug::Plugged(node) = inspect(&second) else {
            panic!("{:?}", inspect(&second));
        };
        assert_eq!(node.path, Path::new("/dev/null"));
        assert_eq!(node.number.to_string(), "1:3");
        assert_eq!(node.kind, NodeKind::Device);
    }

    #[test]
    fn a_device_in_a_linked_folder_keeps_its_path() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/dev", folder.path().join("devices")).unwrap();
        let path = folder.path().join("devices/null");
        assert!(matches!(inspect(&path), Plug::Plugged(node) if node.path == path));
    }

    #[test]
    fn what_is_no_device_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        let reason = || match inspect(&path) {
            Plug::Absent(absence) => absence.to_string(),
            Plug::Plugged(node) => panic!("{node:?}"),
        };
        assert!(reason().starts_with("does not exist"), "{}", reason());
        symlink("gone", &path).unwrap();
        assert!(reason().contains("link to gone"), "{}", reason());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(reason().contains("a regular file"), "{}", reason());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(reason().contains("rmdir"), "{}", reason());
    }
}
