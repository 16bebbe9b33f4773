//! The disks of this machine, as the kernel shows them in /sys and /proc.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::size::size;

/// Where the kernel shows them; tests give folders of their own.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) sys: PathBuf,
    pub(super) proc: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
        }
    }
}

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// As in /dev.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) model: String,
    /// A stick, a card, a disk on USB.
    pub(super) is_removable: bool,
    pub(super) is_read_only: bool,
    pub(super) sector: u64,
    /// Names and sizes.
    pub(super) partitions: Vec<(String, u64)>,
    /// What uses it, in words.
    pub(super) uses: Vec<String>,
    /// Whether this system runs from it.
    pub(super) is_of_system: bool,
}

impl Disk {
    /// `/dev/sdb, 14.9 GiB, SanDisk Ultra`.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("/dev/{}, {}", self.name, size(self.bytes));
        if !self.model.is_empty() {
            text.push_str(&format!(", {}", self.model));
        }
        text
    }
}

impl Machine {
    /// The name of the block device with these numbers, and the disk it is a partition of.
    pub(super) fn name(&self, major: u64, minor: u64) -> io::Result<(String, Option<String>)> {
        let folder = fs::canonicalize(self.sys.join(format!("dev/block/{major}:{minor}")))?;
        let name = |folder: &Path| {
            folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let disk = folder
            .join("partition")
            .exists()
            .then(|| folder.parent().map(name))
            .flatten();
        Ok((name(&folder), disk))
    }

    /// Every disk that a person may mean, in the order of the alphabet.
    pub(super) fn disks(&self) -> io::Result<Vec<Disk>> {
        let mut disks = Vec::new();
        for entry in fs::read_dir(self.sys.join("block"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_made_up = ["loop", "ram", "zram", "dm-", "md", "sr", "nbd", "fd"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            if !is_made_up
                && let Ok(disk) = self.disk(&name)
                && disk.bytes > 0
            {
                disks.push(disk);
            }
        }
        disks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(disks)
    }

    /// A disk by its name in /dev.
    pub(super) fn disk(&self, name: &str) -> io::Result<Disk> {
        let folder = fs::canonicalize(self.sys.join("block").join(name))?;
        let text = |path: &str| {
            fs::read_to_string(folder.join(path))
                .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
                .unwrap_or_default()
        };
        let number = |path: &str| text(path).parse::<u64>().unwrap_or_default();
        let on_usb = folder
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        let mut parts = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.path().join("partition").exists() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let sectors = number(&format!("{name}/size"));
                parts.push((name, sectors * 512));
            }
        }
        parts.sort();
        let model = [
            text("device/vendor"),
            text("device/model"),
            text("device/name"),
        ];
        let model: Vec<&str> = model
            .iter()
            .map(String::as_str)
            .filter(|word| !word.is_empty())
            .collect();
        let mut disk = Disk {
            name: name.to_owned(),
            // Always in sectors of 512 bytes.
            bytes: number("size") * 512,
            model: model.join(" "),
            // A card in a reader of its own is not marked as removable.
            is_removable: number("removable") == 1 || on_usb || text("device/type") == "SD",
            is_read_only: number("ro") == 1,
            sector: number("queue/logical_block_size"),
            partitions: parts,
            uses: Vec::new(),
            is_of_system: false,
        };
        self.find_uses(&folder, &mut disk)?;
        Ok(disk)
    }

    fn find_uses(&self, folder: &Path, disk: &mut Disk) -> io::Result<()> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo"))?;
        let swaps = fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        let parts = disk.partitions.iter().map(|(name, _)| name.clone());
        let mut all = vec![(disk.name.clone(), folder.to_owned())];
        all.extend(parts.map(|name| (name.clone(), folder.join(name))));
        for (name, folder) in all {
            let numbers = fs::read_to_string(folder.join("dev")).unwrap_or_default();
            let source = format!("/dev/{name}");
            for (place, of, from) in mounts.lines().filter_map(mount) {
                // A file system of several disks has numbers of its own, and names one of them.
                if of == numbers.trim() || from == source {
                    disk.uses.push(format!("{source} is mounted at {place}"));
                    disk.is_of_system |=
                        place == "/" || place == "/usr" || place.starts_with("/boot");
                }
            }
            let is_swap = swaps
                .lines()
                .any(|line| line.split_whitespace().next() == Some(&source));
            if is_swap {
                disk.uses.push(format!("{source} is swap space"));
                disk.is_of_system = true;
            }
            for holder in fs::read_dir(folder.join("holders")).into_iter().flatten() {
                let holder = holder?.file_name().to_string_lossy().into_owned();
                disk.uses.push(format!("{source} is used by /dev/{holder}"));
            }
        }
        Ok(())
    }
}

