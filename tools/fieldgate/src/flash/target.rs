//! Where an image goes: a whole disk that nobody uses, or a file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;

use super::disk::{Disk, Machine};
use crate::size::size;

/// What the images' partition tables count in.
pub(super) const SECTOR: u64 = 512;

#[derive(Debug)]
pub(super) enum Target {
    Disk { path: PathBuf, disk: Disk },
    File(PathBuf),
}

impl Target {
    /// Looks at what the person named; nothing is opened for writing.
    pub(super) fn look(machine: &Machine, named: &Path, fixed_disk: bool) -> Result<Self> {
        let shown = named.display();
        let found = match fs::metadata(named) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if named.starts_with("/dev") {
                    bail!("there is no {shown}; is it plugged in?\n{}", list(machine)?);
                }
                let folder = named
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                if folder.is_some_and(|folder| !folder.is_dir()) {
                    bail!("there is no folder for {shown}");
                }
                return Ok(Self::File(named.to_owned()));
            }
            Err(error) => return Err(error).with_context(|| shown.to_string()),
        };
        if found.is_file() {
            return Ok(Self::File(named.to_owned()));
        }
        if !found.file_type().is_block_device() {
            bail!("{shown} is neither a disk nor a file; name a whole disk, such as /dev/sdb");
        }
        let disk = disk_of(machine, &found, named)?;
        check(&disk, fixed_disk)?;
        Ok(Self::Disk {
            path: PathBuf::from("/dev").join(&disk.name),
            disk,
        })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Disk { path, .. } | Self::File(path) => path,
        }
    }

    pub(super) fn is_disk(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }

    /// What a person types to go on.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Disk { disk, .. } => disk.name.clone(),
            Self::File(_) => "yes".to_owned(),
        }
    }

    /// What is erased, a line each; nothing where nothing is there.
    pub(super) fn erases(&self) -> Vec<String> {
        match self {
            Self::Disk { disk, .. } => {
                let mut lines = vec![format!("Erases everything on {}:", disk.describe())];
                for (name, bytes) in &disk.partitions {
                    lines.push(format!("  partition {name}, {}", size(*bytes)));
                }
                if disk.partitions.is_empty() {
                    lines.push("  no partitions".to_owned());
                }
                lines
            }
            Self::File(path) => match fs::metadata(path) {
                Ok(found) => vec![format!(
                    "Erases the file {}, {}.",
                    path.display(),
                    size(found.len())
                )],
                Err(_) => Vec::new(),
            },
        }
    }

    /// Whether an image of that size fits.
    pub(super) fn check_room(&self, bytes: u64) -> Result<()> {
        if let Self::Disk { disk, .. } = self
            && disk.bytes < bytes
        {
            bail!(
                "the image has {}, {} only {}; take a larger one",
                size(bytes),
                self.path().display(),
                size(disk.bytes)
            );
        }
        Ok(())
    }

    /// The bytes it has when an image of that size is on it.
    pub(super) fn bytes(&self, image: u64) -> u64 {
        match self {
            Self::Disk { disk, .. } => disk.bytes,
            Self::File(_) => image,
        }
    }

    /// Takes it for this program alone, until the file is closed: for a disk the kernel refuses this while something is mounted from it,
    /// whatever was looked at before, and nothing can be mounted meanwhile, as desktops do with what they find.
    pub(super) fn take(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if self.is_disk() {
            options.custom_flags(OFlag::O_EXCL.bits());
        } else {
            options.create(true).truncate(false);
        }
        options
            .open(self.path())
            .map_err(|error| self.not_opened(error))
    }

    /// Opens it once more for the image itself: past the cache, where that is possible. Says whether it is.
    pub(super) fn open_direct(&self) -> Result<(File, bool)> {
        let open = |flags: OFlag| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits())
                .open(self.path())
        };
        if self.is_disk() {
            match open(OFlag::O_DIRECT) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                other => return Ok((other.map_err(|error| self.not_opened(error))?, true)),
            }
        }
        let file = open(OFlag::empty()).map_err(|error| self.not_opened(error))?;
        Ok((file, false))
    }

    fn not_opened(&self, error: io::Error) -> anyhow::Error {
        let path = self.path().display();
        match error.kind() {
            ErrorKind::PermissionDenied if self.is_disk() => {
                anyhow::anyhow!("{path}: {error}; run it as root (sudo)")
            }
            ErrorKind::ResourceBusy => anyhow::anyhow!(
                "{path} is in use by another program; end it, or unmount what is mounted"
            ),
            ErrorKind::ReadOnlyFilesystem => {
                anyhow::anyhow!("{path} is write-protected; many cards and sticks have a switch")
            }
            _ => anyhow::Error::new(error).context(path.to_string()),
        }
    }
}

fn disk_of(machine: &Machine, found: &Metadata, named: &Path) -> Result<Disk> {
    let number = found.rdev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let context = || format!("what /sys says of {}", named.display());
    let (name, of) = machine.name(major, minor).with_context(context)?;
    if let Some(disk) = of {
        bail!("/dev/{name} is a partition; name the whole disk: /dev/{disk}");
    }
    machine.disk(&name).with_context(context)
}

fn check(disk: &Disk, fixed_disk: bool) -> Result<()> {
    let name = disk.describe();
    if disk.is_of_system {
        bail!(
            "{name}: this machine runs from it ({}); name another disk",
            disk.uses.join(", ")
        );
    }
    if !disk.uses.is_empty() {
        let disk_name = &disk.name;
        bail!(
            "{name} is in use: {}; unmount it first (umount /dev/{disk_name}?*)",
            disk.uses.join(", ")
        );
    }
    if disk.is_read_only {
        bail!("{name} is write-protected; many cards and sticks have a switch");
    }
    if disk.bytes == 0 {
        bail!("/dev/{} has no medium in it", disk.name);
    }
    if disk.sector != SECTOR {
        bail!(
            "{name} has sectors of {} bytes; images are made for {SECTOR}",
            disk.sector
        );
    }
    if !disk.is_removable && !fixed_disk {
        bail!(
            "{name} is built in, neither a stick nor a card; if it is the right one, say so with --fixed-disk"
        );
    }
    Ok(())
}

/// The disks that may be meant, for a person who named none.
pub(super) fn list(machine: &Machine) -> Result<String> {
    let disks = machine.disks().context("looking for disks in /sys")?;
    let lines: Vec<String> = disks
        .iter()
        .filter(|disk| disk.is_removable && check(disk, false).is_ok())
        .map(|disk| format!("  {}", disk.describe()))
        .collect();
    Ok(if lines.is_empty() {
        "no stick or card that nobody uses is plugged in".to_owned()
    } else {
        format!("sticks and cards that nobody uses:\n{}", lines.join("\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::machine;
    use super::*;

    #[test]
    fn only_a_whole_disk_that_nobody_uses_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        let fault = |name: &str, fixed| {
            check(&machine.disk(name).unwrap(), fixed)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert_eq!(fault("mmcblk0", false), "");
        assert!(fault("loop0", false).contains("--fixed-disk"));
        assert_eq!(fault("loop0", true), "");
        for (name, part) in [
            (
                "nvme0n1",
                "this machine runs from it (/dev/nvme0n1p1 is mounted at /)",
            ),
            ("sdb", "is mounted at /media/a stick; unmount it first"),
            ("sdc", "has no medium"),
            ("sdd", "is used by /dev/dm-0"),
            ("sde", "switch"),
        ] {
            let fault = fault(name, true);
            assert!(fault.contains(part), "{name}: {fault}");
        }
        assert_eq!(
            list(&machine).unwrap(),
            "sticks and cards that nobody uses:\n  /dev/mmcblk0, 28.6 GiB, SC32G"
        );
    }

    #[test]
    fn a_name_that_is_mistyped_becomes_no_file_among_the_devices() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        let error = Target::look(&machine, Path::new("/dev/sdq"), false).unwrap_err();
        assert!(error.to_string().contains("/dev/mmcblk0"), "{error}");
        let error = Target::look(&machine, Path::new("/dev/null"), false).unwrap_err();
        assert!(
            error.to_string().contains("neither a disk nor a file"),
            "{error}"
        );
        let error = Target::look(&machine, &folder.path().join("a/b"), false).unwrap_err();
        assert!(error.to_string().contains("no folder"), "{error}");
        let file = Target::look(&machine, &folder.path().join("new.img"), false).unwrap();
        assert!(!file.is_disk() && file.erases().is_empty());
    }
}