/// Mount point, numbers and source of a line (proc_pid_mountinfo(5)).
fn mount(line: &str) -> Option<(String, &str, &str)> {
    let (first, last) = line.split_once(" - ")?;
    let mut first = first.split(' ').skip(2);
    let numbers = first.next()?;
    let place = first.nth(1)?.replace("\\040", " ");
    Some((place, numbers, last.split(' ').nth(1)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with an SSD it runs from, a stick, a card, an empty reader and a disk in a volume group.
    pub(in super::super) fn machine(folder: &Path) -> Machine {
        let machine = Machine {
            sys: folder.join("sys"),
            proc: folder.join("proc"),
        };
        let put = |path: &str, content: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let disk = |name: &str, bus: &str, numbers: &str, sectors: u64, files: &[(&str, &str)]| {
            let at = format!("sys/devices/{bus}/block/{name}");
            put(&format!("{at}/dev"), &format!("{numbers}\n"));
            put(&format!("{at}/size"), &format!("{sectors}\n"));
            put(&format!("{at}/removable"), "0\n");
            put(&format!("{at}/ro"), "0\n");
            put(&format!("{at}/queue/logical_block_size"), "512\n");
            for (file, content) in files {
                put(&format!("{at}/{file}"), content);
            }
            fs::create_dir_all(folder.join("sys/block")).unwrap();
            fs::create_dir_all(folder.join("sys/dev/block")).unwrap();
            symlink(folder.join(&at), folder.join("sys/block").join(name)).unwrap();
            symlink(folder.join(&at), folder.join("sys/dev/block").join(numbers)).unwrap();
            let part = |file: &&(&str, &str)| file.0.ends_with("/partition");
            for (file, _) in files.iter().filter(part) {
                let name = file.trim_end_matches("/partition");
                let numbers = fs::read_to_string(folder.join(&at).join(name).join("dev")).unwrap();
                let link = folder.join("sys/dev/block").join(numbers.trim());
                symlink(folder.join(&at).join(name), link).unwrap();
            }
        };
        disk(
            "nvme0n1",
            "pci/nvme",
            "259:0",
            1 << 30,
            &[
                ("nvme0n1p1/dev", "259:1\n"),
                ("nvme0n1p1/partition", "1\n"),
                ("nvme0n1p1/size", "1000\n"),
                ("device/model", "WD SN740   \n"),
            ],
        );
        disk(
            "sdb",
            "pci/usb2/2-1",
            "8:16",
            31_277_232,
            &[
                ("sdb1/dev", "8:17\n"),
                ("sdb1/partition", "1\n"),
                ("sdb1/size", "2048\n"),
                ("removable", "1\n"),
                ("device/vendor", "SanDisk \n"),
                ("device/model", "Ultra\n"),
            ],
        );
        disk(
            "mmcblk0",
            "platform/mmc",
            "179:0",
            60_000_000,
            &[("device/type", "SD\n"), ("device/name", "SC32G\n")],
        );
        disk("sdc", "pci/usb2/2-2", "8:32", 0, &[("removable", "1\n")]);
        disk(
            "sdd",
            "pci/ata3",
            "8:48",
            5_000_000,
            &[
                ("sdd1/dev", "8:49\n"),
                ("sdd1/partition", "1\n"),
                ("sdd1/holders/dm-0/x", ""),
            ],
        );
        disk(
            "sde",
            "pci/usb2/2-3",
            "8:64",
            5_000_000,
            &[("removable", "1\n"), ("ro", "1\n")],
        );
        disk("loop0", "virtual", "7:0", 100_000, &[]);
        put(
            "proc/self/mountinfo",
            "\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw
25 22 0:40 / /srv rw - btrfs /dev/sdf rw
31 22 8:17 / /media/a\\040stick rw - vfat /dev/sdb1 rw
",
        );
        put("proc/swaps", "Filename Type Size Used Priority\n");
        machine
    }

    #[test]
    fn disks_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let disks = machine(folder.path()).disks().unwrap();
        let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["mmcblk0", "nvme0n1", "sdb", "sdd", "sde"]);
        let removable: Vec<bool> = disks.iter().map(|disk| disk.is_removable).collect();
        assert_eq!(removable, [true, false, true, false, true]);
        let [card, own, stick, group, locked] = &disks[..] else {
            panic!("{disks:#?}");
        };
        assert!(card.uses.is_empty() && card.describe() == "/dev/mmcblk0, 28.6 GiB, SC32G");
        assert!(own.is_of_system && own.describe().ends_with("WD SN740"));
        assert_eq!(stick.uses, ["/dev/sdb1 is mounted at /media/a stick"]);
        assert_eq!(stick.partitions, [("sdb1".to_owned(), 1 << 20)]);
        assert!(!stick.is_of_system && locked.is_read_only);
        assert_eq!(group.uses, ["/dev/sdd1 is used by /dev/dm-0"]);
    }

    #[test]
    fn a_partition_knows_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let machine = machine(folder.path());
        assert_eq!(
            machine.name(8, 17).unwrap(),
            ("sdb1".into(), Some("sdb".into()))
        );
        assert_eq!(machine.name(8, 16).unwrap(), ("sdb".into(), None));
        machine.name(9, 9).unwrap_err();
    }
}
